"""Written documents around needles: none holds an answer, and gold ones hold no real name."""

from __future__ import annotations

import random
from functools import cache
from itertools import product

import pytest

from needlework.examples import Document, Example
from needlework.rendering.room import Room
from needlework.synthesis.concepts import Concept, parts_of, rewritten, stands, templated
from needlework.synthesis.contexts import Context, topic_of, written
from needlework.text import contains_answer, normalise_answer
from tests.synthesis import by_hand
from tests.synthesis.by_hand import ALIAS, SHAPES, all_shapes

NAMES = ["".join(letters) for letters in product("BFKQXZ", repeat=4)]
_SPARE = [f"Island {i}: Trade" for i in range(60)]


@cache
def _room(length: int = 700) -> Room:
    return Room([by_hand.word_tokenizer()], length)


def _forbidden(example: Example) -> list[str]:
    answers = [] if example.cites else example.answers
    return [*answers, *(fact.answer for fact in example.facts)]


def _prose(example: Example) -> dict[str, str]:
    """A document on each topic and many more; gold ones and every third spare one tell answers."""
    told = " ".join(
        f"It is said of {answer} that much is known. Some {answer}-based firms say so."
        for answer in _forbidden(example)
    )
    subjects = [fact.subject for fact in example.facts]
    named = " ".join(f"Of {subject}, a visitor wrote home." for subject in subjects)
    plain = f"Rain falls often. {told} The hills are high. {named} Trade is slow. Roads are few."
    prose = {topic_of(document): plain for document in example.documents if document.gold}
    for document in example.documents:
        if not document.gold:
            prose[topic_of(document)] = f"This is on {document.title}. It rains there. It ends."
    spare = "Ships call at the port. Salt is sold. Little else is known of it."
    return prose | {t: told if i % 3 == 0 else spare for i, t in enumerate(_SPARE)}


def _low(example: Example) -> Concept:
    concept = templated(example, NAMES, random.Random(3), "")
    assert isinstance(concept, Concept)
    return concept


def _high(example: Example) -> Concept:
    return rewritten(example, [f"It is so: {fact.state()}" for fact, _ in parts_of(example)])


def _long(example: Example) -> Example:
    """The example with documents so long that no written sentence is left out."""
    documents = [d.model_copy(update={"text": d.text + " x" * 500}) for d in example.documents]
    return example.model_copy(update={"documents": documents})


def _written(example: Example, concept: Concept, seed: int = 0) -> Context:
    context = written(example, concept, _prose(example), _room(), random.Random(seed))
    assert isinstance(context, Context), context
    return context


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("level", [_low, _high])
def test_no_answer_stands_outside_the_statements(name: str, level: type) -> None:
    example = _long(all_shapes()[name])
    concept = level(example)
    forbidden = [*_forbidden(example), *(s.answer for s in concept.statements)]
    context = _written(example, concept)
    assert _room().is_full(context.documents)
    for document in context.documents:
        rest = document.text
        own = [s.sentence for s in concept.statements if s.needle.document == document.id]
        assert bool(own) == document.gold
        for sentence in own:
            assert rest.count(sentence) == 1
            rest = rest.replace(sentence, "|")
        # A document of a later hop is about what an earlier one gave.
        facts = [f for f, n in parts_of(example) if n.document == document.id]
        about = {x for f in facts for x in (f.subject, f.other) if x and not example.cites}
        about |= {concept.names.get(entity, entity) for entity in about}
        told = {normalise_answer(entity) for entity in about}
        for answer in (a for a in forbidden if normalise_answer(a) not in told):
            # A title may name what an earlier hop gave, as that of a real document does.
            title = document.title if answer in concept.answers else ""
            assert not contains_answer(f"{title} | {rest}", answer)
            assert not stands(answer, f"{title} | {rest}")  # nor "Lima-based"
    texts = {document.id: document.text for document in context.documents}
    needles = {(n.document, n.hop): n for n in context.needles}
    for s in concept.statements:
        needle = needles[s.needle.document, s.needle.hop]
        assert texts[needle.document][needle.start : needle.end] == s.answer


def test_aliases_of_the_answer_are_forbidden_too() -> None:
    example = by_hand.one_hop()
    prose = _prose(example)
    for topic in _SPARE[1:]:
        prose[topic] = f"Nobody calls it {ALIAS} now. Salt is sold."
    context = written(example, _high(example), prose, _room(), random.Random(0))
    assert isinstance(context, Context)
    shown = {document.title for document in context.documents}
    assert shown == {document.title for document in example.documents}


