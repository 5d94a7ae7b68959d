"""Questions answered by citing documents of the CIA World Factbook: the task `factbook_citation`.

A question asks which documents state a fact that several countries share: an official language, a
currency, a kind of law, a membership, a resource. One to four sections that state it are among
the same section of other countries, none of which mentions the value at all; a section that
mentions it without stating it is in no context. Each value is asked for in one split.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_corpus import Context, Question, capacities, draw
from needlework.corpora.factbook_pool import Pool
from needlework.corpora.factbook_relations import Attribute, find_values, load_relations
from needlework.corpora.factbook_sections import Section, names, splits, subject
from needlework.examples import Fact, Needle
from needlework.provenance import derived_seed
from needlework.text import normalise_answer, padded

if TYPE_CHECKING:
    from needlework.rendering.room import Room

TASK = "factbook_citation"
MOST_CITED = 4
GOLD_SHARE = 0.5
"""Of the length, what the documents to be cited may take together."""


class Statement(NamedTuple):
    """A value that a section states, at its characters [start, end)."""

    section: Section
    value: str
    start: int
    end: int


def factbook_citation(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    test_depths: Sequence[float] = (),
) -> Corpus:
    """Questions answered by the numbers of all documents that state a fact, such as "[1][4]".

    The documents fill `room`: those to be cited, the same section of other countries, then other
    sections; only those cited hold the value. Numbers of cited documents, then attributes, then
    values take turns, and no document is cited twice for a value. The needles (role "insight")
    are the value in each cited document. The facts are one for each of them, all of hop 1, in the
    order of `cites`: the subject is the document's country, the answer is the value. The cluster
    is the value; it may occur in several splits, a document does not. `counts` is as for
    `factbook_lookup`; a question is considered for each group of documents that state a value.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the splits, the groups and their order, the distractors and their order.
        room: the tokens to fill.
        test_depths: where the gold documents of the test examples begin, from 0 to 1, in turns,
            one after the other; empty for anywhere.

    Raises:
        ValueError: a split holds fewer questions than wanted.
    """
    wanted = {"train": train, "validation": validation, "test": test}
    return draw(TASK, partial(_ask, seed=seed), wanted, seed, Context(room), test_depths)


def capacity(*, room: Room, seed: int) -> dict[str, int]:
    """How many examples each split can hold, by split name."""
    return capacities(partial(_ask, seed=seed), seed, Context(room))


def stated(attribute: Attribute, section: Section) -> list[Statement]:
    """What a section states of an attribute, apart from what its title tells already."""
    field = next((name for name in attribute.fields if name in section.fields), None)
    if field is None:
        return []
    content, offset = section.fields[field]
    return [
        Statement(section, answer.texts[0], offset + answer.start, offset + answer.end)
        for answer in find_values(attribute, content)
        if normalise_answer(answer.texts[0])
        and padded(answer.texts[0]) not in padded(section.title)
    ]


def mentions(section: Section, value: str) -> bool:
    """Whether a section holds the value, in parts of words too, singular or plural.

    "common" is in "common-law", and "phosphates" in "phosphate".
    """
    return value.casefold().removesuffix("s") in f"{section.title}\n{section.text}".casefold()


def _ask(pool: Pool, seed: int) -> tuple[list[Question], Counter[str]]:
    questions: list[Question] = []
    skipped: Counter[str] = Counter()
    split = next(s for s, countries in splits(seed).items() if set(countries) == {*pool.countries})
    for attribute in load_relations().attributes:
        indices = sorted(pool.of_sections([attribute.section]))
        pool.room.measure(map(pool.document, indices))
        alike = {index: pool.sections[index] for index in indices}
        values: dict[str, list[Statement]] = {}
        for section in alike.values():
            for statement in stated(attribute, section):
                values.setdefault(statement.value, []).append(statement)
        for value, statements in values.items():
            if _split_of(attribute.name, value, seed) != split:
                skipped["asked in another split"] += 1
                continue
            barred = frozenset(i for i, section in alike.items() if mentions(section, value))
            rng = random.Random(derived_seed(seed, TASK, attribute.name, value))
            rng.shuffle(statements)
            for group in _groups(statements, pool, rng):
                if len(statements) == 1:
                    skipped["value of one country"] += 1
                elif _tokens(group, pool) > GOLD_SHARE * pool.room.length:
                    skipped[f"gold documents take more than {GOLD_SHARE:.0%} of the length"] += 1
                elif len(alike) - len(barred) < len(group):
                    skipped["fewer sections without the value than gold documents"] += 1
                else:
                    questions.append(_question(attribute, group, barred))
    return questions, skipped


def _split_of(attribute: str, value: str, seed: int) -> str:
    """The split that asks for a value: no question of the test is asked in training."""
    rng = random.Random(derived_seed(seed, TASK, "split", attribute, value))
    return rng.choices(["train", "validation", "test"], weights=[60, 15, 25])[0]


def _groups(
    statements: list[Statement], pool: Pool, rng: random.Random
) -> Iterator[list[Statement]]:
    """Statements of a value in groups of one to four, as large as half of the length allows."""
    left = list(statements)
    while left:
        size = rng.randint(1, MOST_CITED)
        group = left[:size]
        while len(group) > 1 and _tokens(group, pool) > GOLD_SHARE * pool.room.length:
            group.pop()
        del left[: len(group)]
        yield group


def _tokens(group: list[Statement], pool: Pool) -> int:
    return sum(pool.room.size(statement.section.document(gold=True)) for statement in group)


def _question(attribute: Attribute, group: list[Statement], barred: frozenset[int]) -> Question:
    value = group[0].value
    countries = [statement.section.country for statement in group]
    return Question(
        id="/".join([attribute.name, value, *countries]),
        kind=(str(len(group)), attribute.name, value),
        text=attribute.citing.format(answer=value),
        answers=[],
        golds=[statement.section for statement in group],
        needles=[
            Needle(
                document=statement.section.id,
                start=statement.start,
                end=statement.end,
                role="insight",
                relation=attribute.name,
            )
            for statement in group
        ],
        facts=[
            Fact(
                hop=1,
                relation=attribute.name,
                subject=subject(names()[country]),
                answer=value,
                question=attribute.question,
                statement=attribute.statement,
            )
            for country in countries
        ],
        cluster=value,
        source={"attribute": attribute.name, "section": attribute.section, "value": value},
        forbidden=(padded(value),),
        barred=barred,
    )
