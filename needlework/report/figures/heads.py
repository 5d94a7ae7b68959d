"""Maps of all heads of a model, layers by heads: real data's beside every other variant's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from needlework.heads.sets import Head, top
from needlework.report.figures.style import (
    FIXED_BLACK,
    FIXED_WHITE,
    INK,
    LINE,
    SOFT,
    legend,
    panels,
    say,
)
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR

_CELL = 0.073  # inches: a model of 32 x 32 heads has maps of 2.3 inches, four in a row
_SHADES = "magma_r"
_Look = dict[str, Any]
Grid = NDArray[np.float64]
# Marks lie on the map, whose colours are the same on light and on dark pages.
_SHARED: _Look = {"marker": "o", "mfc": "#0072b2", "mec": FIXED_WHITE}
_OWN: _Look = {"marker": "D", "mfc": FIXED_WHITE, "mec": "#d55e00"}
_MISSED: _Look = {"marker": "x", "mfc": "none", "mec": FIXED_BLACK}
_DIFFERS: _Look = {"marker": "s", "mfc": "none", "mec": FIXED_BLACK}


def head_points(heads: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """The heads of `head_table.read_heads` with the tests of their scores against the reference's.

    Args:
        heads: model, task, variant, layer, head, there, kind, role, score, n.
        differences: `head_differences.csv`.

    Returns:
        The rows of `heads`, with difference and p_adjusted (empty where nothing was tested).
    """
    place = [*PAIR, "variant", "layer", "head"]
    return heads.merge(differences[[*place, "difference", "p_adjusted"]], on=place, how="left")


def heads_figure(heads: pd.DataFrame, reference: str, count: int, alpha: float) -> Figure:
    """Mean score of every head, one map per variant; the top sets and what differs are marked.

    Args:
        heads: of one model and task, what `head_points` gives.
        reference: the variant that comes first and that the marks compare with.
        count: the number of heads in a top set.
        alpha: a head is marked as different where its adjusted p is below it.
    """
    # Stable: the other variants stay in their order.
    names = sorted(heads["variant"].unique(), key=lambda name: name != reference)
    there = _grid(heads[heads["variant"] == names[0]], "there").astype(bool)
    grids = {name: _grid(heads[heads["variant"] == name], "score") for name in names}
    layers, widest = there.shape
    width, height = max(1.75, _CELL * widest), max(1.2, _CELL * layers)
    columns = min(len(names), max(1, int(9.8 // (width + 0.1))))
    figure, axes = panels(len(names), columns, width + 0.1, height + 0.3)
    around = np.array([1.25, 0.4])  # what the colour bar and the labels take
    figure.set_size_inches(figure.get_size_inches() + around)
    norm = _range(heads["score"])
    size = min(6.0, 72 * 0.62 * min(width / widest, height / layers))
    for index, (axis, name) in enumerate(zip(axes, names, strict=True)):
        axis.set_title(f"{name} (reference)" if name == reference else name, fontsize=9)
        if np.isnan(grids[name][there]).all():
            say(axis, "no probe example\ncounts here")
            continue
        axis.imshow(grids[name], norm=norm, cmap=_SHADES, aspect="auto", interpolation="none")
        _hatch(axis, there)
        own = heads[heads["variant"] == name]
        differ = own[own["p_adjusted"] < alpha]
        _mark(
            axis, _sets(grids[name], grids[reference], differ, count, reference), grids[name], size
        )
        axis.spines[:].set_visible(False)
        # Only at the outer maps: the others have the same layers and heads.
        for side, outer, words in (
            (axis.yaxis, index % columns == 0, "layer"),
            (axis.xaxis, index + columns >= len(names), "head"),
        ):
            side.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            side.set_tick_params(labelsize=8)
            side.set_label_text(words)
            side.set_visible(outer)
    first, sizes = heads.iloc[0], f"{heads['n'].min():g} to {heads['n'].max():g}"
    n = f"{heads['n'].max():g}" if heads["n"].nunique() == 1 else sizes
    bar = figure.colorbar(
        ScalarMappable(norm, _SHADES), ax=axes, aspect=25, anchor=(0, 1),
        shrink=min(1, 3 / figure.get_figheight()),
    )  # fmt: skip
    bar.set_label(f"{first['kind']} score, {first['role']} needles,\nmean over n = {n} examples")
    marks = _handles(reference, count, alpha, hatched=not there.all())
    legend(figure, list(marks))
    return figure


def _grid(heads: pd.DataFrame, column: str) -> Grid:
    return np.asarray(heads.pivot(index="layer", columns="head", values=column).to_numpy())


def _range(scores: pd.Series) -> Normalize:
    """From 0, or from the lowest where a score is less than that of a null question."""
    lowest, highest = min(0.0, scores.min()), scores.max()
    return Normalize(lowest, highest if highest > lowest else lowest + 1.0)


def _hatch(axis: Axes, there: NDArray[np.bool_]) -> None:
    """Cover the places of a layer that have no head: their score is not 0, there is none."""
    layers, widest = there.shape
    for layer in range(layers):
        own = int(there[layer].sum())
        if own < widest:
            axis.add_patch(
                Rectangle((own - 0.5, layer - 0.5), widest - own, 1, hatch="////", lw=0,
                          facecolor=LINE, edgecolor=SOFT)
            )  # fmt: skip


def _sets(
    own: Grid, wanted: Grid, differ: pd.DataFrame, count: int, reference: str
) -> list[tuple[_Look, float, dict[Head, str]]]:
    """Look, relative size, and what is said of each head, from the mark below to that on top."""
    found, looked_for = top(own, count), top(wanted, count)
    changed = {
        (row.layer, row.head): f"{row.difference:+.2f} against {reference}, adjusted p = "
        f"{row.p_adjusted:.2g}"
        for row in differ.itertuples()
    }

    def told(heads: frozenset[Head], words: str) -> dict[Head, str]:
        return {
            head: f"{words}; {reference}: {wanted[head]:.2f}"
            + (f"; {changed[head]}" if head in changed else "")
            for head in sorted(heads)
        }

    return [
        (_DIFFERS, 1.35, changed),
        (_SHARED, 1.0, told(found & looked_for, f"in both top {count}")),
        (_OWN, 0.9, told(found - looked_for, f"in the top {count} here only")),
        (_MISSED, 1.0, told(looked_for - found, f"in the top {count} after {reference} only")),
    ]


def _mark(
    axis: Axes, sets: list[tuple[_Look, float, dict[Head, str]]], scores: Grid, size: float
) -> None:
    for look, larger, heads in sets:
        if not heads:
            continue
        layers, places = [head[0] for head in heads], [head[1] for head in heads]
        width = size / 5
        how: dict[str, Any] = {"ls": "", "ms": larger * size}
        if look["mec"] == FIXED_BLACK:  # seen on dark cells, too
            axis.plot(places, layers, mew=2.4 * width, **how, **look | {"mec": FIXED_WHITE})
        (drawn,) = axis.plot(places, layers, mew=width, **how, **look)
        tip(drawn, *(f"layer {head[0]}, head {head[1]}: {scores[head]:.2f}; {text}"
                     for head, text in heads.items()))  # fmt: skip


def _handles(
    reference: str, count: int, alpha: float, *, hatched: bool
) -> Iterator[Line2D | Patch]:
    for look, label in (
        (_SHARED, f"in the top {count} here and after {reference} data"),
        (_OWN, "in the top here only"),
        (_MISSED, f"in the top after {reference} data only"),
        (_DIFFERS, f"differs from {reference}, adjusted p < {alpha:g}"),
    ):
        seen = look | {"mec": INK} if look["mec"] == FIXED_BLACK else look
        yield Line2D([], [], ls="", ms=6, mew=1.2, label=label, **seen)
    if hatched:
        yield Patch(hatch="////", facecolor=LINE, edgecolor=SOFT, lw=0, label="no head")
