"""Questions of two or three hops over the CIA World Factbook: the task `factbook_chain`.

Every hop but the last leads to a country: the neighbour with the longest border, the largest
partner in trade, the former ruler, the sovereign, or the one country with a former, local or long
name. The last asks for a fact of that country, as `factbook_lookup` does: "What is the capital of
the country formerly called Dahomey?" Every hop has a real section as its document. The names of
the countries on the way stand in no distractor and not in the question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import permutations, product
from typing import TYPE_CHECKING

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_corpus import Context, Question, capacities, draw
from needlework.corpora.factbook_facts import Found, find_fact, follow
from needlework.corpora.factbook_pool import Pool
from needlework.corpora.factbook_relations import Link, load_relations
from needlework.text import padded

if TYPE_CHECKING:
    from needlework.rendering.room import Room

HOPS = (2, 3)


def factbook_chain(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    hops: Sequence[int] = HOPS,
    test_depths: Sequence[float] = (),
) -> Corpus:
    """Questions whose subject is found in other documents first, in contexts that fill `room`.

    Numbers of hops, then the links on the way, then relations take turns. All countries of a
    question are of one split; its cluster is the country that is asked about at the end. The
    distractors are sections like those of the hops first, then others. `counts` is as for
    `factbook_lookup`; a question is considered for each country to begin with, way and relation.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the splits, the order of the questions, the distractors and their order.
        room: the tokens to fill.
        hops: how many documents a question takes: 2, 3 or both.
        test_depths: where the gold documents of the test examples begin, from 0 to 1, in turns,
            one after the other in the order of the hops; empty for anywhere in any order.

    Raises:
        ValueError: a split holds fewer questions than wanted, or `hops` has another number.
    """
    wanted = {"train": train, "validation": validation, "test": test}
    return draw("factbook_chain", _asker(hops), wanted, seed, Context(room), test_depths)


def capacity(*, room: Room, seed: int, hops: Sequence[int] = HOPS) -> dict[str, int]:
    """How many examples each split can hold, by split name; the options are the task's.

    Raises:
        ValueError: `hops` has a number other than 2 and 3.
    """
    return capacities(_asker(hops), seed, Context(room))


def _asker(hops: Sequence[int]) -> partial[tuple[list[Question], Counter[str]]]:
    if not hops or not set(hops) <= set(HOPS):
        raise ValueError(f"hops is {list(hops)}; expected 2, 3 or both")
    return partial(_ask, hops=sorted(set(hops)))


def _ask(pool: Pool, hops: Sequence[int]) -> tuple[list[Question], Counter[str]]:
    questions: list[Question] = []
    skipped: Counter[str] = Counter()
    relations = load_relations().relations
    for links, country in product(_ways(hops), pool.countries):
        ways = _walk(links, country, frozenset(pool.countries))
        if isinstance(ways, str):
            skipped[ways] += len(relations)
            continue
        for way, relation in product(ways, relations):
            fact = find_fact(relation, str(way[-1].leads_to))
            question = fact if isinstance(fact, str) else _question([*way, fact])
            if isinstance(question, str):
                skipped[question] += 1
            else:
                questions.append(question)
    return questions, skipped


def _ways(hops: Sequence[int]) -> Iterator[tuple[Link, ...]]:
    """The links before the last hop, none twice; only the first of them can begin with a name."""
    for number in hops:
        for links in permutations(load_relations().links, number - 1):
            if all(link.given is None for link in links[1:]):
                yield links


def _walk(
    links: tuple[Link, ...], country: str, countries: frozenset[str]
) -> list[list[Found]] | str:
    """Where links lead one after the other, for each name to begin with; or why nowhere."""
    first = follow(links[0], country)
    if isinstance(first, str):
        return first
    way: list[Found] = []
    visited = [country, *([] if links[0].given else [str(first[0].leads_to)])]
    for link in links[1:]:
        found = follow(link, visited[-1])
        if isinstance(found, str):
            return found
        way += found
        visited.append(str(found[0].leads_to))
    if not countries.issuperset(visited):
        return "country of another split"
    if len(set(visited)) < len(visited):
        return "back at a country"
    return [[one, *way] for one in first]


def _question(way: list[Found]) -> Question | str:
    sections = [found.section for found in way]
    if len({section.id for section in sections}) < len(sections):
        return "two hops in one document"
    text = _text(way)
    answers = [[padded(answer) for answer in found.answers] for found in way]
    if any(words in padded(text) for hop in answers for words in hop):
        return "answer in the question"
    for i, hop in enumerate(answers):
        # The next document is about the answer: its title names it.
        others = [section for j, section in enumerate(sections) if j not in {i, i + 1}]
        if any(words in section.words for section in others for words in hop):
            return "answer in the document of another hop"
    last = way[-1]
    names = [found.entry.name for found in way]
    return Question(
        id="/".join([sections[0].country, way[0].subject, *names]),
        kind=(str(len(way)), "/".join(names[:-1]), names[-1]),
        text=text,
        answers=list(last.answers),
        golds=sections,
        needles=[found.needle(hop, last=found is last) for hop, found in enumerate(way, start=1)],
        facts=[found.fact(hop) for hop, found in enumerate(way, start=1)],
        cluster=last.section.country,
        source={"countries": [section.country for section in sections], "relations_used": names},
        forbidden=(padded(way[0].subject), *(words for hop in answers for words in hop)),
    )


def _text(way: list[Found]) -> str:
    """The question of the last hop about the country that the others lead to, none named."""
    subject = way[0].subject
    for found in way[:-1]:
        assert isinstance(found.entry, Link)
        subject = found.entry.phrase.format(subject=subject)
    return way[-1].entry.question.format(subject=subject)
