"""Overlap with evaluation data: against a brute-force reference, and each reason by example."""

from __future__ import annotations

import hashlib
import pickle
import random
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.examples import Document, Example
from needlework.synthesis import leaks
from needlework.synthesis.leaks import (
    ASKS_QUESTION,
    HAS_ANSWER,
    SHARES_WORDS,
    EvaluationData,
    gram_hashes,
)
from needlework.text import normalise_answer

_WORDS = [f"word{i}" for i in range(40)]
_THIRTEEN = " ".join(_WORDS[:13])


def _example(
    *texts: str,
    question: str = "Which pear?",
    answers: tuple[str, ...] = ("quince",),
    unit: str = "word",
    cites: bool = False,
) -> Example:
    documents = [
        Document.model_validate(
            {"id": str(i), "title": "", "text": text, "gold": cites, "unit": unit}
        )
        for i, text in enumerate(texts)
    ]
    return Example(
        id="one",
        task="task",
        variant="real",
        question=question,
        answers=["[1]"] if cites else list(answers),
        documents=documents,
        needles=[],
        cluster="one",
        source={},
        cites=["0"] if cites else [],
    )


def _grams(text: str) -> set[tuple[str, ...]]:
    words = normalise_answer(text).split()
    return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}


# Pieces of one long text overlap often; words changed in them break the overlap.
_TEXTS = st.builds(
    lambda start, length, changed: " ".join(
        "other" if i in changed else word
        for i, word in enumerate((_WORDS * 2)[start : start + length])
    ),
    st.integers(0, 60),
    st.integers(0, 30),
    st.sets(st.integers(0, 29), max_size=2),
)
# Two words only: the same ones in other orders, many times.
_LIKE = st.lists(st.sampled_from(["left", "Right,", "the"]), max_size=24).map(" ".join)


@given(st.lists(_TEXTS | _LIKE, max_size=5), st.lists(_TEXTS | _LIKE, max_size=5))
def test_documents_overlap_where_thirteen_words_in_a_row_do(
    held: list[str], trained: list[str]
) -> None:
    evaluation = EvaluationData.of([_example(text, question="What plum?") for text in held])
    found = [evaluation.overlap(_example(text), answers=False) for text in trained]
    known = set().union(*map(_grams, held))
    assert found == [SHARES_WORDS if _grams(text) & known else None for text in trained]
    together = evaluation.overlap(_example(*trained), answers=False)
    assert together == (SHARES_WORDS if SHARES_WORDS in found else None)


@given(st.text() | _TEXTS)
def test_a_gram_is_a_polynomial_of_its_words_hashes(text: str) -> None:
    words = normalise_answer(text).split()
    own = [
        int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        for word in words
    ]
    base = 0x9E3779B97F4A7C15
    expected = [
        sum(own[i + 12 - k] * base**k for k in range(13)) % 2**64 for i in range(len(own) - 12)
    ]
    assert gram_hashes(text).tolist() == expected
    assert gram_hashes(text).dtype == np.uint64


def test_twelve_words_in_a_row_are_no_overlap() -> None:
    evaluation = EvaluationData.of([_example(f"before {_THIRTEEN} after", question="Plum?")])
    twelve = " ".join(_WORDS[1:13])
    assert evaluation.overlap(_example(f"x {twelve} x {twelve} y"), answers=True) == HAS_ANSWER
    assert evaluation.overlap(_example(f"x {twelve}", answers=("fig",)), answers=True) is None
    assert evaluation.overlap(_example(f"x {_THIRTEEN} y"), answers=True) == SHARES_WORDS


def test_case_punctuation_articles_and_line_ends_do_not_hide_an_overlap() -> None:
    evaluation = EvaluationData.of([_example(_THIRTEEN, question="What is the Plum?")])
    hidden = ",\n the ".join(word.upper() for word in _WORDS[:13])
    assert evaluation.overlap(_example(hidden), answers=False) == SHARES_WORDS
    assert evaluation.overlap(_example(question="what is a plum"), answers=False) == ASKS_QUESTION


def test_words_of_two_documents_are_not_in_a_row() -> None:
    half, rest = " ".join(_WORDS[:7]), " ".join(_WORDS[7:13])
    evaluation = EvaluationData.of([_example(half, rest, question="Plum?")])
    assert evaluation.overlap(_example(_THIRTEEN), answers=False) is None
    evaluation = EvaluationData.of([_example(_THIRTEEN, question="Plum?")])
    assert evaluation.overlap(_example(half, rest), answers=False) is None


