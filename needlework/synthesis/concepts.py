"""How the needles of a synthetic example state their facts.

High: a language model's words, about the real entities. Low: a template's sentence about invented
names; of an insight, the insight as one plain sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from needlework.examples import Example, Fact, Needle
from needlework.relations.templates import load_openers
from needlework.synthesis.names import invented

# An insight has no subject and answer of its own: what it says is a whole sentence.
INSIGHT = "insight"


class Statement(NamedTuple):
    """One sentence that a gold document must hold, and the needle in it.

    `needle` is that of the real example: its document, role, hop and relation stay. `answer` is
    what the sentence's needle lies on.
    """

    needle: Needle
    sentence: str
    answer: str


class Concept(NamedTuple):
    """Question, answers and statements of a synthetic example, before it has documents.

    `names` maps each real entity to the name invented for it.
    """

    question: str
    answers: list[str]
    statements: list[Statement]
    names: dict[str, str]


def parts_of(example: Example) -> list[tuple[Fact, Needle]]:
    """The facts of an example, each with the needle that states it in a gold document.

    An answer that cites documents has a fact for each of them, or one that they all state.

    Raises:
        ValueError: a fact has no needle, there is no fact, or there are neither one nor as many
            as there are documents to cite, so nothing can be synthesised.
    """
    if not example.facts:
        raise ValueError(
            f"{example.id} has no facts; the task that made it must say subject, relation, "
            "question and answer of every hop"
        )
    if example.cites:
        needles = {needle.document: needle for needle in example.needles}
        facts = example.facts * (len(example.cites) if len(example.facts) == 1 else 1)
        if len(facts) != len(example.cites):
            raise ValueError(
                f"{example.id} cites {len(example.cites)} documents and has {len(facts)} facts; "
                "expected one for each document, or one that they all state"
            )
        return [
            (fact, needles.get(name) or _insight(name, fact))
            for fact, name in zip(facts, example.cites, strict=True)
        ]
    by_hop = {needle.hop: needle for needle in example.needles}
    missing = [fact.hop for fact in example.facts if fact.hop not in by_hop]
    if missing:
        raise ValueError(f"{example.id} has no needle for its hop {missing[0]}")
    return [(fact, by_hop[fact.hop]) for fact in sorted(example.facts, key=lambda f: f.hop)]


def _insight(document: str, fact: Fact) -> Needle:
    return Needle(document=document, start=0, end=1, role="insight", relation=fact.relation)


def rewritten(example: Example, sentences: Sequence[str]) -> Concept:
    """The facts in a language model's words, one sentence each, in the order of `parts_of`."""
    statements = [
        Statement(needle, sentence, sentence if needle.role == "insight" else fact.answer)
        for (fact, needle), sentence in zip(parts_of(example), sentences, strict=True)
    ]
    answers = example.answers
    if not example.cites:  # the answer as the last needle has it is the training target
        target = statements[-1].answer
        answers = [target, *(answer for answer in answers if answer != target)]
    return Concept(example.question, answers, statements, {})


def templated(
    example: Example, names: Sequence[str], rng: random.Random, context: str
) -> Concept | str:
    """The facts by their relations' templates, over invented names; or why there is none.

    Args:
        example: the real example.
        names: what names are drawn from.
        rng: draws them.
        context: the words of the context, of which no name may be one.
    """
    parts = parts_of(example)
    if parts[0][0].relation == INSIGHT:
        return _plain(example, parts, rng)
    if any(fact.statement is None for fact, _ in parts):
        return "no template covers a relation"
    templates = [f"{fact.statement} {fact.question}" for fact, _ in parts]
    given = _given(parts, invented(names, rng, [context, example.question, *templates]))
    named = _named_in_question(example, parts)
    question = renamed(example.question, {entity: given[entity] for entity in named})
    if question == example.question or any(
        not stands(entity, example.question) for entity in named
    ):
        return "its question does not name the subject"
    statements = []
    for fact, needle in parts:
        other = None if fact.other is None else given[fact.other]
        sentence = fact.state(given[fact.subject], given[fact.answer], other)
        answer = sentence if needle.role == "insight" else given[fact.answer]
        statements.append(Statement(needle, sentence, answer))
    answers = example.answers if example.cites else [statements[-1].answer]
    return Concept(question, answers, statements, given)


def _given(parts: Sequence[tuple[Fact, Needle]], drawn: Iterator[str]) -> dict[str, str]:
    """A name for each entity: one wherever it stands, whatever its case or article.

    What an earlier hop gives has that answer's name: "the Netherlands" after "Netherlands".
    """
    answers = {fact.hop: fact.answer for fact, _ in parts}
    given: dict[str, str] = {}
    by_form: dict[str, str] = {}
    for fact, _ in parts:
        hops = (fact.subject_hop, fact.other_hop, None)
        for entity, hop in zip((fact.subject, fact.other, fact.answer), hops, strict=True):
            if entity is not None and entity not in given:
                known_as = entity if hop is None else answers.get(hop, entity)
                form = re.sub(r"^(the|an?)\s+", "", known_as.casefold())
                if form not in by_form:
                    by_form[form] = next(drawn)
                given[entity] = by_form[form]
    return given


def _named_in_question(example: Example, parts: Sequence[tuple[Fact, Needle]]) -> list[str]:
    """The entities that the question must name: what no earlier hop gives."""
    if example.cites:
        return [parts[0][0].answer]
    named = []
    for fact, _ in parts:
        named += [fact.subject] if fact.subject_hop is None else []
        named += [fact.other] if fact.other is not None and fact.other_hop is None else []
    return list(dict.fromkeys(named))


def _plain(example: Example, parts: Sequence[tuple[Fact, Needle]], rng: random.Random) -> Concept:
    openers = load_openers().openers
    statements = []
    for fact, needle in parts:
        sentence = rng.choice(openers).statement.format(insight=fact.answer)
        statements.append(Statement(needle, sentence, sentence))
    return Concept(example.question, example.answers, statements, {})


def renamed(text: str, names: dict[str, str]) -> str:
    """`text` with each entity's name in its place, whole words only, whatever their case."""
    if not names:
        return text
    longest = sorted(names, key=len, reverse=True)
    pattern = "|".join(f"({re.escape(entity)})" for entity in longest)
    return re.sub(
        rf"(?<!\w)(?:{pattern})(?!\w)",
        lambda match: names[longest[(match.lastindex or 0) - 1]],
        text,
        flags=re.IGNORECASE,
    )


def stands(entity: str, text: str) -> bool:
    """Whether a text holds an entity as whole words, whatever their case."""
    return renamed(text, {entity: ""}) != text
