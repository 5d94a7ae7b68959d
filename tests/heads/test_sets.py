"""Head sets: thresholds are strict, ties go to the lower head, zero is never a retrieval head."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from needlework.heads.sets import WU_THRESHOLD, above, indicators, top

_SCORES = np.array([[0.0, 0.3, 0.1], [0.3, -0.2, 0.5]])

# A grid of few values, so that ties are common.
_score = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1.0, np.nan])
_scores = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(_score, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    ).map(np.array)
)


def test_positive_heads_by_hand() -> None:
    assert above(_SCORES) == {(0, 1), (0, 2), (1, 0), (1, 2)}


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    assert above(_SCORES, 0.1) == {(0, 1), (1, 0), (1, 2)}
    assert above(_SCORES, 0.5) == frozenset()


def test_top_heads_by_hand() -> None:
    assert top(_SCORES, 1) == {(1, 2)}
    assert top(_SCORES, 3) == {(1, 2), (0, 1), (1, 0)}


def test_ties_go_to_the_lower_layer_then_the_lower_head() -> None:
    assert top(_SCORES, 2) == {(1, 2), (0, 1)}
    assert top(np.full((2, 3), 0.5), 2) == {(0, 0), (0, 1)}
    assert top(np.full((2, 3), 0.5), 4) == {(0, 0), (0, 1), (0, 2), (1, 0)}


def test_a_head_without_a_positive_score_is_never_in_the_top() -> None:
    assert top(_SCORES, 6) == above(_SCORES)
    assert top(np.zeros((2, 2)), 3) == frozenset()
    assert top(_SCORES, 0) == frozenset()


def test_a_place_without_a_head_is_in_no_set() -> None:
    scores = np.array([[np.nan, 0.2], [0.3, np.nan]])
    assert above(scores) == top(scores, 4) == {(0, 1), (1, 0)}
    assert above(scores, -1.0) == {(0, 1), (1, 0)}
    assert top(scores, 1) == {(1, 0)}
    assert above(np.full((2, 2), np.nan)) == top(np.full((2, 2), np.nan), 3) == frozenset()


def test_heads_are_plain_integers() -> None:
    """Sets meet sets read from files; a numpy integer would be written as something else."""
    for head in above(_SCORES) | top(_SCORES, 3):
        assert [type(part) for part in head] == [int, int]


@given(_scores, st.integers(0, 20))
@settings(deadline=None)
def test_top_equals_a_plain_sort(scores: NDArray[np.float64], count: int) -> None:
    heads = [(i, j) for i in range(scores.shape[0]) for j in range(scores.shape[1])]
    positive = [head for head in heads if scores[head] > 0]
    best = sorted(positive, key=lambda head: (-scores[head], head))[:count]
    assert top(scores, count) == set(best)


@given(_scores, _score)
@settings(deadline=None)
def test_above_equals_its_definition(scores: NDArray[np.float64], threshold: float) -> None:
    found = above(scores, threshold)
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            assert ((i, j) in found) == (scores[i, j] > threshold)


@given(_scores, st.integers(0, 20))
@settings(deadline=None)
def test_top_sets_are_nested(scores: NDArray[np.float64], count: int) -> None:
    assert top(scores, count) <= top(scores, count + 1) <= above(scores)


@given(st.lists(_scores, min_size=1, max_size=3), st.integers(0, 20))
@settings(deadline=None)
def test_indicators_are_the_sets_of_every_vector(
    many: list[NDArray[np.float64]], count: int
) -> None:
    size = min(scores.size for scores in many)
    vectors = np.stack([scores.ravel()[:size] for scores in many])
    found = indicators(vectors, count)
    assert list(found) == ["positive", "above", "top"]
    for k, vector in enumerate(vectors):
        row = vector[None]  # as one layer
        sets = {"positive": above(row), "above": above(row, WU_THRESHOLD), "top": top(row, count)}
        for name, heads in sets.items():
            expected = np.zeros(size)
            expected[[head for _, head in heads]] = 1
            expected[np.isnan(vector)] = np.nan
            np.testing.assert_array_equal(found[name][k], expected)
