"""The page as a reader uses it: offline, without scripts, by pointer and by keyboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page

Read = Callable[..., Page]

# The sort keys of a column: the value of its number, or else the text of the cell.
_KEYS = """(table, column) => [...table.tBodies[0].rows].map((row) => {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.querySelector("data")?.value ?? cell.textContent.trim();
})"""

# Until what follows a scroll has happened.
_FRAMES = """async () => {
  for (let i = 0; i < 5; i += 1) await new Promise((done) => requestAnimationFrame(done));
}"""


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def keys(table: Locator, column: int) -> list[str]:
    found: list[str] = table.evaluate(f"(table) => ({_KEYS})(table, {column})")
    return found


def is_sorted(found: list[str], sign: int) -> bool:
    """Whether numbers stand in order, before all words, and what is missing last."""
    present = [text for text in found if text not in ("", "–")]
    numbers = [float(text) for text in present if _is_number(text)]
    first = found[: len(present)] == present
    alone = len(numbers) in (0, len(present))
    return first and (not alone or numbers == sorted(numbers, reverse=sign < 0))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def press(page: Page, locator: Locator, key: str) -> None:
    """Focus what Tab can reach, and press a key."""
    locator.focus()
    assert locator.evaluate("(element) => element === document.activeElement")
    page.keyboard.press(key)


def test_without_scripts_every_table_can_be_read(read: Read) -> None:
    page = read(java_script_enabled=False)
    for summary in page.locator("summary").all():
        if summary.evaluate("(element) => !element.parentElement.open"):
            summary.click()
    tables = page.locator("main table").all()
    assert len(tables) > 10
    for table in tables:
        assert table.is_visible()
        box = table.locator("tbody tr").first.bounding_box()
        assert box is not None
        assert box["width"] > 100
    assert page.locator("#explorer noscript").inner_text().startswith("The explorer needs")
    assert page.locator("#viewer noscript").inner_text().startswith("The viewer needs")
    assert not page.locator("button:visible, select:visible").count()


def test_headings_sort_by_pointer_and_by_keyboard(read: Read) -> None:
    page = read()
    table = page.locator("#scores table.sortable").first
    assert not is_sorted(keys(table, 1), 1)
    heading = table.locator("thead th").nth(1)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert is_sorted(keys(table, 1), 1)
    ascending = table.locator("tbody").inner_text()
    press(page, heading.get_by_role("button"), "Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert is_sorted(keys(table, 1), -1)
    assert table.locator("tbody").inner_text() != ascending


def test_every_column_of_every_table_sorts_by_its_values(read: Read) -> None:
    page = read()
    found = page.evaluate(
        f"""() => [...document.querySelectorAll("table.sortable")].flatMap((table) =>
          [...table.tHead.rows[0].cells].map((heading, column) => {{
            const before = ({_KEYS})(table, column);
            heading.querySelector("button").click();
            const up = ({_KEYS})(table, column);
            heading.querySelector("button").click();
            return [before, up, ({_KEYS})(table, column), table.caption.textContent, column];
          }}))"""
    )
    assert len(found) > 100
    for before, up, down, caption, column in found:
        where = f"{caption}, column {column}"
        assert sorted(before) == sorted(up) == sorted(down), where
        assert is_sorted(up, 1), where
        assert is_sorted(down, -1), where


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_filters_hide_the_rows_of_others(read: Read, by_keyboard: bool) -> None:
    page = read()
    choice = page.locator("#filters select[name=variant]")
    own = page.locator("#scores tbody tr[data-variant=low_low]")
    other = page.locator("#scores tbody tr[data-variant=symbolic]")
    assert other.first.is_visible()
    if by_keyboard:
        press(page, choice, "l")
    else:
        choice.select_option("low_low")
    assert choice.input_value() == "low_low"
    assert own.first.is_visible()
    assert not any(row.is_visible() for row in other.all())
    shown = page.locator("#filters output").inner_text()
    left, of = (int(word) for word in shown.split() if word.isdigit())
    assert 0 < left < of
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("!document.querySelector('#scores tr[data-variant=symbolic]').hidden")
    assert page.locator("#filters output").inner_text() == ""


def test_a_task_that_is_filtered_out_is_gone_from_every_section(read: Read) -> None:
    page = read()
    answers = page.locator("#answer article")
    assert [answer.is_visible() for answer in answers.all()] == [True, True]
    page.locator("#filters select[name=task]").select_option("factbook_citation")
    assert [answer.is_visible() for answer in answers.all()] == [False, True]
    assert page.locator("#explorer select[name=task]").input_value() == "factbook_citation"
    assert page.locator("#viewer select[name=task]").input_value() == "factbook_citation"


def test_the_explorer_compares_what_is_chosen_and_arrows_lead_through_its_maps(read: Read) -> None:
    page = read()
    explorer = page.locator("#explorer")
    reading, counts = explorer.locator("[role=status]"), explorer.locator(".counts")
    before = counts.inner_text()
    explorer.locator("select[name=a]").select_option("untuned")
    assert counts.inner_text() != before
    assert "untuned" in explorer.locator("#explorer-map-a").inner_text()
    cells = explorer.locator("[role=gridcell]")
    cells.first.hover()
    assert reading.inner_text().startswith("layer 0, head 0")
    current = explorer.locator("[role=gridcell][tabindex='0']").first
    press(page, current, "ArrowRight")
    assert reading.inner_text().startswith("layer 0, head 1")
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    assert reading.inner_text().startswith("layer 1, head 3: no such head")
    assert explorer.locator("[role=grid]").first.locator("[tabindex='0']").count() == 1


def test_the_viewer_leads_from_example_to_example(read: Read) -> None:
    page = read()
    viewer = page.locator("#viewer")
    question = viewer.locator(".question")
    first = question.inner_text()
    assert "Capital 0?" in first
    viewer.get_by_role("button", name="Next").click()
    assert "Capital 1?" in question.inner_text()
    press(page, viewer.get_by_role("button", name="Next"), "Enter")
    assert "Capital 2?" in question.inner_text()
    press(page, viewer.get_by_role("button", name="Previous"), "Space")
    assert "Capital 1?" in question.inner_text()
    viewer.locator("input[name=number]").fill("8")
    page.keyboard.press("Enter")
    assert "Capital 7?" in question.inner_text()


def test_the_viewer_finds_wrong_answers_and_shows_where_heads_looked(read: Read) -> None:
    page = read()
    viewer = page.locator("#viewer")
    verdicts = viewer.locator(".answers td.up, .answers td.down")
    assert "✓ right" in verdicts.all_inner_texts()
    viewer.locator("select[name=outcome]").select_option("wrong")
    status = viewer.locator("[role=status]").inner_text()
    assert set(verdicts.all_inner_texts()) == {"✗ wrong"} or "no example" in status.lower()
    viewer.locator("select[name=outcome]").select_option("all")
    attended = viewer.locator(".documents .attended")
    assert not attended.count()
    viewer.locator("select[name=run]").select_option("/real")
    assert attended.all_inner_texts()[0].startswith("Lima")


def test_a_number_says_its_value_and_where_it_stands(read: Read) -> None:
    page = read()
    tip = page.locator("#tip")
    assert not tip.is_visible()
    number = page.locator("#scores tbody data.n").first
    number.hover()
    told = tip.inner_text()
    assert str(number.get_attribute("value")) in told
    assert "tables/main.csv" in told
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("#scores tbody td[tabindex='0']").first.focus()
    of_cell = tip.inner_text()
    assert set(told.split("\n")) <= set(of_cell.split("\n"))  # of all numbers in the cell
    page.keyboard.press("ArrowDown")
    assert tip.is_visible()
    assert tip.inner_text() != of_cell


def test_a_number_far_down_says_it_too_when_the_focus_scrolls_to_it(read: Read) -> None:
    page = read(reduced_motion="reduce")  # scrolls at once
    page.locator("#data tbody td[tabindex='0']").first.focus()
    page.evaluate(_FRAMES)
    assert page.evaluate("scrollY") > 1000
    assert "tables/counts.csv" in page.locator("#tip").inner_text()
    assert page.locator("#tip").is_visible()


def test_a_mark_of_a_figure_says_what_it_is(read: Read) -> None:
    page = read()
    mark = page.locator("#scores svg [data-tip]").first
    mark.dispatch_event("pointerover", {"bubbles": True})
    assert page.locator("#tip").inner_text() == mark.get_attribute("data-tip")


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_is_that_of_the_system_until_the_button_changes_it(
    read: Read, system: str
) -> None:
    page = read(color_scheme=system)
    before = background(page)
    button = page.locator("#theme")
    assert button.inner_text() == {"light": "Dark theme", "dark": "Light theme"}[system]
    button.click()
    assert background(page) != before
    press(page, button, "Enter")
    assert background(page) == before
    page.emulate_media(color_scheme="dark" if system == "light" else "light")
    assert background(page) == before  # what the reader chose stays


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_wider_than_the_window(read: Read, width: int) -> None:
    page = read(viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    wide = page.evaluate(
        """(width) => [...document.querySelectorAll("main *")].filter((element) => {
          const box = element.getBoundingClientRect();
          const inside = element.parentElement.closest(".wide, svg, pre, .map, .documents");
          return box.width && !inside && box.right > width + 1;
        }).map((element) => element.outerHTML.slice(0, 100))""",
        width,
    )
    assert wide == []


def test_no_two_elements_have_the_same_id_and_every_link_leads_somewhere(read: Read) -> None:
    page = read()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert sorted({each for each in ids if ids.count(each) > 1}) == []
    links = page.evaluate("[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
