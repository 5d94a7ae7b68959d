"""Figures of interventions on heads: scores with masked heads, and gains by patched ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from needlework.report.figures.style import INK, SOFT, Style, legend, nothing, panels, value
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR
from needlework.report.wording import metric_words

# How heads were chosen, and the words for it. Colours, markers and hatches are each different.
_MASKED = {
    "top": (Style("#d55e00", "o", "-"), "top heads"),
    "random": (Style(SOFT, "s", "--"), "random heads, mean of draws"),
    "lowest": (Style("#0072b2", "^", "-."), "lowest heads"),
}
_PATCHED = {
    "intersection": ("#009e73", "", "heads of both"),
    "complement": ("#e69f00", "///", "heads of the source only"),
    "random": ("#a6a6a6", "\\\\\\", "random heads, mean of draws"),
}
_PLACES = {"last": "last position", "all": "all positions"}
_DRAW: dict[str, Any] = {"ls": "", "marker": ".", "ms": 4, "color": INK, "alpha": 0.5, "zorder": 3}


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
        axis.grid()
        left, below = index % columns == 0, places[index + columns : index + columns + 1]
        axis.tick_params(labelleft=left)
        axis.set_ylabel(f"{metric}, n = {n:.0f},\n{level:.0%} interval" if left else "", fontsize=9)
        axis.set_xlabel("" if below and below[0] in groups else "heads masked", fontsize=9)
    seen = set(points["chosen"])
    marks = [
        Line2D([], [], color=style.colour, ls=style.line, label=words, **style.mark(5))
        for chosen, (style, words) in _MASKED.items()
        if chosen in seen
    ]
    if points["draw"].notna().any():
        marks.append(Line2D([], [], label="single draws", **_DRAW))
    legend(figure, marks)
    return figure


def _places(points: pd.DataFrame, variants: list[str], columns: int) -> list[tuple[str, ...]]:
    """What is in each panel: every way of masking opens a row, and no variant fills the last."""
    ways = points[["kind", "during"]].drop_duplicates().itertuples(index=False, name=None)
    rows = [*variants, *[""] * (-len(variants) % columns)]
    return [(kind, during, variant) for kind, during in ways for variant in rows]


def _lines(axis: Axes, points: pd.DataFrame) -> None:
    start = points[points["chosen"] == "plain"]
    # A little apart, so that intervals of lines at one height can be told from each other.
    for apart, (chosen, (style, words)) in zip((0.96, 1.0, 1.04), _MASKED.items(), strict=True):
        own = points[points["chosen"] == chosen]
        draws, means = own[own["draw"].notna()], own[own["draw"].isna()]
        if means.empty:
            continue
        line = pd.concat([start, means]).sort_values("k")
        for row in line.to_dict("records"):
            axis.plot([row["k"] * apart] * 2, [row["low"], row["high"]], color=style.colour, lw=1)
        (drawn,) = axis.plot(line["k"] * apart, line["mean"], color=style.colour, ls=style.line,
                             lw=1.4, **style.mark(5))  # fmt: skip
        tip(drawn, *(f"{row['k']:.0f} {words if row['k'] else 'heads'} masked: "
                     f"{value(row['mean'], row['low'], row['high'], row['n'])}"
                     for row in line.to_dict("records")))  # fmt: skip
        if len(draws):
            (dots,) = axis.plot(draws["k"], draws["mean"], **_DRAW)
            tip(dots, *(f"{k:.0f} random heads, a draw: {mean:.2f}"
                        for k, mean in zip(draws["k"], draws["mean"], strict=True)))  # fmt: skip


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
    star = Line2D([], [], color=INK, ls="", marker="*", label=f"adjusted p < {alpha:g}")
    bars = [Patch(label=words, **_look(chosen)) for chosen, (*_, words) in _PATCHED.items()]
    dots = [Line2D([], [], label="single draws", **_DRAW)] if points["draw"].notna().any() else []
    legend(figure, [*bars, *dots, star])
    return figure


def _look(chosen: str) -> dict[str, Any]:
    colour, hatch, _ = _PATCHED[chosen]
    return {"facecolor": colour, "hatch": hatch, "edgecolor": INK, "lw": 0.4}


def _bars(axis: Axes, part: pd.DataFrame, alpha: float, reach: float) -> None:
    variants, rows = list(part["variant"].unique()), part.to_dict("records")
    for place, variant in enumerate(variants):
        for slot, chosen in enumerate(_PATCHED):
            y = place + (slot - 1) * 0.27
            own = [row for row in rows if (row["variant"], row["chosen"]) == (variant, chosen)]
            for row in own:
                if pd.isna(row["draw"]):
                    _bar(axis, row, y, alpha, reach)
            changes = [row["difference"] for row in own if pd.notna(row["draw"])]
            if changes:
                (dots,) = axis.plot(changes, [y + 0.08] * len(changes), **_DRAW)
                tip(dots, *(f"{variant}, a draw of random heads: {x:+.2f}" for x in changes))
    axis.axvline(0, color=INK, lw=0.8)
    axis.set_yticks(range(len(variants)), variants, fontsize=9)
    axis.set_ylim(len(variants) - 0.5, -0.5)
    axis.grid(axis="x")


def _bar(axis: Axes, bar: dict[str, Any], y: float, alpha: float, reach: float) -> None:
    low, high = bar["difference_low"], bar["difference_high"]
    (drawn,) = axis.barh(y, bar["difference"], height=0.24, **_look(bar["chosen"]))
    told = value(bar["difference"], low, high, bar["n"], "+.2f")
    tip(drawn, f"{bar['variant']}, {bar['heads']:.0f} {_PATCHED[bar['chosen']][-1]}: {told}, "
        f"adjusted p = {bar['p_adjusted']:.2g}")  # fmt: skip
    axis.plot([low, high], [y, y], color=INK, lw=1)
    if bar["heads"] == 0:
        axis.annotate("no head", (0, y), xytext=(3, 0), textcoords="offset points",
                      fontsize=7, va="center", color=SOFT)  # fmt: skip
    if bar["p_adjusted"] < alpha:
        axis.plot(high + 0.04 * reach, y, "*", color=INK, ms=5)
