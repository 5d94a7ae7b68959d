"""Masks and patches are drawn with their controls, from the plain score on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from needlework.report.figures.interventions import masking_figure, patching_figure
from needlework.report.figures.style import SOFT
from tests.report.figures.drawn import cut_off, drawing, told


def masks(variants: list[str], ways: list[tuple[str, str]]) -> pd.DataFrame:
    rows = [
        ("plain", 0, np.nan, 0.8), ("top", 2, np.nan, 0.5), ("top", 10, np.nan, 0.2),
        ("random", 2, np.nan, 0.7), ("random", 10, np.nan, 0.6), ("random", 10, 0, 0.55),
        ("random", 10, 1, 0.65), ("lowest", 10, np.nan, 0.8),
    ]  # fmt: skip
    return pd.DataFrame(
        {"model": "m", "task": "t", "variant": v, "kind": kind, "during": during, "metric": "f1",
         "chosen": chosen, "k": k, "draw": draw, "mean": mean, "low": mean - 0.1,
         "high": mean + 0.1, "n": 64}
        for v in variants for kind, during in ways for chosen, k, draw, mean in rows
    )  # fmt: skip


def heights(axis: Axes, colour: str) -> list[float]:
    (line,) = [
        line
        for line in axis.lines
        if line.get_color() == colour and line.get_marker() != "None" and line.get_ls() != "None"
    ]
    return list(line.get_ydata())


def test_every_line_starts_at_the_plain_score() -> None:
    axis = masking_figure(masks(["real"], [("zero", "decoding")]), 0.95).axes[0]
    assert heights(axis, "#d55e00") == [0.8, 0.5, 0.2]
    assert heights(axis, SOFT) == [0.8, 0.7, 0.6]
    assert heights(axis, "#0072b2") == [0.8, 0.8]
    assert [int(tick) for tick in axis.get_xticks()] == [0, 2, 10]
    dots = [line for line in axis.lines if line.get_marker() == "."]
    assert sorted(y for line in dots for y in line.get_ydata()) == [0.55, 0.65]


def test_every_point_of_a_mask_says_its_score(tmp_path: Path) -> None:
    figure = masking_figure(masks(["real"], [("zero", "decoding")]), 0.95)
    bars = [tuple(line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() == "None"]
    assert np.allclose(bars[0], (0.7, 0.9))
    assert len(bars) == 3 + 3 + 2
    svg = drawing(figure, tmp_path)
    assert not cut_off(svg)
    assert told(masking_figure(masks(["real"], [("zero", "decoding")]), 0.95), tmp_path) == [
        "0 heads masked: 0.80 [0.70, 0.90], n = 64",
        "2 top heads masked: 0.50 [0.40, 0.60], n = 64",
        "10 top heads masked: 0.20 [0.10, 0.30], n = 64",
        "0 heads masked: 0.80 [0.70, 0.90], n = 64",
        "2 random heads, mean of draws masked: 0.70 [0.60, 0.80], n = 64",
        "10 random heads, mean of draws masked: 0.60 [0.50, 0.70], n = 64",
        "0 heads masked: 0.80 [0.70, 0.90], n = 64",
        "10 lowest heads masked: 0.80 [0.70, 0.90], n = 64",
        "10 random heads, a draw: 0.55",
        "10 random heads, a draw: 0.65",
    ]


def test_every_way_of_masking_opens_a_row_of_panels() -> None:
    ways = [("zero", "decoding"), ("mean", "both")]
    drawn = masking_figure(masks([f"v{i}" for i in range(5)], ways), 0.95)
    titles = [axis.get_title(loc="left") for axis in drawn.axes]
    assert titles[:6] == [*(f"v{i}\nzero mask, decoding" for i in range(5)), ""]
    assert titles[6] == "v0\nmean mask, both"
    labelled = [i for i, axis in enumerate(drawn.axes) if axis.get_xlabel() == "heads masked"]
    assert labelled == [2, 8, 9, 10]  # where nothing is below


def test_a_study_without_a_control_has_no_line_for_it() -> None:
    table = masks(["real"], [("zero", "decoding")])
    drawn = masking_figure(table[table["chosen"].isin(["plain", "top"])], 0.95)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["top heads"]


def patches(**p: float) -> pd.DataFrame:
    rows = [
        ("intersection", np.nan, 0.2, p.get("intersection", 0.5)),
        ("complement", np.nan, -0.1, p.get("complement", 0.5)),
        ("random", np.nan, 0.05, p.get("random", 0.5)), ("random", 0, 0.02, np.nan),
        ("random", 1, 0.08, np.nan),
    ]  # fmt: skip
    return pd.DataFrame(
        {"model": "m", "task": "t", "variant": "low", "source": "real", "positions": "last",
         "metric": "f1", "chosen": chosen, "draw": draw, "heads": 4, "difference": difference,
         "difference_low": difference - 0.1, "difference_high": difference + 0.1,
         "p_adjusted": adjusted, "n": 64}
        for chosen, draw, difference, adjusted in rows
    )  # fmt: skip


def stars(axis: Axes) -> list[float]:
    return [round(line.get_ydata()[0], 2) for line in axis.lines if line.get_marker() == "*"]


def test_bars_are_changes_and_draws_are_dots() -> None:
    axis = patching_figure(patches(), 0.05, 0.95).axes[0]
    assert [round(bar.get_width(), 2) for bar in axis.patches] == [0.2, -0.1, 0.05]
    dots = [line for line in axis.lines if line.get_marker() == "."]
    assert sorted(x for line in dots for x in line.get_xdata()) == [0.02, 0.08]
    low, high = axis.get_xlim()
    assert low == -high
    assert high > 0.3
    assert "change of token F1" in axis.get_xlabel()
    assert "n = 64" in axis.get_xlabel()


def test_a_star_stands_only_where_the_adjusted_p_is_small() -> None:
    assert stars(patching_figure(patches(), 0.05, 0.95).axes[0]) == []
    assert stars(patching_figure(patches(intersection=0.049), 0.05, 0.95).axes[0]) == [-0.27]
    assert stars(patching_figure(patches(complement=0.05), 0.05, 0.95).axes[0]) == []


def test_a_set_without_heads_is_named() -> None:
    table = patches()
    table.loc[table["chosen"] == "complement", ["heads", "difference"]] = 0
    axis = patching_figure(table, 0.05, 0.95).axes[0]
    assert [text.get_text() for text in axis.texts] == ["no head"]


def test_every_place_of_patching_has_its_panel() -> None:
    both = pd.concat([patches(), patches().assign(positions="all")])
    titles = [axis.get_title(loc="left") for axis in patching_figure(both, 0.05, 0.95).axes]
    assert titles == [
        "m on t\nheads from real data, last position",
        "m on t\nheads from real data, all positions",
    ]


def test_every_bar_says_its_change(tmp_path: Path) -> None:
    figure = patching_figure(patches(intersection=0.012), 0.05, 0.95)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-2:] == ["single draws", "adjusted p < 0.05"]
    svg = drawing(figure, tmp_path)
    assert not cut_off(svg)
    said = [title.text for title in svg.iter() if title.tag.endswith("title")]
    assert said == [
        "low, 4 heads of both: +0.20 [+0.10, +0.30], n = 64, adjusted p = 0.012",
        "low, 4 heads of the source only: -0.10 [-0.20, +0.00], n = 64, adjusted p = 0.5",
        "low, 4 random heads, mean of draws: +0.05 [-0.05, +0.15], n = 64, adjusted p = 0.5",
        "low, a draw of random heads: +0.02",
        "low, a draw of random heads: +0.08",
    ]
