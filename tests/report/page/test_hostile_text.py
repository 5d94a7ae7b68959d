"""What others wrote stands on the page as text, and stays text, whatever it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tests.report.hostile import HOSTILE

Read = Callable[..., Page]

# As a browser gives the text of an element that wraps: white space is one space.
SHOWN = " ".join(HOSTILE.split())

# Texts that turn the direction, and are neither marked as a text of its own nor alone in a block.
_OPEN_ENDS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = new Set();
  const isolates = (each) => /isolate|plaintext/.test(getComputedStyle(each).unicodeBidi);
  while (walker.nextNode()) {
    if (!walker.currentNode.data.includes("\u202e")) continue;
    const element = walker.currentNode.parentElement;
    if (element.closest("script, svg, option, pre")) continue;
    let each = element;
    const marked = () => each.matches("bdi, [dir]") || getComputedStyle(each).display === "inline";
    while (!(isolates(each) && (marked() || each.childNodes.length === 1))) {
      each = each.parentElement;
      if (each === document.body) { found.add(element.outerHTML.slice(0, 150)); break; }
    }
  }
  return [...found];
}"""


def shown(locator: Locator) -> str:
    text = locator.text_content()
    assert text is not None
    return " ".join(text.split())


def test_the_text_is_planted_everywhere(made_report: Path) -> None:
    for pattern in (
        "corpora/*/test.jsonl", "datasets/*/*/train.jsonl", "predictions/*/*/*/*/plain.jsonl",
        "attention/*/*.json", "datasets/*/*/dataset.json", "generations/*/rewrites.json",
    ):  # fmt: skip
        paths = list(made_report.glob(pattern))
        assert paths, pattern
        planted = [json.dumps(HOSTILE)[1:-1] in path.read_text(encoding="utf-8") for path in paths]
        assert any(planted), pattern


@pytest.mark.parametrize("scripts", [False, True])
def test_nothing_of_it_becomes_an_element_or_runs(read: Read, scripts: bool) -> None:
    page = read(java_script_enabled=scripts)
    if scripts:
        viewer = page.locator("#viewer")
        for name in ("run", "outcome", "task"):
            select = viewer.locator(f"select[name={name}]")
            for value in select.locator("option").evaluate_all("(all) => all.map((o) => o.value)"):
                select.select_option(value)
            select.select_option(index=0)
        page.get_by_role("button", name="Next").click()
    assert page.evaluate("window.pwned") is None
    assert (
        page.locator("main img, main iframe, main object, main a[href^='javascript']").count() == 0
    )
    allowed = {"application/json", ""}
    kinds = page.evaluate("[...document.querySelectorAll('script')].map((each) => each.type)")
    assert set(kinds) == allowed
    assert kinds.count("") == 1


def test_no_character_of_it_ends_a_script(made_report: Path) -> None:
    """The data of scripts: what would end one, or open a comment in one, is escaped in it."""
    page = (made_report / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    data = re.findall(
        r'<script type="application/json" id="(\w+)-data">(.*?)</script>', page, re.DOTALL
    )
    assert {name for name, _ in data} == {"explorer", "viewer"}
    for _, text in data:
        assert not set("<>&\u2028\u2029") & set(text)
    (viewer,) = (json.loads(text) for name, text in data if name == "viewer")
    assert HOSTILE in json.dumps(viewer, ensure_ascii=False).replace('\\"', '"')


def test_questions_titles_documents_and_answers_are_shown_letter_by_letter(read: Read) -> None:
    page = read()
    viewer = page.locator("#viewer")
    viewer.locator("select[name=run]").select_option("/real")
    assert SHOWN in shown(viewer.locator(".question"))
    document = viewer.locator(".documents article").first
    assert SHOWN in shown(document.locator(".doc-title"))
    assert SHOWN in shown(document.locator(".passage"))
    assert SHOWN in shown(viewer.locator(".looked"))  # tokens of the answer
    viewer.locator("select[name=outcome]").select_option("differ")
    wrong = viewer.locator(".answers td.said", has_text="Quito").first
    assert shown(wrong).endswith(SHOWN)
    example = page.locator("#examples .example").first
    assert SHOWN in shown(example)


def test_reasons_of_failures_are_shown_letter_by_letter(read: Read) -> None:
    page = read(java_script_enabled=False)
    reasons = [shown(each) for each in page.locator("#data td.reason").all()]
    assert any(SHOWN in reason for reason in reasons)


def test_a_turned_direction_ends_where_the_text_ends(read: Read) -> None:
    """Words of the page in the same line keep their direction: texts of others are isolated."""
    page = read()
    page.locator("#viewer select[name=run]").select_option("/real")
    assert page.evaluate(_OPEN_ENDS) == []
