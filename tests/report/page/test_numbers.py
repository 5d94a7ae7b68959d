"""Every number on the page is in a table of the results: where it says, and rounded as it says."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

Read = Callable[..., Page]

_NUMBERS = """[...document.querySelectorAll("data")].map((each) => ({
  tip: each.title, ...each.dataset, value: each.getAttribute("value"), text: each.textContent}))"""
# Cells with digits that are neither in a <data> nor said to be words or worked out from others.
_BARE = """() => {
  const found = [];
  for (const cell of document.querySelectorAll("main table td")) {
    if (cell.closest(".words, .derived")) continue;
    const rest = cell.cloneNode(true);
    for (const known of rest.querySelectorAll("data, .words, .derived")) known.remove();
    if (/[0-9]/.test(rest.textContent)) {
      const table = cell.closest("table").caption?.textContent;
      found.push(`${table}, column ${cell.cellIndex}: ${rest.textContent.trim()}`);
    }
  }
  return found;
}"""
_PARTS = {"h": 3600, "min": 60, "s": 1}


@cache
def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def faults(results: Path, numbers: list[Mapping[str, str]]) -> Iterator[str]:
    """What is wrong with numbers of a page; those worked out from others say how (tip)."""
    for each in numbers:
        if "csv" not in each and each.get("tip"):
            continue
        try:
            cell = table(results / each["csv"])[int(each["row"])][each["column"]]
        except (OSError, LookupError) as error:
            yield f"{each}: {error!r}"
            continue
        if not is_same(each["value"], cell) or not is_rounded(each["text"], cell):
            yield f"{each}, in the file {cell!r}"


def is_same(value: str, cell: str) -> bool:
    return value == cell or float(value) == float(cell)


def is_rounded(text: str, cell: str) -> bool:
    """Whether a text says the number of a cell, as exactly as its digits say.

    "0.12", "+1,234", "−0.5", "88%", "1.2e+05", "2 min 05 s"; "< 0.01" and "> 0.01" as such.
    """
    text = text.strip().removeprefix("= ").replace(",", "").replace("−", "-")
    number = Decimal(cell)
    if text[0] in "<>":
        bound = Decimal(text[1:].strip())
        # A p value cannot be below 1 / (resamples + 1).
        return number < bound if text[0] == "<" else number > bound
    if time := re.findall(r"(\d+) (h|min|s)", text):
        least = _PARTS[time[-1][1]]
        return abs(sum(int(n) * _PARTS[unit] for n, unit in time) - number) * 2 <= least * 2
    shown = Decimal(text.removesuffix("%"))
    number = number * 100 if text.endswith("%") else number
    signs = shown == 0 or shown.is_signed() == number.is_signed()
    digits = shown.as_tuple().exponent
    assert isinstance(digits, int)
    # A little more than a half: the file has six digits, of which the last is rounded already.
    return signs and abs(shown - number) <= Decimal("0.5001").scaleb(digits)


def test_rounding_is_judged_by_the_digits_shown() -> None:
    for text, cell in (
        ("0.12", "0.1249"), ("+0.12", "0.115"), ("−0.5", "-0.5"), ("88%", "0.875"),
        ("1,234", "1234"), ("1.23e+05", "123456"), ("2 min 05 s", "125.2"), ("< 0.01", "0.0099"),
        ("= 0.71", "0.712"), ("3", "3"), ("0.00", "-0.001"),
    ):  # fmt: skip
        assert is_rounded(text, cell), (text, cell)
    for text, cell in (
        ("0.12", "0.126"), ("0.12", "-0.12"), ("−0.5", "0.5"), ("88%", "0.89"), ("1,234", "1235"),
        ("2 min 05 s", "128"), ("< 0.01", "0.02"), ("0.120", "0.1206"),
    ):  # fmt: skip
        assert not is_rounded(text, cell), (text, cell)


def test_every_number_is_that_of_its_table(read: Read, made_report: Path) -> None:
    numbers = read(java_script_enabled=False).evaluate(_NUMBERS)
    assert len(numbers) > 2000
    assert {"tables/main.csv", "tables/counts.csv", "statistics/comparisons.csv"} <= {
        each.get("csv") for each in numbers
    }
    assert list(faults(made_report, numbers)) == []


def test_a_wrong_number_would_be_found(read: Read, made_report: Path) -> None:
    number = read().evaluate(_NUMBERS)[0]
    for change in ({"value": "7"}, {"text": "7"}, {"row": "99999"}, {"column": "no"}):
        assert len(list(faults(made_report, [number | change]))) == 1


def test_numbers_that_scripts_show_are_those_of_their_tables(read: Read, made_report: Path) -> None:
    page = read()
    found: list[Any] = []
    explorer, viewer = page.locator("#explorer"), page.locator("#viewer")
    for select in (explorer.locator(f"select[name={name}]") for name in ("task", "a", "b")):
        for value in options(select):
            select.select_option(value)
            for cell in ("0", "2", "9"):  # of layer 0 and of layer 2
                explorer.locator(f"[data-place='{cell}']").first.focus()
                found += explorer.evaluate(f"(document) => {_NUMBERS}")
    for value in options(viewer.locator("select[name=run]")):
        viewer.locator("select[name=run]").select_option(value)
        found += viewer.evaluate(f"(document) => {_NUMBERS}")
    files = {each["csv"] for each in found}
    assert {"statistics/head_similarity.csv", "statistics/head_differences.csv"} <= files
    assert list(faults(made_report, found)) == []


def options(select: Any) -> list[str]:
    values: list[str] = select.evaluate("(one) => [...one.options].map((option) => option.value)")
    return values


def test_no_cell_shows_a_number_of_unknown_origin(read: Read) -> None:
    page = read()
    page.locator("#viewer select[name=run]").select_option("/real")
    assert page.evaluate(_BARE) == []


def test_what_figures_say_under_the_pointer_stands_in_their_tables(made_report: Path) -> None:
    """The numbers of a mark are in one row of the figure's table; a head's, in rows of the head."""
    wrong = []
    for path in sorted((made_report / "figures").glob("*.svg")):
        if path.stem == "training":  # means over seeds; its table has the seeds
            continue
        rows = table(path.with_suffix(".csv"))
        names = {text for row in rows for text in row.values() if text and not _numeric(text)}
        titles = re.findall(r"<title>(.*?)</title>", path.read_text(encoding="utf-8"), re.DOTALL)
        assert titles
        for title in map(html.unescape, titles):
            if not any(says(title, row, names) for row in joined(rows)):
                wrong.append(f"{path.stem}: {title}")
    assert wrong == []


def joined(rows: list[dict[str, str]]) -> list[list[str]]:
    """The cells of each row, and of each head those of all training sets."""
    heads: dict[tuple[str, str], list[str]] = {}
    if "head" in rows[0] and "layer" in rows[0]:
        for row in rows:
            heads.setdefault((row["layer"], row["head"]), []).extend(row.values())
    return [list(row.values()) for row in rows] + list(heads.values())


def says(title: str, cells: list[str], names: set[str]) -> bool:
    """Whether every number of a title with a decimal is one of the cells, rounded."""
    title = re.sub(r"depth [\d.]+ to [\d.]+", "", title)  # the table has their middle
    for name in sorted(names, key=len, reverse=True):
        title = title.replace(name, " ")
    numbers = [cell for cell in cells if _numeric(cell)]
    said = re.findall(r"(?<![\w.])[-+−]?\d+\.\d+(?:e[-+]\d+)?(?!\w)", title)
    return all(any(is_rounded(text, cell) for cell in numbers) for text in said)


def _numeric(text: str) -> bool:
    return re.fullmatch(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", text) is not None
