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
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from needlework.heads.sets import Head, top
from needlework.report.figures import MISSING, SOFT, legend, panels, say

_CELL = 0.073  # inches: a model of 32 x 32 heads has maps of 2.3 inches, four in a row
_SHADES = "magma_r"
_Look = dict[str, Any]
_SHARED: _Look = {"marker": "o", "markerfacecolor": "#0072B2", "markeredgecolor": "white"}
_OWN: _Look = {"marker": "D", "markerfacecolor": "white", "markeredgecolor": "#D55E00"}
_MISSED: _Look = {
    "marker": "x",
    "markerfacecolor": "none",
    "markeredgecolor": "#1c2126",
    "path_effects": [withStroke(linewidth=2, foreground="white")],  # seen on dark cells, too
}


def heads_figure(heads: pd.DataFrame, reference: str, count: int) -> Figure:
    """Mean score of every head, one map per variant, the heads of the top sets marked.

    Args:
        heads: of one model and task: variant, layer, head, there, kind, role, score, n.
        reference: the variant that comes first and that the marks compare with.
        count: the number of heads in a top set.
    """
    # Stable: the other variants stay in their order.
    names = sorted(heads["variant"].unique(), key=lambda name: name != reference)
    there = _grid(heads[heads["variant"] == names[0]], "there").astype(bool)
    grids = {name: _grid(heads[heads["variant"] == name], "score") for name in names}
    layers, widest = there.shape
    width, height = max(1.75, _CELL * widest), max(1.2, _CELL * layers)
    columns = min(len(names), max(1, int(9.8 // (width + 0.1))))
    figure, axes = panels(len(names), columns, width + 0.1, height + 0.3)
    around = np.array([1.25, 0.9])  # what the colour bar, the labels and the legend take
    figure.set_size_inches(figure.get_size_inches() + around)
    norm = _range(heads["score"])
    size = min(6.0, 72 * 0.62 * min(width / widest, height / layers))
    for index, (axis, name) in enumerate(zip(axes, names, strict=True)):
        axis.set_title(f"{name} (reference)" if name == reference else name, fontsize=9)
        if np.isnan(grids[name][there]).all():
            say(axis, "no probe example\ncounts here")
            continue
        axis.imshow(grids[name], norm=norm, cmap=_SHADES, aspect="auto", interpolation="nearest")
        _hatch(axis, there)
        _mark(axis, grids[name], grids[reference], count, size)
        axis.spines[:].set_visible(False)
        axis.tick_params(labelsize=8, labelleft=index % columns == 0)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_ylabel("layer" if index % columns == 0 else "")
        axis.set_xlabel("head" if index + columns >= len(names) else "")
    first, sizes = heads.iloc[0], f"{heads['n'].min():g} to {heads['n'].max():g}"
    n = f"{heads['n'].max():g}" if heads["n"].nunique() == 1 else sizes
    bar = figure.colorbar(
        ScalarMappable(norm, _SHADES), ax=axes, aspect=25, anchor=(0, 1),
        shrink=min(1, 3 / figure.get_figheight()),
    )  # fmt: skip
    bar.set_label(f"{first['kind']} score, {first['role']} needles,\nmean over n = {n} examples")
    legend(figure, list(_handles(reference, count, hatched=not there.all())), 2.6)
    return figure


def _grid(heads: pd.DataFrame, column: str) -> NDArray[np.float64]:
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
                          facecolor=MISSING, edgecolor=SOFT)
            )  # fmt: skip


def _mark(
    axis: Axes, own: NDArray[np.float64], wanted: NDArray[np.float64], count: int, size: float
) -> None:
    found, looked_for = top(own, count), top(wanted, count)
    sets: list[tuple[frozenset[Head], _Look]] = [
        (found & looked_for, _SHARED), (found - looked_for, _OWN), (looked_for - found, _MISSED),
    ]  # fmt: skip
    for heads, look in sets:
        layers, places = [h[0] for h in sorted(heads)], [h[1] for h in sorted(heads)]
        axis.plot(places, layers, ls="", ms=size, mew=size / 5, **look)


def _handles(reference: str, count: int, *, hatched: bool) -> Iterator[Line2D | Patch]:
    for look, label in (
        (_SHARED, f"in the top {count} here and after {reference} data"),
        (_OWN, "in the top here only"),
        (_MISSED, f"in the top after {reference} data only"),
    ):
        yield Line2D([], [], ls="", ms=6, mew=1.2, label=label, **look)
    if hatched:
        yield Patch(hatch="////", facecolor=MISSING, edgecolor=SOFT, lw=0, label="no head")
