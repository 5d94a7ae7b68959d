"""Every kind of score against its definition in plain Python, over whole rows of attention."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from needlework.heads import kinds


class Case(NamedTuple):
    """A prompt, its needle, an answer, and what every head of every layer attends to at each row.

    A row of `attention` has a weight, no two of them equal, for every position up to its own.
    """

    prompt: list[int]
    needle: set[int]
    generated: list[int]
    attention: list[list[list[list[float]]]]

    @property
    def attended(self) -> NDArray[np.int64]:
        return np.array(
            [[[_top(row, 1)[0] for row in head] for head in layer] for layer in self.attention]
        )


def _top(row: list[float], count: int) -> list[int]:
    return sorted(range(len(row)), key=lambda position: -row[position])[:count]


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    tokens = st.integers(0, 4)  # few, so that tokens repeat and are often copied
    prompt = draw(st.lists(tokens, min_size=1, max_size=8))
    generated = draw(st.lists(tokens, min_size=1, max_size=5))
    needle = draw(st.sets(st.integers(0, len(prompt) - 1), min_size=1))
    rows = []
    layers, heads = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    for index in range(layers * heads * len(generated)):
        length = len(prompt) + index % len(generated)
        weights = draw(st.permutations(range(1, length + 1)))
        total = sum(weights)
        rows.append([weight / total for weight in weights])
    steps = len(generated)
    by_head = [rows[start : start + steps] for start in range(0, len(rows), steps)]
    attention = [by_head[start : start + heads] for start in range(0, len(by_head), heads)]
    return Case(prompt, needle, generated, attention)


@given(_cases())
def test_copy_equals_the_definition_of_wu_et_al(case: Case) -> None:
    prompt, needle, generated, attention = case
    k = {prompt[position] for position in needle}
    expected = []
    for layer in attention:
        for head in layer:
            g = set()
            for w, row in zip(generated, head, strict=True):
                (j,) = _top(row, 1)
                if w in k and j in needle and prompt[j] == w:
                    g.add(w)
            expected.append(len(g & k) / len(k))
    found = kinds.copy(case.attended, prompt, needle, generated)
    assert found.shape == case.attended.shape[:2]
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-12)
    assert found.max() <= 1


@given(_cases())
def test_copy_repeats_equals_the_loop_of_wu_et_als_code(case: Case) -> None:
    prompt, needle, generated, attention = case
    expected = []
    for layer in attention:
        for head in layer:
            score = 0.0
            for made, row in zip(generated, head, strict=True):
                (i,) = _top(row, 1)
                if i in needle and made == prompt[i]:
                    score += 1 / len(needle)
            expected.append(score)
    found = kinds.copy_repeats(case.attended, prompt, needle, generated)
    assert found.shape == case.attended.shape[:2]
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-12)
    paper = kinds.copy(case.attended, prompt, needle, generated)
    assert ((found > 0) == (paper > 0)).all()  # the two differ in how much, never in whether


@given(_cases())
def test_argmax_is_the_share_of_rows_that_look_at_the_needle(case: Case) -> None:
    expected = [
        len([row for row in head if _top(row, 1)[0] in case.needle]) / len(head)
        for layer in case.attention
        for head in layer
    ]
    found = kinds.argmax(case.attended, case.needle)
    assert found.shape == case.attended.shape[:2]
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-12)


@given(_cases())
def test_mass_is_the_mean_over_rows_of_the_attention_on_the_needle(case: Case) -> None:
    expected, masses = [], []
    for layer in case.attention:
        for head in layer:
            total = 0.0
            for row in head:
                for position in case.needle:
                    total += row[position]
            expected.append(total / len(head))
            masses.append([sum(row[position] for position in case.needle) for row in head])
    shape = case.attended.shape
    found = kinds.mass(np.array(masses).reshape(shape))
    assert found.shape == shape[:2]
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-12)


@given(_cases())
def test_topk_equals_the_loop_of_headkvs_code(case: Case) -> None:
    k = len(case.needle)
    expected, sums = [], []
    for layer in case.attention:
        for head in layer:
            score = 0.0
            for row in head:
                for i in _top(row, k):
                    if i in case.needle:
                        score += row[i] * 1 / k
            expected.append(score)
            sums.append([sum(row[i] for i in _top(row, k) if i in case.needle) for row in head])
    shape = case.attended.shape
    found = kinds.topk(np.array(sums).reshape(shape), k)
    assert found.shape == shape[:2]
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-12)


def test_a_worked_example() -> None:
    prompt = [9, 5, 6, 7, 6, 9]  # the needle 5 6 7 6 has four positions, three distinct tokens
    needle = {1, 2, 3, 4}
    generated = [5, 6, 8, 6]
    attended = np.array(
        [
            [
                [1, 2, 3, 4],  # copies 5 and, twice, 6; looks at the needle at all rows
                [1, 3, 3, 3],  # copies 5; at the other rows the token attended to is another
                [0, 0, 5, 5],  # attends outside of the needle
                [2, 4, 2, 2],  # copies 6 from either of its places
                [9, 9, 9, 9],  # attends to what it generated itself, beyond the prompt
            ]
        ]
    )
    copied = kinds.copy(attended, prompt, needle, generated)
    assert copied.tolist() == [[2 / 3, 1 / 3, 0, 1 / 3, 0]]
    repeats = kinds.copy_repeats(attended, prompt, needle, generated)
    assert repeats.tolist() == [[3 / 4, 1 / 4, 0, 2 / 4, 0]]
    assert kinds.argmax(attended, needle).tolist() == [[1, 1, 0, 1, 0]]


def test_a_token_outside_the_needle_does_not_count() -> None:
    # The same token stands before the needle; looking there is not retrieval.
    prompt, needle, attended = [4, 1, 4], {2}, np.array([[[0], [2]]])
    assert kinds.copy(attended, prompt, needle, [4]).tolist() == [[0, 1]]
    assert kinds.copy_repeats(attended, prompt, needle, [4]).tolist() == [[0, 1]]
    assert kinds.argmax(attended, needle).tolist() == [[0, 1]]


def test_an_answer_that_repeats_the_needle_exceeds_one_in_the_code_only() -> None:
    attended = np.array([[[0, 0, 0]]])
    assert kinds.copy(attended, [7], {0}, [7, 7, 7]).tolist() == [[1]]
    assert kinds.copy_repeats(attended, [7], {0}, [7, 7, 7]).tolist() == [[3]]


def test_a_needle_without_positions_has_no_score() -> None:
    attended = np.zeros((1, 1, 1), dtype=np.int64)
    for score in (kinds.copy, kinds.copy_repeats):
        with pytest.raises(ValueError, match="no position"):
            score(attended, [1], set(), [1])
    with pytest.raises(ValueError, match="no position"):
        kinds.argmax(attended, set())


def test_a_place_without_a_head_stays_nan() -> None:
    weights = np.array([[[0.5, 0.25], [np.nan, np.nan]]])
    np.testing.assert_array_equal(kinds.mass(weights), [[0.375, np.nan]])
    np.testing.assert_array_equal(kinds.topk(weights, 3), [[0.25, np.nan]])


def test_every_kind_is_named() -> None:
    assert all(callable(getattr(kinds, name)) for name in kinds.KINDS)
