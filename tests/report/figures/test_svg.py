"""The SVG says what its marks are, keeps its text, and leaves its ground and fonts to the page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from needlework.report.figures import style as figures
from needlework.report.figures.svg import tip
from tests.report.figures.drawn import SVG, drawing, told

NASTY = """</title><script>alert("1")</script> & 'it' {"a": 1} ü"""


def test_every_marker_has_its_own_text_in_order(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    (line,) = axis.plot([3, 1, 2], [1, 2, 3], marker="o")
    tip(line, "third", "first", NASTY)
    uses = list(drawing(figure, tmp_path).iter(f"{SVG}use"))
    marked = [(float(use.get("x", 0)), use[0].text) for use in uses if len(use)]
    assert [text for _, text in marked] == ["third", "first", NASTY]
    assert [text for _, text in sorted(marked)] == ["first", NASTY, "third"]


def test_one_text_is_of_the_whole_and_every_cell_can_have_its_own(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    tip(axis.pcolormesh([[1, 2], [3, 4]]), *"abcd")
    tip(axis.plot([0, 1], [0, 1], marker="o")[0], "a line")
    svg = drawing(figure, tmp_path)
    assert [title.text for title in svg.iter(f"{SVG}title")] == [*"abcd", "a line"]
    (group,) = [g for g in svg.iter(f"{SVG}g") if g.findtext(f"{SVG}title") == "a line"]
    assert len(list(group.iter(f"{SVG}use"))) == 2


def test_a_text_without_a_mark_is_an_error(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    tip(axis.plot([1, np.nan], [1, 2], "o")[0], "seen", "not seen")
    with pytest.raises(ValueError, match="1 marks have 2 texts, the first: 'seen'"):
        told(figure, tmp_path)


def test_marks_keep_their_look_when_it_is_said_once(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    axis.plot([1, 2], [1, 2], "o", color="#123456")
    axis.plot([1, 2], [2, 1], "|", color="#654321", alpha=0.5)
    svg = drawing(figure, tmp_path)
    parents = {child: parent for parent in svg.iter() for child in parent}
    looks = [parents[use].get("style") or "" for use in svg.iter(f"{SVG}use")]
    assert len([look for look in looks if "fill: #123456" in look]) == 2
    faint = [look for look in looks if "stroke: #654321" in look]
    assert len(faint) == 2
    assert all("stroke-opacity: 0.5" in look for look in faint)


def test_text_stays_text_in_the_fonts_of_the_page(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    axis.set_title("a $5 name")
    svg = drawing(figure, tmp_path)
    assert "a $5 name" in [text.text for text in svg.iter(f"{SVG}text")]
    assert svg.get("font-family", "").endswith("sans-serif")
    raw = (tmp_path / "figure.svg").read_text()
    assert raw.count("font-family") == 1
    assert "<style" not in raw  # its rule would hold for the page around it
    assert "metadata" not in raw


def test_the_ground_is_the_pages_and_the_colours_are_its_own(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    axis.grid()
    axis.set_title("t")
    svg = drawing(figure, tmp_path)
    ground = next(svg.iter(f"{SVG}path"))
    assert ground.get("style") == "fill: none"
    used = set(re.findall("#[0-9a-f]{6}", (tmp_path / "figure.svg").read_text()))
    assert used == {figures.INK, figures.SOFT, figures.LINE}
    assert used < set(figures.PAGE_COLOURS)


def test_every_name_that_is_used_is_there(tmp_path: Path) -> None:
    figure, (axis,) = figures.panels(1, 1, 3, 2)
    axis.barh([1], [2], hatch="//")
    axis.plot([1, 2], [1, 2], "o")
    svg = drawing(figure, tmp_path)
    raw = ElementTree.tostring(svg, encoding="unicode")
    names = {element.get("id") for element in svg.iter()} - {None}
    assert names == set(re.findall(r"(?:href=\"|url\()#([\w-]+)", raw))
