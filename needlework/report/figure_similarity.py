"""Figures that compare score vectors: of tasks and variants, and of a probe's halves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, ScalarFormatter
from numpy.typing import NDArray

from needlework.report.figures import MISSING, SOFT, legend, nothing, panels, say, styles
from needlework.report.tables import PAIR, over_seeds

_PRINTED = 12  # rows of a matrix whose values are printed
_TICKS = 8
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
        grid = (
            part.set_index(["task_a", "variant_a", "task_b", "variant_b"])["value"]
            .unstack(["task_b", "variant_b"])
            .reindex(index=labels, columns=labels)
            .to_numpy()
        )
        axis.set_facecolor(MISSING)
        image = axis.imshow(grid, vmin=lowest, vmax=1, cmap="viridis", interpolation="nearest")
        _ticks(axis, labels)
        if len(labels) <= _PRINTED:
            _print(axis, grid)
        axis.set_title(str(model))
        bar = figure.colorbar(image, ax=axis, shrink=0.7, label="cosine of the heads' scores")
        if not np.isnan(chance := part["random"].mean()):
            bar.ax.axhline(chance, color="white", lw=1.5)
    return figure


def _ticks(axis: Axes, labels: list[tuple[str, str]]) -> None:
    tasks = [task for task, _ in labels]
    alone = len(set(tasks)) == 1
    names = [variant if alone else f"{variant} · {task}" for task, variant in labels]
    size = 9 if len(labels) <= 2 * _PRINTED else 6.5
    axis.set_yticks(range(len(labels)), names, fontsize=size)
    axis.set_xticks(range(len(labels)), names, fontsize=size, rotation=90)
    axis.spines[:].set_visible(False)
    for place in range(1, len(labels)):
        if tasks[place] != tasks[place - 1]:
            axis.axhline(place - 0.5, color="white", lw=2)
            axis.axvline(place - 0.5, color="white", lw=2)


def _print(axis: Axes, grid: NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(grid):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        dark = value < 0.6
        axis.text(column, row, text, ha="center", va="center", fontsize=8,
                  color="white" if dark else "black")  # fmt: skip


def reliability_figure(reliability: pd.DataFrame, variants: list[str]) -> Figure:
    """Agreement of a probe's disjoint halves against their size; a row per model and task.

    Args:
        reliability: `reliability.csv`.
        variants: all of the study.
    """
    reliability = reliability[reliability["examples"] > 0]
    pairs = list(reliability.groupby(PAIR, sort=False))
    if not pairs:
        return nothing("No probe has examples enough to be halved.")
    figure, axes = panels(len(pairs) * len(_MEASURES), len(_MEASURES), 3.6, 2.7)
    rows = np.array(axes).reshape(len(pairs), len(_MEASURES))
    for place, (row, ((model, task), part)) in enumerate(zip(rows, pairs, strict=True), start=1):
        for axis, (measure, words) in zip(row, _MEASURES.items(), strict=True):
            shown = part[(part["measure"] == measure) & part["value"].notna()]
            if shown.empty:
                say(axis, f"{words}: not defined")
                continue
            _agreement(axis, shown, variants)
            axis.set_ylabel(words)
            axis.set_xlabel("probe examples" if place == len(pairs) else "")
        row[0].set_title(f"{model} on {task}")
    look = styles(variants)
    handles = [
        Line2D([], [], color=look[v].colour, marker=look[v].marker, ms=5, label=v) for v in variants
    ]
    handles.append(Line2D([], [], color=SOFT, ls="--", label="predicted"))
    legend(figure, handles, 1.75)
    return figure


def _agreement(axis: Axes, table: pd.DataFrame, variants: list[str]) -> None:
    """Lines of one measure; their bands are fainter, the more of them there are."""
    look = styles(variants)
    for variant, part in table.groupby("variant", sort=False):
        numbers = part[["examples", "predicted", "value", "low", "high"]]
        runs = over_seeds(numbers, ["examples", "predicted"]).sort_values("examples")
        seen, more = runs[~runs["predicted"].astype(bool)], runs[runs["predicted"].astype(bool)]
        colour, marker = look[str(variant)]
        axis.fill_between(runs["examples"], runs["low"], runs["high"], color=colour, lw=0,
                          alpha=min(0.15, 0.6 / len(variants)))  # fmt: skip
        axis.plot(seen["examples"], seen["value"], color=colour, marker=marker, ms=4, lw=1.3)
        if len(more):
            dashed = pd.concat([seen.tail(1), more])
            axis.plot(dashed["examples"], dashed["value"], color=colour, ls="--", lw=1.1)
    axis.axhline(ENOUGH, color=SOFT, lw=0.9, ls=":")
    axis.set_ylim(min(0.0, float(table["value"].min())), 1.03)
    sizes = sorted(int(size) for size in table["examples"].unique())
    axis.set_xscale("log")
    # The largest is named, and every second before it where they are many.
    axis.set_xticks(sizes[:: -2 if len(sizes) > _TICKS else -1][::-1])
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(color="#ececec", lw=0.7)
