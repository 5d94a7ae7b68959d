"""One-hop questions over the CIA World Factbook: the task `factbook_lookup`.

A question asks for one field of one section of a country. Its distractors are the same section of
other countries first, so that only the country tells the gold document from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_corpus import Context, Question, capacities, draw
from needlework.corpora.factbook_facts import Found, find_fact
from needlework.corpora.factbook_pool import Pool
from needlework.corpora.factbook_relations import load_relations
from needlework.corpora.factbook_sections import names
from needlework.text import padded

if TYPE_CHECKING:
    from needlework.rendering.room import Room


def factbook_lookup(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    distractor_share: float | None = None,
    documents: int | None = None,
    test_depths: Sequence[float] = (),
) -> Corpus:
    """Questions about the facts of countries, each over sections of the Factbook that fill `room`.

    Relations take turns, so that a small split holds as many of each. `counts` has, per split,
    the countries, the questions considered and made, those valid but not wanted, and those
    skipped by reason.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the splits, the order of the questions, the distractors and their order.
        room: the tokens to fill.
        distractor_share: of the distractors' tokens, what the same section of other countries may
            take, from 0 to 1; None for as many as there are. Other sections follow.
        documents: the most documents of an example, the gold one included; None for as many as
            fill the room.
        test_depths: where the gold documents of the test examples begin, from 0 to 1, in turns;
            empty for anywhere.

    Raises:
        ValueError: a split holds fewer questions than wanted, or an option is out of its range.
    """
    context = Context(room, 1.0 if distractor_share is None else distractor_share, documents)
    wanted = {"train": train, "validation": validation, "test": test}
    return draw("factbook_lookup", _ask, wanted, seed, context, test_depths)


def capacity(
    *, room: Room, seed: int, distractor_share: float | None = None, documents: int | None = None
) -> dict[str, int]:
    """How many examples each split can hold, by split name; the options are the task's.

    Raises:
        ValueError: an option is out of its range.
    """
    share = 1.0 if distractor_share is None else distractor_share
    return capacities(_ask, seed, Context(room, share, documents))


def _ask(pool: Pool) -> tuple[list[Question], Counter[str]]:
    questions: list[Question] = []
    skipped: Counter[str] = Counter()
    for relation in load_relations().relations:
        for country in pool.countries:
            found = find_fact(relation, country)
            question = found if isinstance(found, str) else _question(found)
            if isinstance(question, str):
                skipped[question] += 1
            else:
                questions.append(question)
    return questions, skipped


def _question(found: Found) -> Question | str:
    text = found.entry.question.format(subject=found.subject)
    forbidden = tuple(padded(answer) for answer in found.answers)
    if any(words in padded(text) for words in forbidden):
        return "answer in the question"
    country = found.section.country
    return Question(
        id=f"{country}/{found.entry.name}",
        kind=(found.entry.name,),
        text=text,
        answers=list(found.answers),
        golds=[found.section],
        needles=[found.needle(hop=1, last=True)],
        facts=[found.fact(hop=1)],
        cluster=country,
        source={
            "country": country,
            "relation": found.entry.name,
            "section": found.entry.section,
        },
        forbidden=(*forbidden, padded(names()[country])),
    )
