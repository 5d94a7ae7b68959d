"""The figure of general abilities: what fine-tuning changed on each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from needlework.report.figures.style import (
    GROUND,
    INK,
    LINE,
    SOFT,
    Style,
    grid,
    legend,
    nothing,
    styles,
    value,
)
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR, over_seeds
from needlework.report.wording import metric_words

_LINE = [*PAIR, "variant", "benchmark", "metric"]
_NUMBERS = {"difference": "difference", "difference_low": "low", "difference_high": "high"}


def general_points(general: pd.DataFrame) -> pd.DataFrame:
    """Differences from the untuned model: a row per variant, and one per seed of several.

    Args:
        general: `general.csv`.

    Returns:
        model, task (trained on), variant, benchmark, metric, seed (empty: the mean over seeds),
        difference, low, high (over seeds the widest), p_adjusted, p_equivalence_adjusted (over
        seeds the highest), margin, n.
    """
    numbers = [*_NUMBERS, "p_adjusted", "p_equivalence_adjusted", "margin", "n"]
    tuned = general[general["difference"].notna()][[*_LINE, "seed", *numbers]]
    means = over_seeds(tuned.drop(columns="seed"), _LINE)
    worst = tuned.groupby(_LINE, sort=False)["p_equivalence_adjusted"].max()
    means = means.drop(columns="p_equivalence_adjusted").merge(worst.reset_index(), on=_LINE)
    seeds = tuned.groupby(_LINE)["seed"].transform("nunique")
    found = pd.concat([means, tuned[seeds > 1]], ignore_index=True)
    return found[[*_LINE, "seed", *numbers]].rename(columns=_NUMBERS)


def general_figure(
    points: pd.DataFrame, variants: Sequence[str], alpha: float, level: float
) -> Figure:
    """Difference of each benchmark from the untuned model; a row of panels per model.

    Args:
        points: what `general_points` gives.
        variants: all of the study, in the order of the rows.
        alpha: filled where equivalence has an adjusted p below it, starred where a difference has.
        level: of the intervals, in (0, 1).
    """
    if points.empty:
        return nothing("No general ability was asked of a tuned model.")
    models, benchmarks = (list(points[key].unique()) for key in ("model", "benchmark"))
    asked = points[["task", "variant"]].drop_duplicates()
    order = asked["variant"].map(list(variants).index)
    asked = asked.assign(order=order).sort_values("order", kind="stable")
    tasks = list(points["task"].unique())
    lines = [(t, str(v)) for t in tasks for v in asked["variant"][asked["task"] == t]]
    across = min(5, len(benchmarks))
    per_model = -(-len(benchmarks) // across)
    height = 0.9 + 0.24 * len(lines)
    width = (
        4.6 if across == 1 else (9.6 - 0.06 * max(len(_label(x, tasks)) for x in lines)) / across
    )
    figure, axes = grid(len(models) * per_model, across, width + 1.4 / across, height)
    for unused in axes.flat:
        unused.set_axis_off()
    reach = _reach(points)
    for place, model in enumerate(models):
        for slot, benchmark in enumerate(benchmarks):
            axis = axes[place * per_model + slot // across, slot % across]
            part = points[(points["model"] == model) & (points["benchmark"] == benchmark)]
            if part.empty:
                continue
            axis.set_axis_on()
            _panel(axis, part, lines, styles(variants), alpha)
            axis.set_yticks(range(len(lines)), [_label(line, tasks) for line in lines])
            axis.yaxis.set_visible(slot % across == 0)
            axis.set_xlim(-reach, reach)
            axis.set_title(f"{benchmark}\n{model}" if len(models) > 1 else benchmark)
            metric = metric_words(part["metric"].iloc[0])
            axis.set_xlabel(f"change of {metric},\nn = {part['n'].max():.0f}", fontsize=9)
    legend(figure, _marks(points, alpha, level))
    return figure


def _label(line: tuple[str, str], tasks: Sequence[str]) -> str:
    task, variant = line
    return variant if len(tasks) == 1 else f"{variant} · {task}"


def _reach(points: pd.DataFrame) -> float:
    ends = points[["difference", "low", "high", "margin"]].abs()
    return float(1.15 * ends.max().max())


def _panel(
    axis: Axes,
    part: pd.DataFrame,
    lines: Sequence[tuple[str, str]],
    look: dict[str, Style],
    alpha: float,
) -> None:
    margin = part["margin"].iloc[0]
    tip(axis.axvspan(-margin, margin, color=LINE, lw=0), f"within ±{margin:g}: counts as none")
    axis.axvline(0, color=INK, lw=0.8)
    for row in part.rename(columns={"difference": "mean"}).to_dict("records"):
        y = lines.index((row["task"], row["variant"]))
        style = look[row["variant"]]
        if pd.notna(row["seed"]):
            (mark,) = axis.plot(row["mean"], y + 0.32, "|", color=INK, ms=4)
            tip(mark, f"{row['variant']}, seed {row['seed']:.0f}: {row['mean']:+.3f}")
            continue
        axis.plot([row["low"], row["high"]], [y, y], color=style.colour, lw=2)
        same = row["p_equivalence_adjusted"] < alpha
        (mark,) = axis.plot(row["mean"], y, ls="", **style.mark(6.5, hollow=not same))
        tip(mark, _told(row))
        if row["p_adjusted"] < alpha:
            axis.plot(row["high"], y, ls="", marker=(6, 2, 0), ms=5, color=INK,
                      transform=_beside(axis))  # fmt: skip
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.grid(axis="x")


def _beside(axis: Axes) -> Any:
    """A little to the right of a place in the data."""
    from matplotlib.transforms import ScaledTranslation

    return axis.transData + ScaledTranslation(5 / 72, 0, axis.figure.dpi_scale_trans)


def _told(row: dict[str, Any]) -> str:
    change = value(row["mean"], row["low"], row["high"], row["n"], "+.3f")
    return (
        f"{row['variant']} on {row['task']}, {row['benchmark']}: {change}; adjusted p "
        f"{row['p_adjusted']:.2g}, of equivalence {row['p_equivalence_adjusted']:.2g}"
    )


def _marks(points: pd.DataFrame, alpha: float, level: float) -> list[Line2D | Patch]:
    margin = points["margin"].iloc[0]
    marks: list[Line2D | Patch] = [
        Line2D([], [], color=SOFT, lw=2, marker="o", ms=6, mec=INK, mew=0.5,
               label=f"equivalent to untuned, adjusted p < {alpha:g}; {level:.0%} interval"),
        Line2D([], [], color=SOFT, lw=2, marker="o", ms=6, mfc=GROUND, mec=SOFT, mew=1.6,
               label="equivalence not shown"),
        Patch(color=LINE, label=f"±{margin:g} counts as no difference"),
        Line2D([], [], color=INK, ls="", marker=(6, 2, 0), ms=5,
               label=f"differs from untuned, adjusted p < {alpha:g}"),
    ]  # fmt: skip
    if points["seed"].notna().any():
        marks.append(Line2D([], [], color=INK, ls="", marker="|", ms=7, label="single seeds"))
    return marks
