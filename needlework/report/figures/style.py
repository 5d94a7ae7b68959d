"""What all figures share: colours and marks, panels, hover texts, and the three files of a figure.

Figures are at most 11 inches wide, so that a page shows their letters as large as its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from needlework.atomic import atomic_path, write_text
from needlework.report.figures.svg import FONTS, finished
from needlework.report.wording import interval

Floats = NDArray[np.float64]

INK = "#1c2126"
SOFT = "#5c6670"
LINE = "#dfe3e6"
GROUND = "#ffffff"
PAGE_COLOURS = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)", GROUND: "var(--card)"}
"""The colours that a page may exchange for its own, as they stand in an SVG; all others stay."""

# On an image, whose colours are the same on every page, black and white are the same, too.
FIXED_BLACK = "#010101"
FIXED_WHITE = "#fefefe"

# Okabe and Ito's palette without its yellow, which paper does not show: distinct to colour-blind
# readers. Its black is the page's ink. The untuned model is gray.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
_MARKERS = "osD^vPX"
_LINES = ("-", "--", "-.", (0, (1, 1.2)))
_DPI = 144

matplotlib.rcParams.update(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": SOFT,
        "axes.facecolor": "none",
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "font.family": FONTS[0],
        "font.size": 10,
        "grid.color": LINE,
        "grid.linewidth": 0.8,
        "hatch.linewidth": 0.6,
        "legend.frameon": False,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "needlework",  # the same figure gives the same bytes
        "text.color": INK,
        "text.parse_math": False,  # a dollar in a name is a dollar
        "xtick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.color": SOFT,
        "ytick.labelcolor": INK,
    }
)


class Style(NamedTuple):
    """Colour, marker and line of a variant: together they are its own, whatever the number."""

    colour: str
    marker: str
    line: Any

    def mark(self, size: float = 6.0, *, hollow: bool = False) -> dict[str, Any]:
        """What `plot` takes for the marker; its thin edge of ink makes pale hues seen on paper."""
        face, edge, width = (GROUND, self.colour, 1.6) if hollow else (self.colour, INK, 0.5)
        return {"marker": self.marker, "ms": size, "mfc": face, "mec": edge, "mew": width}


def styles(variants: Sequence[str]) -> dict[str, Style]:
    """One style per variant, in their order; the untuned model is a gray star on a dotted line."""
    trained = [variant for variant in variants if variant != "untuned"]
    count = len(_COLOURS)
    return {"untuned": Style(SOFT, "*", _LINES[3])} | {
        variant: Style(
            _COLOURS[i % count],
            _MARKERS[(i + i // count) % len(_MARKERS)],
            _LINES[i // count % len(_LINES)],
        )
        for i, variant in enumerate(trained)
    }


def keys(look: Mapping[str, Style], *, lines: bool = True) -> list[Line2D]:
    """An entry of the legend for every variant."""
    return [
        Line2D([], [], color=style.colour, label=variant, ls=style.line if lines else "",
               lw=1.4, **style.mark(5))
        for variant, style in look.items()
    ]  # fmt: skip


def grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes, (rows, columns), each `width` x `height` inches."""
    figure = Figure(figsize=(width * columns, height * rows), dpi=_DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of `width` x `height` inches, row by row of `columns`."""
    columns = min(columns, count)
    figure, axes = grid(-(-count // columns), columns, width, height)
    for unused in axes.flat[count:]:
        unused.set_axis_off()
    return figure, list(axes.flat[:count])


def nothing(reason: str) -> Figure:
    """A figure of the one sentence that says why it shows nothing."""
    figure, (axis,) = panels(1, 1, 6.0, 1.2)
    say(axis, reason)
    return figure


def say(axis: Axes, reason: str) -> None:
    """Write into an empty panel why it is empty."""
    axis.set_axis_off()
    axis.text(0.5, 0.5, reason, ha="center", va="center", wrap=True, color=SOFT,
              transform=axis.transAxes)  # fmt: skip


def band(axis: Axes, x: Floats, low: Floats, high: Floats, style: Style, beside: int) -> None:
    """The intervals of a line, fainter, the more lines lie `beside` it."""
    axis.fill(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]),
              color=style.colour, lw=0, alpha=min(0.15, 0.6 / beside))  # fmt: skip


def tenths(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits of an axis of scores: tenths around `mean`, `low` and `high`, at least three of them.

    They reach a little beyond, so that a mark on a limit is whole.
    """
    ends = rows[["mean", "low", "high"]]
    bottom, top = max(0, floor(10 * ends.min().min())), min(10, ceil(10 * ends.max().max()))
    top = min(10, max(top, bottom + 3))
    return min(bottom, top - 3) / 10 - 0.01, top / 10 + 0.01


def legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """A legend under all panels, as wide as the figure; the figure grows by its height."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    across = int(figure.get_figwidth() // (0.6 + 0.078 * longest))  # inches, in letters of 9 points
    columns = max(1, min(len(handles), across))
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(handles) // columns) + 0.1)
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, fontsize=9,
                  handletextpad=0.5, columnspacing=1.4)  # fmt: skip


def value(mean: float, low: float, high: float, n: float, form: str = ".2f") -> str:
    """A value with its interval and the number of items, for a hover text."""
    return f"{mean:{form}}{interval(low, high, form)}, n = {n:.0f}"


def save(figure: Figure, table: pd.DataFrame, path: Path) -> None:
    """Write `path`.svg, `path`.png and the numbers behind them, `path`.csv.

    The ground of the PNG is white, that of the SVG the page's. The figure is used up.
    """
    if engine := figure.get_layout_engine():
        engine.execute(figure)  # once: left to `savefig`, each file would take two drawings
    figure.set_layout_engine(None)
    # A model's name may hold a dot: the ending is added, not exchanged.
    with atomic_path(path.with_name(f"{path.name}.png")) as temporary:
        figure.savefig(temporary, facecolor=GROUND, metadata={"Software": None})
    drawn = StringIO()
    figure.savefig(drawn, format="svg", facecolor="none", metadata={"Date": None})
    write_text(path.with_name(f"{path.name}.svg"), finished(drawn.getvalue()))
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(path.with_name(f"{path.name}.csv"), text)
