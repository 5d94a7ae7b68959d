"""Recall, precision and cosine by hand and against scipy, and what they are where undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial import distance

from needlework.heads.compare import cosine, recall
from needlework.heads.sets import Head

_A = frozenset({(0, 1), (0, 2), (3, 0)})
_B = frozenset({(0, 2), (3, 0), (5, 5), (7, 1)})

_heads = st.frozensets(st.tuples(st.integers(0, 2), st.integers(0, 2)))
_scores = arrays(np.float64, (3, 4), elements=st.floats(0, 1, width=16))


def test_recall_and_precision_by_hand() -> None:
    assert recall(_A, _B) == 2 / 4
    assert recall(_B, _A) == 2 / 3  # the precision of A


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert math.isnan(recall(_A, frozenset()))
    assert math.isnan(recall(frozenset(), frozenset()))
    assert recall(frozenset(), _A) == 0


@given(_heads, _heads)
@settings(deadline=None)
def test_recall_counts_what_was_found(found: frozenset[Head], wanted: frozenset[Head]) -> None:
    assume(wanted)
    assert recall(found, wanted) == sum(head in found for head in wanted) / len(wanted)


@given(_scores, _scores)
@settings(deadline=None)
def test_cosine_equals_scipy(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    assume(a.any() and b.any())
    expected = 1 - distance.cosine(a.ravel(), b.ravel())
    assert cosine(a, b) == pytest.approx(expected, abs=1e-12)
    assert cosine(a, b) == cosine(b, a)
    assert cosine(a, 3 * a) == pytest.approx(1)


def test_the_cosine_with_nothing_is_not_a_number() -> None:
    assert math.isnan(cosine(np.zeros((2, 2)), np.ones((2, 2))))
    assert math.isnan(cosine(np.ones((2, 2)), np.zeros((2, 2))))
    assert cosine(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])) == 0
