"""The documents around a synthetic needle: filler, one passage again and again, or written prose.

Each gold document is replaced by one that holds its statements, each distractor by one like it, and
more follow until the room is full. The gold documents keep their depth.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, cycle, islice
from typing import NamedTuple

from needlework.examples import Document, Example, Needle, citation
from needlework.rendering.room import Room
from needlework.synthesis.concepts import Concept, Statement, renamed, stands
from needlework.synthesis.gates import answer_start
from needlework.text import normalise_answer, padded

# The repeated sentences of the literature (Mohtashami and Jaggi, arXiv 2305.16300, section 4.2;
# Zhao et al., arXiv 2410.22316, poster).
FILLER = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)
# Ours: a passage with a meaning, so that repetition can be told from nonsense.
PASSAGE = (
    "A river wears its bed away a little every year.",
    "Where the rock is soft it digs deep, and where the rock is hard it runs wide and shallow.",
    "Sand and gravel that it carries in spring are left on the inner side of each bend.",
    "After some centuries the bends have moved so far that two of them meet.",
    "Then the water takes the shorter way, and the old loop becomes a quiet lake.",
    "Reeds close it from the banks, until only a damp hollow shows where the river once ran.",
)
# Written documents with fewer sentences than this, after those with an answer are taken out, are
# not used.
_FEWEST_SENTENCES = 2
# What fits a short length best is chosen among so many more than fill it.
_SURPLUS = 4
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Context(NamedTuple):
    """Documents in the order they are shown, and the needles in them."""

    documents: list[Document]
    needles: list[Needle]


def repeated(
    example: Example,
    concept: Concept,
    sentences: Sequence[str],
    room: Room,
    rng: random.Random,
    unit: str = "sentence",
) -> Context:
    """Documents of `sentences` in turns, each about as long as the real one that it replaces.

    Titles are dropped: they would give the gold away. `unit` is that of the documents: filler is
    cut at the ends of its short sentences.

    Raises:
        ValueError: a statement does not contain its answer.
    """
    golds = [
        _holding(d, _lines(sentences, len(d.text)), concept.statements, rng, "sentence")
        for d in example.documents
        if d.gold
    ]
    lengths = [len(d.text) for d in example.documents if not d.gold] or [len(golds[0][0].text)]
    more = (
        Document.model_validate(
            {
                "id": f"filler-{i}", "title": "", "text": " ".join(_lines(sentences, length)),
                "gold": False, "unit": unit,
            }
        )
        for i, length in enumerate(cycle(lengths))
    )  # fmt: skip
    return _assembled(example, golds, more, room)


def written(
    example: Example,
    concept: Concept,
    documents: Mapping[str, str],
    room: Room,
    rng: random.Random,
) -> Context | str:
    """Documents that a language model wrote on the topics of the real ones; or why there are none.

    Sentences that hold an answer of any hop are taken out of a gold document before its statements
    are put in, but for answers that its own facts are about: after "the neighbour is Chile" comes a
    document on Chile. A distractor that holds an answer is not used. Where the concept has invented
    names, they stand for the real ones in the gold documents too.

    Args:
        example: the real example.
        concept: what the gold documents state.
        documents: written text by topic (see `topic_of`).
        room: decides how many documents there are.
        rng: decides where in its document a sentence stands, and what other documents follow.
    """
    answers = [s.answer for s in concept.statements if s.needle.role != "insight"]
    # A title may name what an earlier hop gave: the document of a hop is about its subject.
    final = [] if example.cites else [*example.answers, *concept.answers]
    answers += final
    answers += [fact.answer for fact in example.facts]
    forbidden = [answer for answer in dict.fromkeys(answers) if padded(answer).strip()]
    golds = []
    titled = any(d.title for d in example.documents)
    for document in example.documents:
        if document.gold:
            text = documents.get(topic_of(document))
            if text is None:
                return "no document was written on the topic of its gold document"
            elsewhere = _but_subjects(forbidden, example, document)
            kept = [s for s in _SENTENCE_END.split(text) if not _holds(s, elsewhere)]
            if len(kept) < _FEWEST_SENTENCES:
                return "the written gold document says hardly more than the answer"
            kept = [renamed(sentence, concept.names) for sentence in kept]
            shown = document.model_copy(update={"title": renamed(document.title, concept.names)})
            titled = titled and not _holds(shown.title, final)
            golds.append(_holding(shown, kept, concept.statements, rng, "word"))
    own = dict.fromkeys(topic_of(d) for d in example.documents if not d.gold)
    taken = {topic_of(d) for d in example.documents if d.gold} | set(own)
    others = [topic for topic in documents if topic not in taken]
    rng.shuffle(others)
    if not titled:  # one document without its title among others would give itself away
        golds = [(d.model_copy(update={"title": ""}), needles) for d, needles in golds]
    more = (
        Document(
            id=f"written-{i}", title=topic if titled else "", text=documents[topic], gold=False
        )
        for i, topic in enumerate([*own, *others])
        if topic in documents and not _holds(f"{topic}\n{documents[topic]}", forbidden)
    )
    return _assembled(example, golds, more, room)


def _but_subjects(answers: Sequence[str], example: Example, document: Document) -> list[str]:
    """The answers that a gold document may not hold: not those that its own facts are about."""
    own = {needle.hop for needle in example.needles if needle.document == document.id}
    about = {
        normalise_answer(entity)
        for fact in example.facts
        if fact.hop in own and not example.cites
        for entity in (fact.subject, fact.other)
        if entity is not None
    }
    return [answer for answer in answers if normalise_answer(answer) not in about]


def topic_of(document: Document) -> str:
    """What a document is about: its title, or its first sentence."""
    return document.title or _SENTENCE_END.split(document.text, maxsplit=1)[0][:200]


def _holds(text: str, answers: Sequence[str]) -> bool:
    """Whether an answer stands in a text, in normal form or beside a mark, as in "Lima-based"."""
    words = padded(text)
    return any(padded(answer) in words or stands(answer, text) for answer in answers)


def _lines(sentences: Sequence[str], characters: int) -> list[str]:
    """Whole sentences in turns, of about `characters` characters; at least one."""
    lines: list[str] = []
    size = 0
    for sentence in cycle(sentences):
        size += len(sentence) + 1
        if lines and size > characters:
            break
        lines.append(sentence)
    return lines


def _holding(
    document: Document,
    lines: Sequence[str],
    statements: Sequence[Statement],
    rng: random.Random,
    unit: str,
) -> tuple[Document, list[Needle]]:
    """A gold document of `lines` with its own statements among them, and their needles."""
    own = [s for s in statements if s.needle.document == document.id]
    size = sum(len(s.sentence) + 1 for s in own)
    kept: list[tuple[str, Statement | None]] = [(line, None) for line in lines]
    while len(kept) > 1 and sum(len(k) + 1 for k, _ in kept) + size > max(len(document.text), size):
        kept.pop()
    for statement in own:
        kept.insert(rng.randint(0, len(kept)), (statement.sentence, statement))
    text = " ".join(sentence for sentence, _ in kept)
    needles = []
    at = 0
    for sentence, stated in kept:
        if stated is not None:
            start = at + _answer_within(stated)
            place = {"start": start, "end": start + len(stated.answer)}
            needles.append(stated.needle.model_copy(update=place))
        at += len(sentence) + 1
    title = document.title if unit == "word" else ""
    made = Document.model_validate(
        {"id": document.id, "title": title, "text": text, "gold": True, "unit": unit}
    )
    return made, needles


def _answer_within(statement: Statement) -> int:
    if statement.answer == statement.sentence:
        return 0
    start = answer_start(statement.sentence, statement.answer)
    if start is None:
        raise ValueError(f"{statement.sentence!r} does not contain {statement.answer!r}")
    return start


def _assembled(
    example: Example,
    golds: Sequence[tuple[Document, list[Needle]]],
    more: Iterator[Document],
    room: Room,
) -> Context:
    filled = room.fill([document for document, _ in golds], more)
    distractors = [*filled[len(golds) :], *islice(more, _SURPLUS)]
    documents = at_depths(example, [document for document, _ in golds], distractors)
    return Context(documents, list(chain.from_iterable(needles for _, needles in golds)))


def at_depths(
    example: Example, golds: Sequence[Document], distractors: Sequence[Document]
) -> list[Document]:
    """Gold documents among distractors, as deep as those of the real example are among its own.

    Without a distractor in the real example they are spread evenly.
    """
    real = [document.gold for document in example.documents]
    others = real.count(False)
    depths = (
        [real[:place].count(False) / others for place, gold in enumerate(real) if gold]
        if others
        else [(i + 1) / (len(real) + 1) for i in range(len(real))]
    )
    documents = list(distractors)
    for gold_document, depth in reversed(list(zip(golds, depths, strict=True))):
        documents.insert(round(depth * len(distractors)), gold_document)
    return documents


def answers_shown(example: Example, concept: Concept, documents: Sequence[Document]) -> list[str]:
    """The answers of a synthetic example with these documents."""
    return [citation(documents, example.cites)] if example.cites else concept.answers