def test_the_question_is_named_before_the_documents_and_these_before_the_answer() -> None:
    evaluation = EvaluationData.of([_example(_THIRTEEN)])
    assert evaluation.overlap(_example(_THIRTEEN), answers=True) == ASKS_QUESTION
    asked = _example(_THIRTEEN, question="Plum?")
    assert evaluation.overlap(asked, answers=True) == SHARES_WORDS
    other = _example("nothing", question="Plum?")
    assert evaluation.overlap(other, answers=True) == HAS_ANSWER
    assert evaluation.overlap(other, answers=False) is None


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        (("The Quince!",), True),
        (("fig", "quince"), True),
        (("Cydonia",), True),
        (("quinces",), False),
        (("fig",), False),
        (("the",), False),  # an empty normal form is no answer
    ],
)
def test_an_answer_is_known_by_any_accepted_form(answers: tuple[str, ...], known: bool) -> None:
    evaluation = EvaluationData.of([_example(answers=("quince", "cydonia", "a"), question="the")])
    assert evaluation.knows_answer(_example(answers=answers)) is known
    assert evaluation.overlap(_example(question="The?"), answers=False) is None


def test_the_same_citation_is_no_known_answer() -> None:
    evaluation = EvaluationData.of([_example("pear", cites=True), _example(answers=("1",))])
    assert evaluation.answers == {"1"}
    assert not evaluation.knows_answer(_example("plum", cites=True))


def test_dictionaries_are_not_read_and_filler_is() -> None:
    evaluation = EvaluationData.of([_example(_THIRTEEN, unit="entry", question="Plum?")])
    assert evaluation.grams.size == 0
    assert evaluation.overlap(_example(_THIRTEEN), answers=False) is None
    evaluation = EvaluationData.of([_example(_THIRTEEN, unit="sentence", question="Plum?")])
    assert evaluation.overlap(_example(_THIRTEEN, unit="entry"), answers=False) is None
    assert evaluation.overlap(_example(_THIRTEEN, unit="sentence"), answers=False) == SHARES_WORDS


def test_key_value_questions_differ_by_their_numbers() -> None:
    asked = "Report the value of key {} and the dictionary it is in."
    evaluation = EvaluationData.of([_example(question=asked.format(1372))])
    assert evaluation.overlap(_example(question=asked.format(1373)), answers=False) is None
    assert evaluation.overlap(_example(question=asked.format(1372)), answers=False) == ASKS_QUESTION


@given(st.lists(_TEXTS, max_size=6), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(texts: list[str], rng: random.Random) -> None:
    examples = [_example(text, question=text, answers=(text,)) for text in texts]
    first = EvaluationData.of(examples)
    again = examples + examples
    rng.shuffle(again)
    other = EvaluationData.of(iter(again))
    assert (first.questions, first.answers) == (other.questions, other.answers)
    assert first.grams.tolist() == other.grams.tolist()


def test_examples_are_streamed() -> None:
    alive: list[weakref.ref[Example]] = []

    def stream() -> Iterator[Example]:
        for text in _WORDS:
            example = _example(text)
            alive.append(weakref.ref(example))
            yield example
            del example
            assert sum(reference() is not None for reference in alive) <= 1

    EvaluationData.of(stream())
    assert len(alive) == len(_WORDS)


def test_a_copy_in_another_process_says_the_same() -> None:
    evaluation = EvaluationData.of([_example(_THIRTEEN, question="Plum?")])
    copy = pickle.loads(pickle.dumps(evaluation))
    for text in (_THIRTEEN, "nothing"):
        example = _example(text)
        assert copy.overlap(example, answers=True) == evaluation.overlap(example, answers=True)


def test_what_is_remembered_is_right_and_bounded() -> None:
    evaluation = EvaluationData.of([_example(_THIRTEEN, question="Plum?")])
    many = _example(*map(str, range(leaks._REMEMBERED + 1)))
    for _ in range(2):
        assert evaluation.overlap(many, answers=False) is None
        assert evaluation.overlap(_example("x", _THIRTEEN), answers=False) == SHARES_WORDS
        assert 0 < len(evaluation._verdicts) <= leaks._REMEMBERED
