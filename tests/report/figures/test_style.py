"""The same table gives the same bytes, and every variant has a style of its own."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pandas as pd
from matplotlib.lines import Line2D

from needlework.report.figures import style as figures
from needlework.report.figures.scores import scores_figure
from tests.listing import names
from tests.report.figures.drawn import SVG, drawing


def test_same_table_same_bytes(tmp_path: Path) -> None:
    variants = ["untuned", "real"]
    table = pd.DataFrame(
        {"model": m, "task": "t", "metric": metric, "variant": v, "seed": s, "seeds": 2,
         "mean": 0.5, "low": 0.4, "high": 0.6, "n": 9}
        for m in ("one", "two") for metric in ("f1", "exact_match") for v in variants
        for s in (None, 0, 1)
    )  # fmt: skip
    for name in ("a", "b"):
        drawn = scores_figure(table, variants, "real", 0.95)
        figures.save(drawn, table, tmp_path / name / "scores")
    for kind in ("svg", "png", "csv"):
        a, b = ((tmp_path / name / f"scores.{kind}").read_bytes() for name in ("a", "b"))
        assert a == b


def test_a_dot_in_a_name_is_no_file_ending(tmp_path: Path) -> None:
    figures.save(figures.nothing("why"), pd.DataFrame({"x": [1]}), tmp_path / "heads-llama-3.1-8b")
    assert names(tmp_path) == [f"heads-llama-3.1-8b.{kind}" for kind in ("csv", "png", "svg")]


def test_the_png_is_on_white_and_the_csv_has_the_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1 / 3], "y": ["a,b"]})
    figures.save(figures.nothing("why"), table, tmp_path / "f")
    assert (matplotlib.image.imread(tmp_path / "f.png")[0, 0] == 1).all()
    assert (tmp_path / "f.csv").read_text() == 'x,y\n0.333333,"a,b"\n'


def test_every_variant_of_the_largest_study_has_its_own_style() -> None:
    variants = ["untuned", *(f"v{i}" for i in range(30))]
    styles = figures.styles(variants)
    assert list(styles) == variants
    # Not by colour alone: those of one colour differ in marker and in line.
    assert len({(style.marker, style.colour) for style in styles.values()}) == 31
    assert len({(str(style.line), style.colour) for style in styles.values()}) >= 29
    assert len({style.marker for style in list(styles.values())[:8]}) == 8


def test_marks_stand_out_on_light_and_on_dark_ground() -> None:
    for style in figures.styles(["untuned", *"abcdefgh"]).values():
        look = style.mark()
        assert look["mec"] == figures.INK  # which a page turns with its ground
        assert style.mark(hollow=True)["mfc"] == figures.GROUND
        for ground in ("#ffffff", "#14181c"):
            assert contrast(style.colour, ground) >= 2.0 or style.colour == figures.INK


def contrast(a: str, b: str) -> float:
    """WCAG 2.2: relative luminance, then the ratio."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(a), light(b)))
    return (high + 0.05) / (low + 0.05)


def test_panels_are_filled_row_by_row() -> None:
    figure, axes = figures.panels(5, 4, 2.0, 1.0)
    assert len(axes) == 5
    assert tuple(figure.get_size_inches()) == (8.0, 2.0)
    assert [axis.axison for axis in figure.axes] == [True] * 5 + [False] * 3
    figure, _ = figures.panels(2, 4, 2.0, 1.0)
    assert tuple(figure.get_size_inches()) == (4.0, 1.0)


def test_a_legend_takes_nothing_from_the_panels(tmp_path: Path) -> None:
    heights = []
    for count in (1, 12):
        figure, (axis,) = figures.panels(1, 1, 4.0, 2.0)
        figures.legend(figure, [Line2D([], [], label=f"a variant {i}") for i in range(count)])
        svg = drawing(figure, tmp_path)
        heights.append(axis.get_position().height * figure.get_figheight())
        assert len([t for t in svg.iter(f"{SVG}text") if "variant" in (t.text or "")]) == count
    assert abs(heights[1] - heights[0]) < 0.15


def test_limits_hold_all_ends_in_tenths() -> None:
    def limits(**ends: float) -> tuple[float, float]:
        return figures.tenths(pd.DataFrame([ends]))

    assert limits(mean=0.5, low=0.21, high=0.79) == (0.19, 0.81)
    assert limits(mean=1.0, low=1.0, high=1.0) == (0.69, 1.01)
    assert limits(mean=0.0, low=-1e-16, high=0.0) == (-0.01, 0.31)
    low, high = limits(mean=0.4, low=float("nan"), high=float("nan"))
    assert low < 0.4 < high
