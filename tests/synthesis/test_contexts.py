"""Filler documents: as many and about as long as the real ones, the needle on the answer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.corpora.factbook import Corpus
from needlework.examples import Document, Example, Needle
from needlework.synthesis.contexts import FILLER, filler_sentences, in_filler

_LONGEST = max(map(len, FILLER))


@settings(deadline=None)
@given(st.integers(0, 3000))
def test_filler_is_whole_sentences_in_turn_of_about_the_length(characters: int) -> None:
    sentences = filler_sentences(characters)
    assert sentences == [FILLER[i % len(FILLER)] for i in range(len(sentences))]
    length = len(" ".join(sentences))
    assert characters - _LONGEST - 2 <= length <= max(characters, len(FILLER[0]))


def _filled(
    example: Example, sentence: str, answer: str, seed: int = 0
) -> tuple[list[Document], Needle]:
    documents, (needle,) = in_filler(example, [sentence], [answer], random.Random(seed))
    return documents, needle


def test_documents_keep_place_number_and_about_their_length(corpus: Corpus) -> None:
    sentence = "The capital of ABCD is EFGH."
    for example in [*corpus.train, *corpus.validation, *corpus.test]:
        documents, needle = _filled(example, sentence, "EFGH")
        assert [d.id for d in documents] == [d.id for d in example.documents]
        assert [d.gold for d in documents] == [d.gold for d in example.documents]
        assert needle.document == example.needles[0].document
        for document, real in zip(documents, example.documents, strict=True):
            shortest = len(FILLER[0]) + (len(sentence) + 1 if real.gold else 0)
            assert len(real.text) - _LONGEST - 2 <= len(document.text)
            assert len(document.text) <= max(len(real.text), shortest)


def test_titles_are_dropped_and_nothing_real_is_left(corpus: Corpus) -> None:
    documents, _ = _filled(corpus.train[0], "The capital of ABCD is EFGH.", "EFGH")
    for document in documents:
        rest = document.text.replace("The capital of ABCD is EFGH.", "")
        for sentence in FILLER:
            rest = rest.replace(sentence, "")
        assert rest.strip() == document.title == ""
        assert ("ABCD" in document.text) == document.gold


@settings(deadline=None)
@given(seed=st.integers(0, 2**63), number=st.integers(0, 12))
def test_the_needle_is_on_the_answer_at_any_depth(corpus: Corpus, seed: int, number: int) -> None:
    example = corpus.train[number]
    documents, needle = _filled(example, "The capital of ABCD is EFGH.", "EFGH", seed)
    (gold,) = (document for document in documents if document.gold)
    assert gold.text[needle.start : needle.end] == "EFGH"
    assert gold.text[: needle.start].endswith("The capital of ABCD is ")
    assert (needle.role, needle.hop) == ("answer", 1)
    assert needle.relation == example.needles[0].relation


def test_the_sentence_stands_at_every_depth_alike(corpus: Corpus) -> None:
    longest = max(corpus.train, key=lambda e: max(len(d.text) for d in e.documents if d.gold))
    starts = [_filled(longest, "ABCD: EFGH.", "EFGH", seed)[1].start for seed in range(600)]
    (gold,) = (d for d in longest.documents if d.gold)
    places = len(filler_sentences(len(gold.text) - len("ABCD: EFGH."))) + 1
    counts = [starts.count(start) for start in set(starts)]
    assert len(counts) == places  # first and last of them included
    # Counts are binomial: five standard deviations are allowed.
    mean = 600 / places
    assert max(abs(count - mean) for count in counts) < 5 * mean**0.5


@pytest.mark.parametrize(
    ("sentence", "answer", "before"),
    [
        ("The Maledives have Male as capital.", "Male", "The Maledives have "),
        ("Of 1,285 km of border, 285 km are land.", "285 km", "Of 1,285 km of border, "),
        ("Here Lima is, Lima.", "Lima", "Here "),
    ],
)
def test_the_needle_is_on_whole_words(
    corpus: Corpus, sentence: str, answer: str, before: str
) -> None:
    documents, needle = _filled(corpus.train[0], sentence, answer)
    (gold,) = (document for document in documents if document.gold)
    assert gold.text[: needle.start].endswith(before)
    assert gold.text[needle.start : needle.end] == answer


def test_a_sentence_without_its_answer_is_an_error(corpus: Corpus) -> None:
    example = corpus.train[0]
    with pytest.raises(ValueError, match=rf"{example.id}: 'The Maledives\.' does not contain"):
        _filled(example, "The Maledives.", "Male")


def test_every_hop_has_its_sentence_in_its_document() -> None:
    example = Example(
        id="two",
        task="t",
        variant="real",
        question="Which?",
        answers=["pear"],
        documents=[
            Document(id="b", title="", text="A tree has a pear. " * 9, gold=True),
            Document(id="noise", title="", text="nothing", gold=False),
            Document(id="a", title="", text="Here is a tree. " * 9, gold=True),
        ],
        needles=[
            Needle(document="b", start=13, end=17, role="answer", hop=2),
            Needle(document="a", start=10, end=14, role="bridge", hop=1),
        ],
        cluster="c",
        source={},
    )
    documents, needles = in_filler(
        example, ["ABCD has EFGH.", "EFGH has IJKL."], ["EFGH", "IJKL"], random.Random(3)
    )
    by_id = {document.id: document.text for document in documents}
    assert [document.id for document in documents] == ["b", "noise", "a"]
    assert "ABCD has EFGH." in by_id["a"]
    assert "EFGH has IJKL." in by_id["b"]
    found = {(n.role, n.hop, n.document, by_id[n.document][n.start : n.end]) for n in needles}
    assert found == {("bridge", 1, "a", "EFGH"), ("answer", 2, "b", "IJKL")}
