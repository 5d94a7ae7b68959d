"""The page by axe's rules of accessibility, in both themes, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

Read = Callable[..., Page]

# axe looks at every element, and the rows of a table are alike: one of each make is left.
_ONE_OF_EACH = """() => {
  for (const body of document.querySelectorAll("main tbody")) {
    const makes = new Set();
    for (const row of [...body.rows]) {
      const names = [...row.querySelectorAll("*")].map((each) => each.tagName + each.className);
      const make = names.join();
      if (makes.has(make)) row.remove(); else makes.add(make);
    }
  }
}"""


def opened(page: Page) -> Page:
    """The page with everything on it that can be unfolded or chosen."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.locator("#viewer select[name=run]").select_option("/real")
    page.locator("#filters select[name=task]").select_option("factbook_lookup")
    page.locator("#scores tbody td[tabindex='0']").first.scroll_into_view_if_needed()
    page.locator("#scores tbody td[tabindex='0']").first.focus()
    assert page.locator("#tip").is_visible()
    return page


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(read: Read, theme: str, width: int) -> None:
    page = opened(read(color_scheme=theme, viewport={"width": width, "height": 900}))
    page.evaluate(_ONE_OF_EACH)
    found = Axe().run(page).response["violations"]
    grave = {
        violation["id"]: [node["html"][:200] for node in violation["nodes"]][:5]
        for violation in found
        if violation["impact"] in ("serious", "critical")
    }
    assert grave == {}


def test_headings_go_down_one_level_at_a_time(read: Read) -> None:
    levels = [int(tag[1]) for tag in read().evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((each) => each.tagName)"
    )]  # fmt: skip
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_tab_leads_to_everything_that_can_be_used_and_shows_where_it_is(read: Read) -> None:
    page = read()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        place, outline = page.evaluate(
            """() => { const one = document.activeElement; return [
              one.id || one.name || one.className || one.textContent.slice(0, 30),
              getComputedStyle(one).outlineStyle !== "none"
                || getComputedStyle(one).boxShadow !== "none"]; }"""
        )
        assert outline, place
        seen.add(place)
    assert {"theme", "task", "variant"} <= seen
