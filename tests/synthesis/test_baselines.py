"""A needle among the sentences of a text, and answers that name their documents."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.examples import Document, Example, Needle
from needlework.rendering.room import Room
from needlework.synthesis.baselines import multidoc_qa, needle_in_haystack

_HAYSTACK = [
    f"Paragraph {word} begins here. It goes on for a while, as essays do! Does it end? It ends."
    for word in ("one", "two", "three", "four", "five", "six", "seven")
]


def _characters(texts: list[str], **_: object) -> dict[str, list[bytes]]:
    return {"input_ids": [text.encode() for text in texts]}


def _room(length: int) -> Room:
    return Room([_characters], length)


@given(seed=st.integers(0, 2**32), length=st.integers(256, 5000))
def test_the_needle_stands_between_sentences_of_the_text(seed: int, length: int) -> None:
    room = _room(length)
    made = needle_in_haystack("x", room, random.Random(seed), town="QUXO", haystack=_HAYSTACK)
    (needle,) = made.needles
    assert made.needle_text(needle) == made.answers[0]
    assert made.question == "What is the secret number of the town of QUXO?"
    sentence = f"The secret number of the town of QUXO is {made.answers[0]}."
    (gold,) = (document for document in made.documents if document.gold)
    assert gold.id == needle.document
    before, found, after = gold.text.partition(sentence)
    assert found
    assert before == "" or before[-2:] in {". ", "! ", "? "}
    first = made.source["first_paragraph"]
    texts = [
        f"{before}{after.removeprefix(' ')}".strip() if d.gold else d.text for d in made.documents
    ]
    assert texts == [_HAYSTACK[(first + i) % 7] for i in range(len(texts))]
    assert room.is_full(made.documents)
    assert made.style == "haystack"


def test_the_needle_is_anywhere_or_where_it_is_put() -> None:
    def place(seed: int, depth: float | None = None) -> float:
        made = needle_in_haystack(
            "x", _room(1000), random.Random(seed), town="QUXO", haystack=_HAYSTACK, depth=depth
        )
        golds = [document.gold for document in made.documents]
        return golds.index(True) / (len(golds) - 1)

    places = Counter(place(seed) for seed in range(400))
    assert len(places) > 8
    assert max(places.values()) < 80
    assert [place(0, depth) for depth in (0.0, 1.0)] == [0, 1]
    assert place(0, 0.5) == pytest.approx(0.5, abs=0.06)


def test_a_haystack_is_shared_not_copied() -> None:
    made = needle_in_haystack("x", _room(3000), random.Random(0), town="QUXO", haystack=_HAYSTACK)
    assert {id(d.text) for d in made.documents if not d.gold} <= set(map(id, _HAYSTACK))


@pytest.mark.parametrize("haystack", [[], ["Some text.", " "]])
def test_an_empty_haystack_is_refused(haystack: list[str]) -> None:
    with pytest.raises(ValueError, match="expected some, none of them empty"):
        needle_in_haystack("x", _room(300), random.Random(0), town="QUXO", haystack=haystack)


def _two_hops(**changes: object) -> Example:
    fields: dict[str, object] = {
        "id": "two",
        "task": "t",
        "variant": "real",
        "question": "Where was the author of Emma born?",
        "answers": ["the U.S."],
        "documents": [
            Document(id="b", title="Jane", text="Jane was born in the U.S. once.", gold=True),
            Document(id="a", title="Emma", text="Emma was written by Jane.", gold=True),
        ],
        "needles": [
            Needle(document="b", start=17, end=25, role="answer", hop=2),
            Needle(document="a", start=20, end=24, role="bridge", hop=1),
        ],
        "cluster": "c",
        "source": {},
    }
    return Example.model_validate(fields | changes)


def test_a_real_example_names_its_document() -> None:
    real = _two_hops(
        answers=["the U.S.A", "America"],
        documents=[
            Document(id="x", title="Other", text="Nothing of that.", gold=False),
            Document(id="b", title="Jane", text="Jane was born in the U.S.A once.", gold=True),
        ],
        needles=[Needle(document="b", start=17, end=26, role="answer", hop=1)],
        source={"corpus": "c"},
    )
    made = multidoc_qa(real)
    assert made.answers == ['According to "Jane", the U.S.A.', "the U.S.A", "America"]
    assert made.question == (
        "Where was the author of Emma born? First name the documents that say so by their titles."
    )
    assert made.variant == "multidoc_qa"
    assert (made.documents, made.needles) == (real.documents, real.needles)
    assert (made.id, made.task, made.cluster) == (real.id, real.task, real.cluster)
    assert made.source == {"corpus": "c", "from": "two"}


def test_documents_are_named_in_the_order_of_hops() -> None:
    assert multidoc_qa(_two_hops()).answers == [
        'According to "Emma" and "Jane", the U.S.',
        "the U.S.",
    ]


def test_what_no_answer_can_name_is_refused() -> None:
    untitled = [d.model_copy(update={"title": ""}) for d in _two_hops().documents]
    with pytest.raises(ValueError, match="two: a gold document has no title"):
        multidoc_qa(_two_hops(documents=untitled))
    with pytest.raises(ValueError, match="found 0 needles"):
        multidoc_qa(_two_hops(needles=[]))
    cited = _two_hops(cites=["a"], answers=["[2]"], needles=[])
    with pytest.raises(ValueError, match=r"the citations \['a'\]"):
        multidoc_qa(cited)
