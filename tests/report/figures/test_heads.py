"""Head maps show every head once, mark those that are shared, and leave out what is no head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from needlework.report.figures.heads import head_points, heads_figure
from tests.report.figures.drawn import cut_off, drawing, told

Grid = NDArray[np.float64]


def heads(grids: dict[str, Grid], n: int = 16) -> pd.DataFrame:
    there = ~np.isnan(next(iter(grids.values())))
    return pd.DataFrame(
        {"variant": v, "layer": i[0], "head": i[1], "there": there[i], "kind": "mass",
         "role": "bridge", "score": x, "n": n, "difference": np.nan, "p_adjusted": np.nan}
        for v, grid in grids.items() for i, x in np.ndenumerate(grid)
    )  # fmt: skip


def draw(grids: dict[str, Grid], count: int = 2, **more: Any) -> Figure:
    return heads_figure(heads(grids, **more), reference="real", count=count, alpha=0.05)


def marked(axis: Axes, marker: str) -> set[tuple[int, int]]:
    lines = [line for line in axis.lines if line.get_marker() == marker]
    return {
        place for line in lines for place in zip(line.get_ydata(), line.get_xdata(), strict=True)
    }


def grid(**values: float) -> Grid:
    made = np.zeros((4, 3))
    for key, value in values.items():
        made[int(key[1]), int(key[2])] = value
    return made


def test_the_reference_comes_first_and_the_others_in_their_order() -> None:
    drawn = draw({"untuned": grid(), "real": grid(h00=1), "a": grid()})
    assert [axis.get_title(loc="left") for axis in drawn.axes[:3]] == [
        "real (reference)", "untuned", "a"
    ]  # fmt: skip


def test_heads_of_both_of_one_and_of_the_other_are_marked_apart() -> None:
    drawn = draw({"real": grid(h00=0.9, h31=0.8, h22=0.1), "a": grid(h00=0.3, h12=0.2, h22=0.1)})
    reference, other = drawn.axes[:2]
    assert marked(other, "o") == {(0, 0)}
    assert marked(other, "D") == {(1, 2)}
    assert marked(other, "x") == {(3, 1)}
    assert marked(reference, "o") == {(0, 0), (3, 1)}
    assert not marked(reference, "D") | marked(reference, "x")
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert legend[0] == "in the top 2 here and after real data"


def test_a_place_without_a_head_is_hatched_and_has_no_score() -> None:
    holes = grid(h00=0.5)
    holes[1] = np.nan  # a layer without attention heads
    holes[2, 1:] = np.nan  # a layer with one
    drawn = draw({"real": holes, "a": holes})
    for axis in drawn.axes[:2]:
        hatched = {
            (patch.get_y() + 0.5, patch.get_x() + 0.5, patch.get_width())
            for patch in axis.patches
            if isinstance(patch, Rectangle) and patch.get_hatch()
        }
        assert hatched == {(1, 0, 3), (2, 1, 2)}
        shown = np.ma.getmaskarray(axis.images[0].get_array())
        assert (shown == np.isnan(holes)).all()
    assert drawn.legends[0].get_texts()[-1].get_text() == "no head"
    whole = draw({"real": grid(h00=1), "a": grid()})
    assert not whole.axes[0].patches
    assert whole.legends[0].get_texts()[-1].get_text() != "no head"


def test_one_colour_bar_says_what_the_score_is_and_of_how_many_examples() -> None:
    drawn = draw({"real": grid(h00=0.4), "a": grid(h00=0.8)})
    assert len(drawn.axes) == 3
    assert drawn.axes[2].get_ylabel() == "mass score, bridge needles,\nmean over n = 16 examples"
    assert [axis.images[0].get_clim() for axis in drawn.axes[:2]] == [(0, 0.8)] * 2


def test_scores_below_zero_are_within_the_colours() -> None:
    drawn = draw({"real": grid(h00=0.4, h11=-0.2), "a": grid()})
    assert drawn.axes[1].images[0].get_clim() == (-0.2, 0.4)


def test_heads_that_never_copy_are_drawn_without_a_mark() -> None:
    drawn = draw({"real": grid(), "a": grid()})
    assert not marked(drawn.axes[1], "o") | marked(drawn.axes[1], "D")
    assert drawn.axes[0].images[0].get_clim() == (0, 1)


def test_a_probe_of_which_no_example_counts_is_said() -> None:
    table = heads({"real": grid(h00=1), "a": grid()})
    table.loc[table["variant"] == "a", "score"] = np.nan
    drawn = heads_figure(table, reference="real", count=2, alpha=0.05)
    assert drawn.axes[1].texts[0].get_text() == "no probe example\ncounts here"
    assert not drawn.axes[1].images


def test_heads_that_differ_from_the_reference_are_boxed(tmp_path: Path) -> None:
    table = heads({"real": grid(h00=0.9, h31=0.8), "a": grid(h00=0.3, h12=0.2)})
    table = table.drop(columns=["difference", "p_adjusted"]).assign(model="m", task="t")
    tests = pd.DataFrame(
        [("a", 0, 0, -0.6, 0.01), ("a", 1, 2, 0.2, 0.05), ("a", 3, 1, -0.8, 0.049)],
        columns=["variant", "layer", "head", "difference", "p_adjusted"],
    ).assign(model="m", task="t", mean=0.5, reference_mean=0.1, p=0.001, n=9, n_clusters=9)
    points = head_points(table, tests)
    assert len(points) == len(table)
    assert points["p_adjusted"].notna().sum() == 3
    drawn = heads_figure(points, reference="real", count=2, alpha=0.05)
    reference, other = drawn.axes[:2]
    assert marked(other, "s") == {(0, 0), (3, 1)}
    assert not marked(reference, "s")
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert "differs from real, adjusted p < 0.05" in legend
    said = told(drawn, tmp_path)
    assert "layer 0, head 0: 0.30; -0.60 against real, adjusted p = 0.01" in said
    assert (
        "layer 0, head 0: 0.30; in both top 2; real: 0.90; -0.60 against real, adjusted p = 0.01"
        in said
    )
    assert "layer 1, head 2: 0.20; in the top 2 here only; real: 0.00" in said


def test_a_large_map_is_one_small_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    svg = drawing(draw({v: rng.random((32, 32)) for v in ("real", *"abc")}, count=20), tmp_path)
    assert len([e for e in svg.iter() if e.tag.endswith("image")]) == 5  # four maps, a colour bar
    assert (tmp_path / "figure.svg").stat().st_size < 100_000
    assert not cut_off(svg)


def test_sixteen_maps_of_a_large_model_wrap_into_rows_that_fit_a_page() -> None:
    rng = np.random.default_rng(0)
    drawn = draw({v: rng.random((32, 32)) for v in ("real", *"abcdefghijklmno")}, count=20)
    width, height = drawn.get_size_inches()
    assert width <= 11.1
    gridspec = drawn.axes[0].get_gridspec()
    assert (gridspec.nrows, gridspec.ncols) == (4, 4)
    assert (width - 1.25) / 4 * 72 / 32 > 5  # points of a head across, and down
    assert (height - 0.9) / 4 * 72 / 32 > 5
    lowest = [axis for axis in drawn.axes[:16] if axis.xaxis.get_visible()]
    assert len(lowest) == 4
    assert {axis.get_xlabel() for axis in lowest} == {"head"}