@pytest.mark.parametrize("name", ["one", "linear-3", "tree", "citing"])
def test_invented_names_stand_for_real_ones_in_gold_documents(name: str) -> None:
    example = _long(all_shapes()[name])
    concept = _low(example)
    for document in _written(example, concept).documents:
        if document.gold:
            for real in concept.names:
                assert not stands(real, f"{document.title} {document.text}")
    (first, *_) = (d for d in _written(example, concept).documents if d.gold)
    subject = concept.names[example.facts[0].subject]
    assert f"Of {subject}, a visitor wrote home." in first.text


def test_titles_stay_but_for_names_and_answers() -> None:
    example = by_hand.linear(2)
    assert [d.title for d in example.documents if d.gold] == [
        "Suriname: former ruler", "the Netherlands: longest neighbour",
    ]  # fmt: skip
    high = [d.title for d in _written(example, _high(example)).documents if d.gold]
    assert high == ["Suriname: former ruler", "the Netherlands: longest neighbour"]
    concept = _low(example)
    low = [d.title for d in _written(example, concept).documents if d.gold]
    bridge = concept.names["the Netherlands"]
    assert low == [f"{concept.names['Suriname']}: former ruler", f"{bridge}: longest neighbour"]
    others = [d.title for d in _written(example, concept).documents if not d.gold]
    assert others[:4] == [d.title for d in example.documents if not d.gold]
    assert set(others[4:]) <= set(_SPARE)


def test_no_document_has_a_title_where_one_would_answer() -> None:
    example = by_hand.linear(2)
    documents = [
        d.model_copy(update={"title": example.answers[0]}) if d.gold else d
        for d in example.documents
    ]
    telling = example.model_copy(update={"documents": documents})
    texts = {topic_of(d): "One thing. Another thing. A third." for d in documents}
    made = written(telling, _high(telling), texts, _room(), random.Random(0))
    assert isinstance(made, Context)
    assert {d.title for d in made.documents if d.gold} == {""}


def test_untitled_documents_stay_untitled() -> None:
    example = by_hand.one_hop()
    documents = [d.model_copy(update={"title": ""}) for d in example.documents]
    example = example.model_copy(update={"documents": documents})
    assert topic_of(documents[1]) == "Atlantis is dry."
    assert topic_of(Document(id="x", title="", text="a" * 300, gold=False)) == "a" * 200
    context = _written(example, _high(example))
    assert {document.title for document in context.documents} == {""}
    (gold,) = (document for document in context.documents if document.gold)
    assert "Rain falls often." in gold.text


def test_documents_on_the_topics_of_the_distractors_come_first_in_the_real_order() -> None:
    example = by_hand.one_hop()
    own = [topic_of(document) for document in example.documents if not document.gold]
    orders = set()
    for seed in range(5):
        others = [d for d in _written(example, _high(example), seed).documents if not d.gold]
        assert [d.title for d in others[:4]] == own
        assert all(d.text == _prose(example)[d.title] for d in others)
        assert len({d.title for d in others}) == len(others)
        orders.add(tuple(d.title for d in others))
    assert len(orders) == 5  # the rest are drawn


def test_a_gold_document_is_no_longer_than_the_real_one() -> None:
    example = by_hand.one_hop()
    (real,) = (document for document in example.documents if document.gold)
    (gold,) = (d for d in _written(example, _high(example)).documents if d.gold)
    assert len(gold.text) <= len(real.text)
    (gold,) = (d for d in _written(_long(example), _high(example)).documents if d.gold)
    for sentence in ("Rain falls often.", "The hills are high.", "Roads are few."):
        assert sentence in gold.text


def test_why_there_is_no_context() -> None:
    example = by_hand.linear(2)
    prose = _prose(example)
    gold = topic_of(next(d for d in example.documents if d.id == "hop-of-2"))
    without = {topic: text for topic, text in prose.items() if topic != gold}
    no_document = "no document was written on the topic of its gold document"
    assert written(example, _high(example), without, _room(), random.Random(0)) == no_document
    little = prose | {gold: "Rain falls often. Belgium is close. A Belgium-based firm is there."}
    hardly = "the written gold document says hardly more than the answer"
    assert written(example, _high(example), little, _room(), random.Random(0)) == hardly


def test_where_little_was_written_the_room_stays_empty() -> None:
    example = by_hand.one_hop()
    prose = {topic: text for topic, text in _prose(example).items() if topic not in _SPARE}
    context = written(example, _high(example), prose, _room(), random.Random(0))
    assert isinstance(context, Context)
    assert len(context.documents) == 5
    assert not _room().is_full(context.documents)


def test_a_document_of_a_later_hop_tells_of_what_the_earlier_gave() -> None:
    example = _long(by_hand.linear(2))
    made = _written(example, _high(example))
    (text,) = (d.text for d in made.documents if d.title == "the Netherlands: longest neighbour")
    assert "It is said of Netherlands" in text  # of the first answer, its subject
    assert f"It is said of {example.answers[0]}" not in text
