"""Head sets: thresholds are strict, ties go to the lower head, zero is never a retrieval head."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from needlework.heads.sets import above, top

_SCORES = np.array([[0.0, 0.3, 0.1], [0.3, -0.2, 0.5]])

# A grid of few values, so that ties are common.
_score = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1.0])
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


def test_heads_are_plain_integers() -> None:
    """Sets meet sets read from files; a numpy integer would be written as something else."""
    for head in above(_SCORES) | top(_SCORES, 3):
        assert [type(part) for part in head] == [int, int]


@given(_scores, st.integers(0, 20))
@settings(deadline=None)
def test_top_equals_a_plain_sort(scores: NDArray[np.float64], count: int) -> None:
    heads = [(i, j) for i in range(scores.shape[0]) for j in range(scores.shape[1])]
    best = sorted(heads, key=lambda head: (-scores[head], head))[:count]
    assert top(scores, count) == {head for head in best if scores[head] > 0}


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
