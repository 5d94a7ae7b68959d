"""The head explorer in a browser: it shows what the tables say, by mouse and by keyboard."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser

from needlework.report.page.explorer_data import explorer_data
from tests.report.page.part_page import Opened, write_part
from tests.report.page.test_explorer_data import differences, heads_table, similarity

NASTY = "x<img src=x onerror=alert(1)></script><script>alert(2)</script>"
NONE = math.nan
SCORES = {
    "untuned": [[0.0, 0.5, 0.0], [0.2, 0.0, NONE]],
    NASTY: [[0.25, 0.0, 0.0], [0.1, 0.3, NONE]],
    "low_low": [[0.4, 0.00002, 0.6], [0.0, 0.0, NONE]],
    "real": [[0.75, 0.125, 0.0], [0.0, 0.3333333, NONE]],
}
# In the pair of low_low and untuned, a is low_low: it stands later in the study.
PAIRS = [("untuned", "real"), (NASTY, "real"), ("low_low", "real"), ("low_low", "untuned"),
         (NASTY, "untuned"), ("low_low", NASTY)]  # fmt: skip
FILES = ("statistics/head_similarity.csv", "statistics/head_differences.csv")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    heads = pd.concat([heads_table(SCORES), heads_table(SCORES, task="u")])
    table = similarity(PAIRS, [0, 1])
    both = pd.concat([table, table.assign(task_a="u", task_b="u")], ignore_index=True)
    return {"heads": heads, FILES[0]: both, FILES[1]: differences(heads)}


@pytest.fixture(scope="module")
def path(tables: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = {name: tables[f"statistics/{name}.csv"] for name in
             ("head_similarity", "head_differences")}  # fmt: skip
    data = explorer_data(tables["heads"], named, reference="real")
    return write_part(tmp_path_factory.mktemp("explorer") / "page.html", "explorer", data)


def choose(opened: Opened, **names: str) -> None:
    for name, value in names.items():
        opened.page.locator(f"#explorer select[name={name}]").select_option(value)


def labels(opened: Opened, side: int) -> list[str]:
    cells = opened.page.locator(".map").nth(side).get_by_role("gridcell")
    return [str(label) for label in cells.evaluate_all("c => c.map(x => x.ariaLabel)")]


def test_two_maps_say_of_every_place_which_heads_are_shared(opened: Opened) -> None:
    choose(opened, a="low_low", b="real")
    assert opened.texts("#explorer figcaption") == ["Heads after low_low", "Heads after real"]
    assert labels(opened, 0) == [
        "layer 0, head 0, 0.400: above 0 after both",
        "layer 0, head 1, below 0.001: above 0 after both",
        "layer 0, head 2, 0.600: above 0 only after low_low",
        "layer 1, head 0, 0: 0 after both",
        "layer 1, head 1, 0: above 0 only after real",
        "layer 1, head 2: no such head",
    ]
    assert labels(opened, 1)[4] == "layer 1, head 1, 0.333: above 0 only after real"
    # By shape, not by colour alone: each map marks its own heads and those of the other.
    assert opened.texts(".map >> nth=0 >> [role=gridcell]") == ["●", "●", "◆", "", "×", ""]
    assert opened.texts(".map >> nth=1 >> [role=gridcell]") == ["●", "●", "×", "", "◆", ""]
    (counts,) = opened.texts("#explorer .counts")
    assert counts == (
        "2 heads score above 0 after both, 1 only after low_low, 1 only after real, of 5."
    )


def test_a_place_without_a_head_is_hatched(opened: Opened) -> None:
    cells = opened.page.locator(".map").first.get_by_role("gridcell")
    images = cells.evaluate_all("c => c.map(x => getComputedStyle(x).backgroundImage)")
    assert ["gradient" in image for image in images] == [False] * 5 + [True]


def test_every_number_is_the_one_of_its_file(
    opened: Opened, tables: dict[str, pd.DataFrame]
) -> None:
    seen = set()
    for task in ("t", "u"):
        for a in SCORES:
            choose(opened, task=task, a=a, b="real" if a != "real" else "untuned")
            numbers = opened.page.locator("#explorer data").evaluate_all(
                "all => all.map(x => [x.dataset.csv, x.dataset.row, x.dataset.column, x.value,"
                " x.textContent])"
            )
            for csv, row, column, value, text in numbers:
                cells = tables[csv].loc[int(row)]
                assert float(value) == cells[column]
                digits = len(text.partition(".")[2])
                shown = float(text.replace("−", "-"))
                assert shown == pytest.approx(cells[column], abs=0.5001 * 10**-digits)
                assert task in (cells.get("task"), cells.get("task_a"))
                seen.add((csv, column))
    columns = {FILES[0]: {"value", "low", "high", "random", "shared", "heads_a", "heads_b"},
               FILES[1]: {"difference", "p_adjusted", "n"}}  # fmt: skip
    assert seen == {(csv, column) for csv, names in columns.items() for column in names}


def test_agreement_is_read_the_way_round_that_the_file_has_it(opened: Opened) -> None:
    for a, b in (("untuned", "low_low"), ("low_low", "untuned")):
        choose(opened, a=a, b=b)
        head = opened.texts(".agreement thead th")
        assert head[:3] == ["seeds of low_low, untuned", "heads of low_low", "heads of untuned"]
        (read,) = opened.texts(".agreement .read")
        assert "recall is the share of the heads of untuned that low_low has" in read
        assert opened.texts(".agreement tbody th") == ["0, 0", "0, 1", "1, 0", "1, 1"]
        assert opened.texts(".agreement tbody td >> nth=0") == ["3"]  # heads_a
        assert "tested against real only" in opened.texts(".reading")[0]
    choose(opened, a="real", b="real")
    assert opened.texts(".agreement table") == []


def test_arrow_keys_move_among_heads_and_the_live_region_says_where(opened: Opened) -> None:
    choose(opened, a="low_low", b="real")
    page = opened.page
    page.locator("#explorer select[name=b]").focus()
    page.keyboard.press("Tab")  # into the first map, at its one tab stop: the strongest shared head
    focused = "document.activeElement.ariaLabel"
    assert page.evaluate(focused).startswith("layer 0, head 0")
    for key, place in (
        ("ArrowLeft", "0, head 0"), ("ArrowRight", "0, head 1"), ("ArrowDown", "1, head 1"),
        ("ArrowDown", "1, head 1"), ("End", "1, head 2"), ("Home", "1, head 0"),
        ("PageUp", "0, head 0"), ("End", "0, head 2"), ("PageDown", "1, head 2"),
        ("ArrowUp", "0, head 2"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(focused).startswith(f"layer {place}"), key
        for side in (0, 1):
            stops = page.locator(".map").nth(side).locator("[tabindex='0']")
            assert stops.count() == 1
            label = stops.get_attribute("aria-label") or ""
            assert label.startswith(f"layer {place}")
    status = page.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    said = status.text_content() or ""
    assert said.startswith("layer 0, head 2: above 0 only after low_low. Score 0.600 after low_low")
    assert "Difference low_low − real: +0.600, adjusted p = " in said
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.map') !== null")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.map') === null")


def test_the_pointer_reads_a_head_in_both_maps(opened: Opened) -> None:
    opened.page.locator(".map").nth(1).get_by_role("gridcell").nth(4).hover()
    assert opened.texts(".reading strong") == ["layer 1, head 1"]
    current = opened.page.locator(".map .current")
    assert [c.get_attribute("data-place") for c in current.all()] == ["4", "4"]


def test_shared_heads_come_by_the_lower_score_and_lead_to_the_map(opened: Opened) -> None:
    choose(opened, a=NASTY, b="real")
    assert opened.texts(".shared-heads tbody th") == ["layer 1, head 1", "layer 0, head 0"]
    assert opened.texts(".shared-heads tbody tr:first-child td")[:3] == ["0.300", "0.333", "−0.033"]
    opened.page.get_by_role("button", name="layer 0, head 0").click()
    assert "layer 0, head 0" in opened.page.evaluate("document.activeElement.ariaLabel")


def test_names_are_shown_as_they_are(opened: Opened) -> None:
    choose(opened, a=NASTY)
    assert opened.texts("#explorer figcaption")[0] == f"Heads after {NASTY}"
    assert opened.page.locator("#explorer img").count() == 0


def test_it_follows_the_filters_of_the_page(opened: Opened) -> None:
    names = {name: opened.page.locator(f"#explorer select[name={name}]") for name in "ab"}
    task = opened.page.locator("#explorer select[name=task]")
    assert (names["a"].input_value(), names["b"].input_value()) == (NASTY, "real")
    opened.filter(task="u", variant="low_low", model="m")
    assert [s.input_value() for s in (task, names["a"], names["b"])] == ["u", "low_low", "real"]
    opened.filter(task="not scored", variant="real")
    assert [s.input_value() for s in (task, names["a"], names["b"])] == ["u", "low_low", "real"]


@pytest.mark.parametrize("shape", [(32, 32), (30, 9)])
def test_the_maps_of_a_model_fit_side_by_side(
    browser: Browser, tmp_path: Path, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    scores = {name: (rng.random(shape) * (rng.random(shape) < 0.3)).tolist()
              for name in ("low_low", "real")}  # fmt: skip
    heads = heads_table(scores)
    given = {"head_similarity": similarity([("low_low", "real")], [0]),
             "head_differences": differences(heads)}  # fmt: skip
    data = explorer_data(heads, given, reference="real")
    opened = Opened(browser, write_part(tmp_path / "page.html", "explorer", data))
    boxes = []
    for side in (0, 1):
        map_ = opened.page.locator(".map").nth(side)
        assert map_.get_by_role("row").count() == shape[0]
        assert map_.get_by_role("gridcell").count() == shape[0] * shape[1]
        boxes.append(map_.get_by_role("grid").bounding_box())
    left, right = boxes
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    opened.page.set_viewport_size({"width": 360, "height": 700})
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.wrong == []
    opened.page.close()
