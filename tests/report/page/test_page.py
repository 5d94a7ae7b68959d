"""The page runs one script only, fetches nothing, and leads its reader in order."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from needlework.report.build import build_report
from tests.report.made import results, study
from tests.report.made_answers import ENDING, NASTY, TURNED


class Elements(HTMLParser):
    """Every start tag with its attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.found if tag in tags]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    made = study(masking={"top": [1], "draws": 1, "variants": ["real"]}, general={})
    build_report(path, made, reference="real", benchmarks=[results(path, made)])
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def test_only_the_script_of_the_page_may_run(page: str, elements: Elements) -> None:
    policies = [m["content"] for m in elements.of("meta") if m.get("http-equiv")]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policies[0]
    assert "unsafe" not in policies[0].split("script-src")[1]
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|eval|fetch)\b", script)
    handlers = [name for _, given in elements.found for name in given if name.startswith("on")]
    assert not handlers


def test_nothing_is_fetched(page: str, elements: Elements) -> None:
    sources = [given.get("src") or given.get("href") or given.get("xlink:href") or ""
               for _, given in elements.found]  # fmt: skip
    assert all(not s or s.startswith(("#", "data:image/png;base64,")) for s in sources)
    assert not elements.of("link", "iframe", "object", "embed", "base")
    assert "url(http" not in page
    assert "@import" not in page


def test_texts_of_others_are_texts(page: str, elements: Elements) -> None:
    for text in (NASTY, ENDING, TURNED):
        assert text not in page
    assert "&lt;img src=x" in page
    assert len(elements.of("script")) == 3  # two of data, one that runs
    assert not elements.of("img")


def test_every_number_of_a_table_stands_there(folder: Path, elements: Elements) -> None:
    tables: dict[str, list[dict[str, str]]] = {}
    numbers = [data for data in elements.of("data") if "data-csv" in data]
    assert len(numbers) > 500
    for data in numbers:
        csv = data["data-csv"]
        if csv not in tables:
            read = pd.read_csv(folder / csv, dtype=str, keep_default_na=False)
            tables[csv] = read.to_dict("records")
        cell = tables[csv][int(data["data-row"])][data["data-column"]]
        assert float(cell) == pytest.approx(float(data["value"]), rel=1e-5), data
    assert {"tables/main.csv", "tables/counts.csv", "tables/stages.csv", "tables/interventions.csv",
            "statistics/variants.csv", "statistics/comparisons.csv", "statistics/depths.csv",
            "statistics/correlations.csv", "statistics/general.csv",
            "statistics/training.csv"} <= set(tables)  # fmt: skip


def test_the_answer_comes_first_and_every_section_is_linked(page: str, elements: Elements) -> None:
    sections = re.findall(r'<section id="(\w+)" aria-labelledby="\1-title">\n<h2', page)
    assert sections == [
        "answer", "scores", "views", "heads", "interventions", "general", "training",
        "comparisons", "examples", "data", "cost", "study",
    ]  # fmt: skip
    links = [given["href"] for given in elements.of("a") if given["href"] != "#content"]
    assert links == [f"#{name}" for name in sections]
    assert page.count('<p class="answer">') == 1


def test_tables_and_figures_have_boxes_names_and_a_sentence_on_how_to_read_them(page: str) -> None:
    assert page.count('<table class="sortable">') > 10
    tables = re.findall(
        r'<p class="read">How to read: [^<]+</p>\s*<div class="wide[^"]*" tabindex="0" '
        r'role="region" aria-label="Table: ([^"]+)">\s*<table class="sortable">\s*'
        r"<caption>([^<]+)</caption>\s*<thead>",
        page,
    )
    assert len(tables) == page.count('<table class="sortable">')
    assert all(label == caption for label, caption in tables)
    assert len(set(tables)) == len(tables)
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    drawn = [figure for figure in figures if "<svg" in figure]
    assert len(drawn) == page.count("<svg")
    assert all("How to read: " in figure and "Numbers: <code>figures/" in figure
               for figure in drawn)  # fmt: skip


def test_headings_go_down_one_level_at_a_time(elements: Elements) -> None:
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_names_of_elements_are_unique(elements: Elements) -> None:
    names = [given["id"] for _, given in elements.found if "id" in given]
    assert len(names) == len(set(names))


def test_planned_comparisons_come_before_exploratory_ones(page: str) -> None:
    section = page[page.index('<section id="comparisons"') : page.index('<section id="examples"')]
    places = [section.index(text) for text in (
        "Over the untuned model", "Against real data", "Against the best synthetic data",
        "exploratory comparison",
    )]  # fmt: skip
    assert places == sorted(places)
