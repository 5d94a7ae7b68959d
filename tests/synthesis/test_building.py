"""Datasets example by example: order, shares and counts hold, and every gate has its reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from needlework.corpora.corpus import Corpus
from needlework.examples import Example
from needlework.rendering.prompt import render
from needlework.rendering.room import Room
from needlework.synthesis.building import (
    Builder,
    Checked,
    Refused,
    build_all,
    histogram,
    needles_are_exact,
)
from needlework.synthesis.concepts import parts_of
from needlework.synthesis.generated import Rewrite
from needlework.synthesis.leaks import ASKS_QUESTION, HAS_ANSWER, SHARES_WORDS, EvaluationData
from needlework.synthesis.variants import Materials
from tests.synthesis import by_hand
from tests.synthesis.by_hand import SHAPES, all_shapes, word_tokenizer

NAMES = ["".join(letters) for letters in product("BFKQXZ", repeat=4)]
UNCOVERED = "no template covers a relation"


def _rewrites(examples: Sequence[Example]) -> dict[str, Rewrite]:
    return {
        example.id: Rewrite(example.id, [f"So: {f.state()}" for f, _ in parts_of(example)], [])
        for example in examples
    }


@pytest.fixture
def builder(tokenizer: Any, room: Room, corpus: Corpus) -> Builder:
    """For the tiny model alone, with nothing to overlap with; all is shown, so that it is fast."""
    materials = Materials(room, 3, NAMES, _rewrites(corpus.train))
    return Builder(materials, {"tiny": tokenizer}, 6000, EvaluationData.of([]), fills=False)


def _uncovered(examples: Sequence[Example], places: Sequence[int]) -> list[Example]:
    """The examples, some without a template."""
    return [
        example.model_copy(update={"facts": [example.facts[0].model_copy(
            update={"statement": None})]}) if i in places else example
        for i, example in enumerate(examples)
    ]  # fmt: skip


def _ids(results: Sequence[Checked | Refused]) -> list[str]:
    return [r.id if isinstance(r, Refused) else r.example.id for r in results]


def _made(results: Sequence[Checked | Refused]) -> list[Example]:
    return [result.example for result in results if isinstance(result, Checked)]


def _refused(results: Sequence[Checked | Refused]) -> list[tuple[str, str]]:
    return [(result.id, result.reason) for result in results if isinstance(result, Refused)]


def test_as_many_as_wanted_are_made_in_order_and_the_rest_is_not_considered(
    builder: Builder, corpus: Corpus
) -> None:
    examples = _uncovered(corpus.train, [1, 4, 5])
    for wanted in (0, 1, 4, 10):
        results = list(build_all(builder, "low_low", examples, wanted, 1))
        assert len(_made(results)) == wanted
        assert _ids(results) == [example.id for example in examples[: len(results)]]
        assert len(results) == {0: 0, 1: 1, 4: 7, 10: 13}[wanted]
        assert all(reason == UNCOVERED for _, reason in _refused(results))
    results = list(build_all(builder, "low_low", examples, 11, 1))
    assert _ids(results) == [example.id for example in examples]  # each once, though too few
    assert len(_made(results)) == 10


@pytest.mark.parametrize("variant", ["low_low", "symbolic", "real:0.25+high_low:0.75", "kv_simple"])
def test_the_number_of_processes_changes_nothing(
    builder: Builder, corpus: Corpus, variant: str
) -> None:
    examples = _uncovered(corpus.train, [0, 3])
    alone = list(build_all(builder, variant, examples, 8, 1))
    assert list(build_all(builder, variant, examples, 8, 2)) == alone
    assert len(_made(alone)) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_reaches_the_caller(
    builder: Builder, corpus: Corpus, workers: int
) -> None:
    rewrites = dict(builder.materials.rewrites)
    del rewrites[corpus.train[3].id]
    lacking = replace(builder, materials=replace(builder.materials, rewrites=rewrites))
    with pytest.raises(ValueError, match=f"{corpus.train[3].id} has no rewrite"):
        list(build_all(lacking, "high_low", corpus.train, 8, workers))


def test_a_worker_is_another_process(builder: Builder, corpus: Corpus) -> None:
    class Names(list[str]):
        def __len__(self) -> int:
            raise ValueError(f"read in {os.getpid()}")

    told = replace(builder, materials=replace(builder.materials, names=Names()))
    for workers, here in ((1, True), (2, False)):
        with pytest.raises(ValueError, match=r"read in \d+") as caught:
            list(build_all(told, "low_low", corpus.train, 3, workers))
        assert (str(caught.value) == f"read in {os.getpid()}") == here


def test_replacements_keep_the_shares_of_a_mixture(builder: Builder, corpus: Corpus) -> None:
    examples = _uncovered(corpus.train, [0, 1, 2, 3])
    results = list(build_all(builder, "real:0.4+low_low:0.6", examples, 5, 1))
    assert Counter(example.variant for example in _made(results)) == {"real": 2, "low_low": 3}
    assert _ids(results) == [example.id for example in examples[: len(results)]]
    assert any(reason == UNCOVERED for _, reason in _refused(results))


@pytest.mark.parametrize(
    ("variant", "wanted", "shares"),
    [
        ("real:0.2+low_low:0.8", 10, {"real": 2, "low_low": 8}),
        ("real:0.1+symbolic:0.2+low_low:0.7", 10, {"real": 1, "symbolic": 2, "low_low": 7}),
        ("real:0.5+low_low:0.5", 7, {"real": 4, "low_low": 3}),
        ("real:0.33+low_low:0.33+symbolic:0.34", 3, {"real": 1, "low_low": 1, "symbolic": 1}),
    ],
)
def test_a_mixture_has_its_shares_in_an_order_drawn_by_the_seed(
    builder: Builder, corpus: Corpus, variant: str, wanted: int, shares: dict[str, int]
) -> None:
    orders = set()
    for seed in range(4):
        seeded = replace(builder, materials=replace(builder.materials, seed=seed))
        results = list(build_all(seeded, variant, corpus.train, wanted, 1))
        parts = [example.variant for example in _made(results)]
        assert Counter(parts) == shares
        orders.add(tuple(parts))
    assert len(orders) > 1


def test_the_same_question_and_answer_is_not_made_twice(builder: Builder, corpus: Corpus) -> None:
    twin = corpus.train[0].model_copy(update={"id": "twin"})
    examples = [corpus.train[0], twin, *corpus.train[1:]]
    told = replace(builder, materials=replace(builder.materials, rewrites=_rewrites(examples)))
    results = list(build_all(told, "high_low", examples, 3, 1))
    assert _refused(results) == [("twin", "the same question and answer again")]
    assert len(_made(results)) == 3
    # Real examples are as they are, and invented names make two questions of one.
    for variant in ("real", "low_low"):
        assert _refused(list(build_all(told, variant, examples, 3, 1))) == []


def test_an_example_that_overlaps_with_the_evaluation_is_refused(
    builder: Builder, corpus: Corpus
) -> None:
    def reasons(variant: str, *evaluation: Example) -> list[str]:
        told = replace(builder, evaluation=EvaluationData.of(evaluation))
        results = list(build_all(told, variant, corpus.train[:5], 5, 1))
        return [reason for _, reason in _refused(results)]

    third = corpus.train[2]
    plain: dict[str, Any] = {"documents": [], "needles": []}
    assert reasons("high_low", third.model_copy(update={**plain, "answers": ["x"]})) == [
        ASKS_QUESTION
    ]
    assert reasons("high_low", third.model_copy(update={**plain, "question": "x"})) == [HAS_ANSWER]
    filler = _made(list(build_all(builder, "low_low", corpus.train[:1], 1, 1)))[0]
    other = filler.model_copy(update={"question": "x", "answers": ["x"]})
    assert set(reasons("high_low", other)) == {SHARES_WORDS}  # as all filler does
    assert reasons("high_repeated", other) == []
    assert reasons("real", third) == []  # of another split of its task


def test_a_known_answer_of_a_real_example_is_noted(builder: Builder, corpus: Corpus) -> None:
    told = replace(builder, evaluation=EvaluationData.of([corpus.train[2]]))
    results = list(build_all(told, "real", corpus.train[:5], 5, 1))
    known = [result.known for result in results if isinstance(result, Checked)]
    assert known == [i == 2 for i in range(5)]


def test_an_answer_outside_its_needle_is_refused(builder: Builder, corpus: Corpus) -> None:
    (answer,) = corpus.train[0].answers[:1]
    twice = {corpus.train[0].id: Rewrite(corpus.train[0].id, [f"{answer}: it is {answer}."], [])}
    told = replace(builder, materials=replace(builder.materials, rewrites=twice))
    results = list(build_all(told, "high_low", corpus.train[:1], 1, 1))
    assert [reason for _, reason in _refused(results)] == [
        "the answer stands outside its needle too"
    ]


def test_every_model_reads_each_example_in_its_length(tokenizer: Any, corpus: Corpus) -> None:
    both = {"tiny": tokenizer, "words": word_tokenizer()}
    room = Room(list(both.values()), 1500)
    materials = Materials(room, 3, NAMES)
    builder = Builder(materials, both, 1500, EvaluationData.of([]))
    results = list(build_all(builder, "low_repeated", corpus.train, 2, 1))
    assert len(_made(results)) == len(results) == 2
    for result in results:
        assert isinstance(result, Checked)
        for name, reader in both.items():
            shown = render(result.example, reader, 1500)
            assert result.tokens[name] == len(shown.prompt) + len(shown.answer)
            assert 0.99 * 1500 <= result.tokens[name] <= 1500
        tiny = render(result.example, tokenizer, 1500)  # the first one's places are told
        assert result.depths == [("answer", tiny.needles[0].start / len(tiny.prompt))]
        assert result.documents == len(tiny.example.documents)
        assert 0 <= result.depths[0][1] <= 1


def test_what_a_model_cannot_read_is_refused(builder: Builder, tokenizer: Any) -> None:
    both = {"words": word_tokenizer(), "tiny": tokenizer}
    examples = [by_hand.one_hop()]

    def reasons(told: Builder) -> list[str]:
        return [reason for _, reason in _refused(list(build_all(told, "real", examples, 1, 1)))]

    short = replace(builder, tokenizers=both, fills=True)
    assert reasons(short) == ["shorter than 99 % of the length"]
    assert reasons(replace(short, fills=False)) == []
    # The bytes of it take more than 200 tokens, the words do not.
    long = "cannot be shown in 200 tokens (its gold documents take more)"
    tight = replace(short, fills=False, length=200)
    assert reasons(tight) == [long]
    assert reasons(replace(tight, tokenizers={"words": word_tokenizer()})) == []


@pytest.mark.parametrize("name", SHAPES)
def test_the_tokens_of_a_needle_show_its_text_and_no_more(name: str, tokenizer: Any) -> None:
    for reader in (tokenizer, word_tokenizer()):
        shown = render(all_shapes()[name], reader, 4000)
        assert needles_are_exact(shown, reader)
        first = shown.needles[0]
        for start, end in ((2, 2), (-2, 2), (-9, 0), (0, -1)):
            moved = first._replace(start=first.start + start, end=first.end + end)
            wrong = shown._replace(needles=[moved, *shown.needles[1:]])
            exact = needles_are_exact(wrong, reader)
            assert not exact or (start, end) == (-9, 0)  # too wide at one end passes


@given(st.lists(st.integers(0, 10**6) | st.integers(99, 120), min_size=1, max_size=50))
@example([0, 1])
@example([0, 9, 10, 20])
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    bins = histogram(values)
    edges, counts = bins["edges"], bins["counts"]
    assert len(edges) == len(counts) <= 10
    assert edges[0] == min(values)
    ends = [*edges[1:], max(values) + 1]
    assert counts == [
        sum(low <= value < high for value in values)
        for low, high in zip(edges, ends, strict=True)
    ]  # fmt: skip
    assert sum(counts) == len(values)
    assert len({b - a for a, b in pairwise(edges)}) <= 1
