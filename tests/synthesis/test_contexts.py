"""Documents around needles: what they hold and nothing else, at the depth of the real ones."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.corpora.corpus import Corpus
from needlework.examples import Document, Example
from needlework.rendering.room import Room
from needlework.synthesis.concepts import Concept, Statement, parts_of, rewritten, templated
from needlework.synthesis.contexts import (
    FILLER,
    PASSAGE,
    Context,
    answers_shown,
    at_depths,
    repeated,
)  # fmt: skip
from tests.synthesis import by_hand
from tests.synthesis.by_hand import SHAPES, all_shapes

NAMES = ["".join(letters) for letters in product("BFKQXZ", repeat=4)]


@cache
def _room(length: int = 700) -> Room:
    return Room([by_hand.word_tokenizer()], length)


def _low(example: Example, seed: int = 0) -> Concept:
    concept = templated(example, NAMES, random.Random(seed), "")
    assert isinstance(concept, Concept), concept
    return concept


def _high(example: Example) -> Concept:
    return rewritten(example, [f"It is so: {fact.state()}" for fact, _ in parts_of(example)])


def _split(text: str, allowed: Sequence[str]) -> list[str]:
    """A text as the sentences that it is made of, each one of those allowed."""
    longest = sorted(allowed, key=len, reverse=True)
    pattern = "|".join(re.escape(sentence) for sentence in longest)
    assert re.fullmatch(rf"(?:{pattern})(?: (?:{pattern}))*", text), text
    return re.findall(pattern, text)


def _check_needles(concept: Concept, context: Context) -> None:
    """Each needle is that of its statement, on the answer inside the statement's sentence."""
    texts = {document.id: document.text for document in context.documents}
    assert len(context.needles) == len(concept.statements)
    found = {(n.document, n.hop): n for n in context.needles}
    for statement in concept.statements:
        needle = found[statement.needle.document, statement.needle.hop]
        kept = {"role", "hop", "relation", "document"}
        assert needle.model_dump(include=kept) == statement.needle.model_dump(include=kept)
        text = texts[needle.document]
        assert text[needle.start : needle.end] == statement.answer
        inside = statement.sentence.index(statement.answer)
        start = needle.start - inside
        assert text[start : start + len(statement.sentence)] == statement.sentence


@pytest.mark.parametrize("sentences", [FILLER, PASSAGE])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("level", [_low, _high])
def test_a_gold_document_holds_its_statements_and_filler_alone(
    sentences: Sequence[str], name: str, level: type
) -> None:
    example = all_shapes()[name]
    concept = level(example)
    context = repeated(example, concept, sentences, _room(), random.Random(4))
    _check_needles(concept, context)
    golds = {document.id for document in example.documents if document.gold}
    for document in context.documents:
        own = [s.sentence for s in concept.statements if s.needle.document == document.id]
        pieces = _split(document.text, [*sentences, *own])
        assert [piece for piece in pieces if piece in own] == own
        lines = [piece for piece in pieces if piece not in own]
        assert lines == [sentences[i % len(sentences)] for i in range(len(lines))]
        assert lines
        assert document.title == ""
        assert document.gold == (document.id in golds)
    assert _room().is_full(context.documents)


def test_documents_are_about_as_long_as_the_real_ones(corpus: Corpus, room: Room) -> None:
    longest = max(map(len, FILLER)) + 2
    for example in corpus.train:
        concept = _low(example)
        context = repeated(example, concept, FILLER, room, random.Random(1))
        real = {d.id: len(d.text) for d in example.documents}
        lengths = [len(d.text) for d in example.documents if not d.gold]
        others = [document for document in context.documents if not document.gold]
        for document in context.documents:
            if document.gold:
                shortest = len(FILLER[0]) + 1 + len(concept.statements[0].sentence)
                assert real[document.id] - longest <= len(document.text)
                assert len(document.text) <= max(real[document.id], shortest)
        for made, length in zip(others[: len(lengths)], lengths, strict=False):
            assert length - longest <= len(made.text) <= max(length, len(FILLER[0]))
        assert room.is_full(context.documents)


def test_a_statement_stands_at_every_depth_of_its_document_alike() -> None:
    example = by_hand.one_hop()
    gold = Document(id="peru", title="", text="x" * 150, gold=True)
    documents = [gold if d.gold else d for d in example.documents]
    example = example.model_copy(update={"documents": documents})
    concept = _low(example)
    starts = [
        repeated(example, concept, FILLER, _room(50), random.Random(seed)).needles[0].start
        for seed in range(700)
    ]
    counts = [starts.count(start) for start in sorted(set(starts))]
    (text,) = (
        d.text for d in repeated(example, concept, FILLER, _room(50), random.Random(0)).documents
        if d.gold
    )  # fmt: skip
    assert len(counts) == len(_split(text, [*FILLER, concept.statements[0].sentence]))
    mean = 700 / len(counts)  # counts are binomial: five standard deviations are allowed
    assert max(abs(count - mean) for count in counts) < 5 * mean**0.5


