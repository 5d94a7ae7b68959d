"""Figures of interventions on heads: scores with masked heads, and gains by patched ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from needlework.report.figures import SOFT, legend, nothing, panels
from needlework.report.tables import PAIR
from needlework.report.wording import metric_words

# How heads were chosen: colour, marker, words. The colours differ in lightness, too.
_MASKED = {
    "top": ("#D55E00", "o", "top heads"),
    "random": (SOFT, "s", "random heads (mean of draws; dots: draws)"),
    "lowest": ("#0072B2", "^", "lowest heads"),
}
_PATCHED = {
    "intersection": ("#009E73", "heads of both"),
    "complement": ("#E69F00", "heads of the source only"),
    "random": ("#a6a6a6", "random heads (dots: draws)"),
}
_PLACES = {"last": "last position", "all": "all positions"}


def masking_figure(points: pd.DataFrame, level: float) -> Figure:
    """Score against the number of masked heads, a panel per variant and way of masking.

    Args:
        points: of one model and task, what `tables.masking_points` gives.
        level: of the intervals, in (0, 1).
    """
    if points.empty:
        return nothing("No answers with masked heads are in the results.")
    groups = dict(list(points.groupby(["kind", "during", "variant"], sort=False)))
    variants = list(points["variant"].unique())
    rows = -(-len(variants) // 4)
    columns = -(-len(variants) // rows)  # at most 4, rows equally full
    places = _places(points, variants, columns)
    figure, axes = panels(len(places), columns, 11 / max(columns, 3), 2.7)
    counts = sorted(int(k) for k in points["k"].unique())
    metric, n = metric_words(points["metric"].iloc[0]), points["n"].iloc[0]
    for index, (axis, place) in enumerate(zip(axes, places, strict=True)):
        if place not in groups:
            axis.set_axis_off()
            continue
        kind, during, variant = place
        axis.set_title(f"{variant}\n{kind} mask, {during}", fontsize=9)
        _lines(axis, groups[place])
        axis.set_xscale("function", functions=(np.log1p, np.expm1))
        axis.set_xticks(counts, [str(k) for k in counts], fontsize=8)
        axis.set_xlim(-0.15, counts[-1] * 1.2)
        axis.set_ylim(0, 1.02)
        axis.grid(color="#ececec", lw=0.7)
        left, below = index % columns == 0, places[index + columns : index + columns + 1]
        axis.tick_params(labelleft=left)
        axis.set_ylabel(f"{metric}, n = {n:.0f},\n{level:.0%} interval" if left else "", fontsize=9)
        axis.set_xlabel("" if below and below[0] in groups else "heads masked", fontsize=9)
    seen = set(points["chosen"])
    legend(
        figure,
        [
            Line2D([], [], color=colour, marker=marker, ms=5, label=words)
            for chosen, (colour, marker, words) in _MASKED.items()
            if chosen in seen
        ],
        3.0,
    )
    return figure


def _places(points: pd.DataFrame, variants: list[str], columns: int) -> list[tuple[str, ...]]:
    """What is in each panel: every way of masking opens a row, and no variant fills the last."""
    ways = points[["kind", "during"]].drop_duplicates().itertuples(index=False, name=None)
    rows = [*variants, *[""] * (-len(variants) % columns)]
    return [(kind, during, variant) for kind, during in ways for variant in rows]


def _lines(axis: Axes, points: pd.DataFrame) -> None:
    start = points[points["chosen"] == "plain"]
    # A little apart, so that intervals of lines at one height can be told from each other.
    for apart, (chosen, look) in zip((0.96, 1.0, 1.04), _MASKED.items(), strict=True):
        colour, marker, _ = look
        own = points[points["chosen"] == chosen]
        draws, means = own[own["draw"].notna()], own[own["draw"].isna()]
        if means.empty:
            continue
        line = pd.concat([start, means]).sort_values("k")
        axis.errorbar(
            line["k"] * apart, line["mean"], color=colour, marker=marker, ms=4.5, lw=1.4,
            yerr=[line["mean"] - line["low"], line["high"] - line["mean"]], elinewidth=1,
        )  # fmt: skip
        axis.plot(draws["k"], draws["mean"], ls="", marker=".", ms=4, color="black", alpha=0.3,
                  zorder=3)  # fmt: skip


def patching_figure(points: pd.DataFrame, alpha: float, level: float) -> Figure:
    """Change of the score by patching heads, bars per variant; a panel per model, task and place.

    Args:
        points: what `tables.patching_points` gives.
        alpha: a star stands where the adjusted p is below it.
        level: of the intervals, in (0, 1).
    """
    groups = list(points.groupby([*PAIR, "source", "positions"], sort=False))
    if not groups:
        return nothing("No answers with patched heads are in the results.")
    most = max(part["variant"].nunique() for _, part in groups)
    figure, axes = panels(len(groups), 2, 5.5, 1.5 + 0.44 * most)
    ends = points[["difference", "difference_low", "difference_high"]]
    reach = max(0.05, 1.2 * ends.abs().max().max())
    for axis, ((model, task, source, positions), part) in zip(axes, groups, strict=True):
        _bars(axis, part, alpha, reach)
        axis.set_title(f"{model} on {task}\nheads from {source} data, {_PLACES[positions]}")
        axis.set_xlim(-reach, reach)
        metric, n = metric_words(part["metric"].iloc[0]), part["n"].iloc[0]
        axis.set_xlabel(f"change of {metric}, {level:.0%} interval, n = {n:.0f}")
    star = Line2D([], [], color="black", ls="", marker="*", label=f"adjusted p < {alpha:g}")
    bars = [Patch(color=colour, label=words) for colour, words in _PATCHED.values()]
    legend(figure, [*bars, star], 2.5)
    return figure


def _bars(axis: Axes, part: pd.DataFrame, alpha: float, reach: float) -> None:
    variants = list(part["variant"].unique())
    for place, variant in enumerate(variants):
        own = part[part["variant"] == variant]
        for slot, (chosen, (colour, _)) in enumerate(_PATCHED.items()):
            y = place + (slot - 1) * 0.27
            rows = own[own["chosen"] == chosen]
            for bar in rows[rows["draw"].isna()].itertuples():
                axis.barh(y, bar.difference, height=0.24, color=colour)
                axis.plot([bar.difference_low, bar.difference_high], [y, y], color="black", lw=1)
                if bar.heads == 0:
                    axis.annotate("no head", (0, y), xytext=(3, 0), textcoords="offset points",
                                  fontsize=7, va="center", color=SOFT)  # fmt: skip
                if bar.p_adjusted < alpha:
                    axis.plot(bar.difference_high + 0.04 * reach, y, "k*", ms=5)
            dots = rows["difference"][rows["draw"].notna()]
            axis.plot(dots, [y] * len(dots), ls="", marker=".", ms=4, color="#4d4d4d", alpha=0.5)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(variants)), variants, fontsize=9)
    axis.set_ylim(len(variants) - 0.5, -0.5)
    axis.grid(axis="x", color="#dddddd", lw=0.8)
