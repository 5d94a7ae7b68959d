"""What all figures share: variants' colours and marks, panels, and the three files of a figure.

Figures are at most 11 inches wide, so that a page shows their letters as large as its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from needlework.atomic import atomic_path, write_text

# Okabe and Ito's palette without its yellow, which paper does not show: distinct to colour-blind
# readers. Gray is the untuned model.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
SOFT = "#7a7a7a"
MISSING = "#e4e4e4"

matplotlib.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
        "hatch.linewidth": 0.6,
        "legend.frameon": False,
        "svg.hashsalt": "needlework",  # the same figure gives the same bytes
    }
)


class Style(NamedTuple):
    """Colour and marker of a variant: together they are its own, whatever the number."""

    colour: str
    marker: str


def styles(variants: Sequence[str]) -> dict[str, Style]:
    """One style per variant, in their order; the untuned model is a gray star."""
    trained = [variant for variant in variants if variant != "untuned"]
    count = len(_COLOURS)
    return {"untuned": Style(SOFT, "*")} | {
        variant: Style(_COLOURS[i % count], _MARKERS[i // count % len(_MARKERS)])
        for i, variant in enumerate(trained)
    }


def grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes, (rows, columns), each `width` x `height` inches."""
    figure = Figure(figsize=(width * columns, height * rows))
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


def legend(figure: Figure, handles: Sequence[Line2D | Patch], width: float) -> None:
    """A legend under all panels, each entry at most `width` inches wide."""
    figure.legend(
        handles=list(handles), loc="outside lower center",
        ncols=max(1, min(len(handles), int(figure.get_figwidth() // width))),
        fontsize=9, handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip


def save(figure: Figure, table: pd.DataFrame, path: Path) -> None:
    """Write `path`.svg, `path`.png and the numbers behind them, `path`.csv."""
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        # A model's name may hold a dot: the ending is added, not exchanged.
        with atomic_path(path.with_name(f"{path.name}.{kind}")) as temporary:
            figure.savefig(temporary, dpi=160, metadata=metadata)
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(path.with_name(f"{path.name}.csv"), text)
