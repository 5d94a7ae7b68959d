"""Figures of the score by the place of the gold document, and by the length of the context."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from needlework.report.figures.style import (
    INK,
    SOFT,
    Style,
    band,
    keys,
    legend,
    nothing,
    panels,
    styles,
    tenths,
    value,
)
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR, decisive, over_seeds
from needlework.report.wording import metric_words

_CUT = re.compile(r"(?:(?P<set>[a-z]+)-)?length(?P<length>\d+)")
_DEPTH = "depth"
_LENGTH = "length"
_CLOSED = "closed_book"
_POINT = [*PAIR, "metric", "view", "variant", "place"]
_NUMBERS = ["mean", "low", "high", "n"]


def position_points(depths: pd.DataFrame, variants: pd.DataFrame) -> pd.DataFrame:
    """The score by the place of the gold document, in the metric that decides.

    Rows of questions without a needle have no depth and are no points.

    Args:
        depths: `depths.csv`.
        variants: `variants.csv`, for the scores without documents.

    Returns:
        model, task, metric, view, variant, place, mean, low, high, n. A view is "depth" (the plain
        test; a place is the middle of a fifth of the depth), "20 documents" (a place is that of the
        gold one; "20 documents, random" of a further set of distractors) or "closed_book" (no
        place). Over seeds: the mean, and the widest interval.
    """
    rows = decisive(depths, variants)
    binned = rows[(rows["condition"] == "plain") & rows["bin"].str.contains("-")]
    middle = binned["bin"].str.split("-", expand=True).astype(float).mean(axis=1)
    placed = rows[rows["position"].notna()]
    views = [
        _view(f"{count:.0f} documents", name.partition("-")[0] if "-" in name else None)
        for count, name in zip(placed["documents"], placed["condition"], strict=True)
    ]
    found = pd.concat(
        [
            binned.assign(view=_DEPTH, place=middle.round(6)),
            placed.assign(view=views, place=placed["position"].astype(float)),
        ]
    )
    places = over_seeds(found[[*_POINT, *_NUMBERS]], _POINT)
    order = places.groupby(PAIR, sort=False).ngroup().sort_values(kind="stable").index
    return pd.concat([places.loc[order], _closed(variants, places)], ignore_index=True)


def length_points(variants: pd.DataFrame, length: int) -> pd.DataFrame:
    """The score by the length of the context, in the metric that decides.

    Args:
        variants: `variants.csv`.
        length: of the study, in tokens: that of the plain test.

    Returns:
        As `position_points`; a view is "length" or "length, random" (a further set of distractors),
        a place the length in tokens.
    """
    rows = decisive(variants, variants)
    cut = {name: found for name in rows["condition"].unique() if (found := _CUT.fullmatch(name))}
    whole = {found["set"]: found["set"] or "plain" for found in cut.values()}
    views = {name: (_view(_LENGTH, found["set"]), int(found["length"]))
             for name, found in cut.items()}  # fmt: skip
    views |= {name: (_view(_LENGTH, which), length) for which, name in whole.items()}
    chosen = rows[rows["condition"].isin(list(views))]
    kinds, tokens = zip(*chosen["condition"].map(views), strict=True) if views else ((), ())
    found = chosen.assign(view=kinds, place=tokens).sort_values("place", kind="stable")
    places = found[[*_POINT, *_NUMBERS]]
    return pd.concat([places, _closed(variants, places)], ignore_index=True)


def _view(kind: str, further: str | None) -> str:
    return f"{kind}, {further}" if further else kind


def _closed(variants: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    rows = decisive(variants, variants)
    asked = rows[rows["condition"] == _CLOSED].merge(places[PAIR].drop_duplicates(), on=PAIR)
    return asked.assign(view=_CLOSED, place=float("nan"))[[*_POINT, *_NUMBERS]]


def places_figure(points: pd.DataFrame, variants: Sequence[str], level: float) -> Figure:
    """Score against the place, a line with its band per variant; a panel per model, task and view.

    Args:
        points: what `position_points` or `length_points` gives.
        variants: all of the study.
        level: of the intervals, in (0, 1).
    """
    places = points[points["view"] != _CLOSED]
    if places.empty:
        return nothing("No answer has a place that is known.")
    groups = list(places.groupby([*PAIR, "view"], sort=False))
    figure, axes = panels(len(groups), 3, 11 / min(3, max(2, len(groups))), 2.8)
    closed = points[points["view"] == _CLOSED]
    look = styles(variants)
    for axis, ((model, task, view), part) in zip(axes, groups, strict=True):
        kind, _, further = str(view).partition(", ")
        _panel(axis, part, look, kind)
        _without_documents(axis, closed[(closed[PAIR] == [model, task]).all(axis=1)], look)
        axis.set_ylim(*tenths(points[points["task"] == task]))
        axis.set_title(f"{model}\non {task}{f', {further} distractors' if further else ''}")
    shown = set(places["variant"])
    marks: list[Line2D | Patch] = [*keys({v: style for v, style in look.items() if v in shown})]
    marks.append(Patch(color=SOFT, alpha=0.25, lw=0, label=f"{level:.0%} intervals"))
    if len(closed):
        marks.append(
            Line2D([], [], color=SOFT, lw=0.9, marker=">", ms=5, label="without documents")
        )
    legend(figure, marks)
    return figure


def _panel(axis: Axes, part: pd.DataFrame, look: dict[str, Style], kind: str) -> None:
    for variant, rows in part.groupby("variant", sort=False):
        style = look[str(variant)]
        places, mean, low, high, n = rows[["place", *_NUMBERS]].to_numpy(dtype=float).T
        band(axis, places, low, high, style, len(look))
        (line,) = axis.plot(places, mean, color=style.colour, ls=style.line, lw=1.4,
                            **style.mark(5))  # fmt: skip
        told = zip(places, mean, low, high, n, strict=True)
        tip(line, *(f"{variant}, {_place(kind, row[0])}: {value(*row[1:])}" for row in told))
    counts = sorted({int(n) for n in part["n"]})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    axis.set_ylabel(f"{metric_words(part['metric'].iloc[0])}, n = {n}", fontsize=9)
    axis.grid()
    ticks = sorted(part["place"].unique())
    if kind == _DEPTH:
        axis.set_xlim(0, 1)
        axis.set_xlabel("depth of the needle (0: start)")
        return
    if kind == _LENGTH:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(ticks, [f"{place:,.0f}" for place in ticks])
    axis.set_xlabel("tokens of the context" if kind == _LENGTH else f"place of gold among {kind}")


def _place(kind: str, place: float) -> str:
    if kind == _DEPTH:
        return f"depth {place - 0.1:.1f} to {place + 0.1:.1f}"
    return f"{place:,.0f} tokens" if kind == _LENGTH else f"place {place:.0f}"


def _without_documents(axis: Axes, rows: pd.DataFrame, look: dict[str, Style]) -> None:
    """Arrowheads at the edge, and across the panel what they span: lines would hide the others."""
    if rows.empty:
        return
    axis.axhspan(rows["mean"].min(), rows["mean"].max(), color=SOFT, alpha=0.1, lw=0)
    for row in rows.to_dict("records"):
        colour = look[row["variant"]].colour
        (mark,) = axis.plot(0, row["mean"], ">", ms=6, mfc=colour, mec=INK, mew=0.5, clip_on=False,
                            transform=axis.get_yaxis_transform())  # fmt: skip
        told = value(row["mean"], row["low"], row["high"], row["n"])
        tip(mark, f"{row['variant']}, without documents: {told}")