def test_two_statements_of_one_document_both_stand_in_it() -> None:
    example = by_hand.linear(2)
    concept = _low(example)
    both = [
        s._replace(needle=s.needle.model_copy(update={"document": "hop-of-2"}))
        for s in concept.statements
    ]
    # One sentence is the beginning of the other: the needle is still in its own.
    longer = f"{both[0].sentence} Or {both[0].answer}"
    both[1] = Statement(both[1].needle, longer, both[0].answer)
    concept = concept._replace(statements=both)
    for seed in range(30):
        context = repeated(example, concept, FILLER, _room(), random.Random(seed))
        (text,) = (d.text for d in context.documents if d.id == "hop-of-2")
        pieces = _split(text, [*FILLER, *(s.sentence for s in both)])
        starts = {needle.hop: needle.start for needle in context.needles}
        assert pieces.count(both[0].sentence) == pieces.count(longer) == 1
        inside = both[0].sentence.index(both[0].answer)
        place = len(" ".join([*pieces[: pieces.index(longer)], ""]))
        assert starts[2] == place + inside
        assert starts[1] == len(" ".join([*pieces[: pieces.index(both[0].sentence)], ""])) + inside


def test_a_statement_without_its_answer_is_an_error() -> None:
    example = by_hand.one_hop()
    concept = rewritten(example, ["Limassol is no capital."])
    with pytest.raises(ValueError, match=r"'Limassol is no capital\.' does not contain 'Lima'"):
        repeated(example, concept, FILLER, _room(), random.Random(0))


def test_the_needle_is_on_whole_words() -> None:
    example = by_hand.one_hop()
    concept = rewritten(example, ["Not Limassol, not Lima-Callao: Lima is the capital."])
    context = repeated(example, concept, FILLER, _room(), random.Random(0))
    (gold,) = (document for document in context.documents if document.gold)
    (needle,) = context.needles
    assert gold.text[needle.start - 2 : needle.end + 3] == ": Lima is"


def _shaped(golds: Sequence[bool]) -> Example:
    documents = [by_hand.document(str(i), "Some text.", gold=g) for i, g in enumerate(golds)]
    return by_hand.one_hop().model_copy(update={"documents": documents})


@given(
    golds=st.lists(st.booleans(), min_size=1, max_size=12).filter(any),
    number=st.integers(0, 300),
)
def test_gold_documents_keep_their_order_and_depth(golds: list[bool], number: int) -> None:
    example = _shaped(golds)
    real = [document for document in example.documents if document.gold]
    distractors = [by_hand.document(f"new-{i}", "More.") for i in range(number)]
    made = at_depths(example, real, distractors)
    assert [d for d in made if d.gold] == real
    assert [d for d in made if not d.gold] == distractors
    others = golds.count(False)
    for gold in real:
        before = golds[: int(gold.id)].count(False)
        place = sum(not d.gold for d in made[: made.index(gold)])
        depth = before / others if others else (int(gold.id) + 1) / (len(golds) + 1)
        assert abs(place - depth * number) <= 0.5 + 1e-9


@settings(max_examples=25)
@given(golds=st.lists(st.booleans(), min_size=2, max_size=8), seed=st.integers(0, 2**32))
def test_a_filled_room_keeps_the_depths_too(golds: list[bool], seed: int) -> None:
    place = seed % (len(golds) + 1)
    texts = [f"This text is number {i}, and not long." for i in range(len(golds))]
    documents = [by_hand.document(str(i), text) for i, text in enumerate(texts)]
    (gold,) = (document for document in by_hand.one_hop().documents if document.gold)
    documents.insert(place, gold)
    example = by_hand.one_hop().model_copy(update={"documents": documents})
    context = repeated(example, _low(example), FILLER, _room(900), random.Random(seed))
    others = len(context.documents) - 1
    depth = [document.gold for document in context.documents].index(True) / others
    assert abs(depth - place / len(golds)) <= 0.5 / others + 1e-9


def test_citations_are_numbered_as_shown() -> None:
    example = by_hand.citing_facts()
    concept = _low(example)
    context = repeated(example, concept, FILLER, _room(2000), random.Random(0))
    (answer,) = answers_shown(example, concept, context.documents)
    numbers = [int(number) for number in re.findall(r"\[(\d+)\]", answer)]
    assert [context.documents[number - 1].gold for number in numbers] == [True] * 3
    assert numbers != [1, 4, 6]  # as the real documents are
    one = by_hand.one_hop()
    assert answers_shown(one, _low(one), []) == _low(one).answers
