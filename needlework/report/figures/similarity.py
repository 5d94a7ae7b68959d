"""Figures that compare score vectors: of tasks and variants, and of a probe's halves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from needlework.report.figures.style import (
    FIXED_BLACK,
    FIXED_WHITE,
    GROUND,
    LINE,
    SOFT,
    band,
    keys,
    legend,
    nothing,
    panels,
    say,
    styles,
)
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR, over_seeds
from needlework.report.wording import interval

_PRINTED = 12  # rows of a matrix whose values are printed
_TICKS = 6
ENOUGH = 0.9
_MEASURES = {
    "cosine": "cosine of the scores",
    "spearman": "Spearman ρ of the scores",
    "top_overlap": "share of the top heads",
}


def similarity_figure(matrix: pd.DataFrame, tasks: list[str], variants: list[str]) -> Figure:
    """Cosine of the score vectors of every two training sets, one matrix per model.

    Args:
        matrix: what `tables.cosine_matrix` gives.
        tasks: all of the study.
        variants: all of the study; rows are in the order of the tasks, then of the variants.
    """
    models = list(matrix.groupby("model", sort=False))
    if not models:
        return nothing("No two training sets have head scores to compare.")
    labels = [(task, variant) for task in tasks for variant in variants]
    side = min(9.0, max(3.6, 0.52 * len(labels)))
    figure, axes = panels(len(models), 2 if side < 4.5 else 1, side + 2.0, side + 1.0)
    lowest = min(0.0, float(matrix["value"].min()))
    for axis, (model, part) in zip(axes, models, strict=True):
        cells = part.set_index(["task_a", "variant_a", "task_b", "variant_b"])
        of = cells.unstack(["task_b", "variant_b"]).reindex(index=labels)
        grids = {
            key: of[key].reindex(columns=labels).to_numpy() for key in ("value", "low", "high")
        }
        axis.set_facecolor(LINE)
        image = axis.pcolormesh(grids["value"], vmin=lowest, vmax=1, cmap="viridis", lw=0.3,
                                clip_on=False, edgecolors="face")  # fmt: skip
        _ticks(axis, labels)
        tip(image, *_told(axis, grids))
        if len(labels) <= _PRINTED:
            _print(axis, grids["value"])
        axis.set_title(str(model))
        bar = figure.colorbar(image, ax=axis, shrink=0.7, label="cosine of the heads' scores")
        if not np.isnan(chance := part["random"].mean()):
            tip(bar.ax.axhline(chance, color=FIXED_WHITE, lw=1.5), f"chance: {chance:.2f}")
            bar.set_label("cosine of the heads' scores (white line: chance)")
    return figure


def _ticks(axis: Axes, labels: list[tuple[str, str]]) -> None:
    tasks = [task for task, _ in labels]
    alone = len(set(tasks)) == 1
    names = [variant if alone else f"{variant} · {task}" for task, variant in labels]
    size = 9 if len(labels) <= 2 * _PRINTED else 7
    middle = np.arange(len(labels)) + 0.5
    axis.set_yticks(middle, names, fontsize=size)
    axis.set_xticks(middle, names, fontsize=size, rotation=90, rotation_mode="anchor", ha="right",
                    va="center")  # fmt: skip
    axis.set_ylim(len(labels), 0)
    axis.set_aspect("equal")
    axis.spines[:].set_visible(False)
    for place in range(1, len(labels)):
        if tasks[place] != tasks[place - 1]:
            axis.axhline(place, color=GROUND, lw=2)
            axis.axvline(place, color=GROUND, lw=2)


def _told(axis: Axes, grids: dict[str, NDArray[np.float64]]) -> Iterator[str]:
    names = [label.get_text() for label in axis.get_yticklabels()]
    for (row, column), value in np.ndenumerate(grids["value"]):
        ends = interval(float(grids["low"][row, column]), float(grids["high"][row, column]))
        found = "not compared" if np.isnan(value) else f"{value:.2f}{ends}"
        yield f"{names[row]}, {names[column]}: {found}"


def _print(axis: Axes, grid: NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(grid):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = SOFT if np.isnan(value) else FIXED_WHITE if value < 0.6 else FIXED_BLACK
        axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8,
                  color=colour)  # fmt: skip


def reliability_points(reliability: pd.DataFrame) -> pd.DataFrame:
    """What the figure of probes shows: over seeds, the mean and the widest interval.

    Args:
        reliability: `reliability.csv`; probes that cannot be halved are no points.

    Returns:
        model, task, variant, measure, examples, predicted, value, low, high.
    """
    point = [*PAIR, "variant", "measure", "examples", "predicted"]
    halved = reliability[(reliability["examples"] > 0) & reliability["value"].notna()]
    points = over_seeds(halved[[*point, "value", "low", "high"]], point)
    return points.sort_values("examples", kind="stable")


def reliability_figure(points: pd.DataFrame, variants: list[str]) -> Figure:
    """Agreement of a probe's disjoint halves against their size; a row per model and task.

    Args:
        points: what `reliability_points` gives.
        variants: all of the study.
    """
    pairs = list(points.groupby(PAIR, sort=False))
    if not pairs:
        return nothing("No probe has examples enough to be halved.")
    figure, axes = panels(len(pairs) * len(_MEASURES), len(_MEASURES), 3.6, 2.7)
    rows = np.array(axes).reshape(len(pairs), len(_MEASURES))
    for row, ((model, task), part) in zip(rows, pairs, strict=True):
        for axis, (measure, words) in zip(row, _MEASURES.items(), strict=True):
            shown = part[part["measure"] == measure]
            if shown.empty:
                say(axis, f"{words}: not defined")
                continue
            _agreement(axis, shown, variants)
            axis.set_ylabel(words)
            axis.set_xlabel("probe examples")
        row[0].set_title(f"{model} on {task}")
    handles = keys(styles(variants))
    handles.append(Line2D([], [], color=SOFT, ls=(0, (6, 3)), lw=1.1, label="predicted"))
    handles.append(Line2D([], [], color=SOFT, ls=":", lw=0.9, label=f"{ENOUGH:g}"))
    legend(figure, handles)
    return figure


def _agreement(axis: Axes, table: pd.DataFrame, variants: list[str]) -> None:
    """Lines of one measure; their bands are fainter, the more of them there are."""
    look = styles(variants)
    for variant, runs in table.groupby("variant", sort=False):
        style, numbers = look[str(variant)], runs[["examples", "value", "low", "high"]]
        examples, value, low, high = numbers.to_numpy(dtype=float).T
        band(axis, examples, low, high, style, len(variants))
        seen = int((~runs["predicted"].to_numpy(dtype=bool)).sum())  # the smaller sizes
        (line,) = axis.plot(examples[:seen], value[:seen], color=style.colour, ls=style.line,
                            lw=1.3, **style.mark(4.5))  # fmt: skip
        told = [f"{variant}, {size:.0f} examples: {mean:.2f}{interval(a, b)}"
                for size, mean, a, b in zip(examples, value, low, high, strict=True)]  # fmt: skip
        if seen:
            tip(line, *told[:seen])
        if seen < len(runs):
            (line,) = axis.plot(examples[max(0, seen - 1) :], value[max(0, seen - 1) :],
                                color=style.colour, ls=(0, (6, 3)), lw=1.1)  # fmt: skip
            tip(line, f"{told[-1]}, predicted")
    axis.axhline(ENOUGH, color=SOFT, lw=0.9, ls=":")
    axis.set_ylim(min(0.0, float(table["value"].min())), 1.03)
    axis.yaxis.set_major_locator(MaxNLocator(4))
    sizes = sorted(int(size) for size in table["examples"].unique())
    axis.set_xscale("log")
    # The largest is named, and every second before it where they are many.
    axis.set_xticks(sizes[:: -2 if len(sizes) > _TICKS else -1][::-1])
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid()
