"""The sign-flip test against scipy and enumeration, under reordering, in degenerate cases."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from needlework.statistics import sign_flip
from tests.statistics.made import TABLES, Floats, Table, clustered_scores, own_cluster


def mean_difference(a: Floats, b: Floats, axis: int = -1) -> Any:
    return np.mean(a - b, axis=axis)


@pytest.mark.parametrize("n", [5, 12])
def test_all_patterns_equal_scipy(n: int) -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 3, n))
    a += 0.7
    ours = sign_flip((a - b).T, own_cluster(n), seed=2)
    for p, first, second in zip(ours, a, b, strict=True):
        theirs = stats.permutation_test(
            (first, second), mean_difference, permutation_type="samples", n_resamples=np.inf
        )
        assert p == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("gain", [0.0, 0.15, 0.3])
def test_random_patterns_match_scipy(gain: float) -> None:
    a, b = np.random.default_rng(3).exponential(size=(2, 80))
    a += gain
    theirs = stats.permutation_test(
        (a, b), mean_difference, permutation_type="samples", n_resamples=20_000, vectorized=True,
        rng=np.random.default_rng(4),
    )  # fmt: skip
    (ours,) = sign_flip((a - b)[:, None], own_cluster(80), permutations=20_000, seed=5)
    assert ours == pytest.approx(theirs.pvalue, abs=0.015)


def test_whole_clusters_are_flipped() -> None:
    values, clusters = clustered_scores(seed=6)
    few = np.array([label in {"c1", "c5", "c17", "c22"} for label in clusters])
    differences = (values[:, 0] - values[:, 1])[few] + 0.3
    kept = [label for label, taken in zip(clusters, few, strict=True) if taken]
    sums = [sum(differences[np.array(kept) == label]) for label in sorted(set(kept))]
    every = [abs(np.dot(signs, sums)) for signs in itertools.product([1, -1], repeat=4)]
    expected = np.mean(np.array(every) >= abs(sum(sums)) - 1e-9)
    assert sign_flip(differences[:, None], kept, seed=7) == pytest.approx([expected])
    # Flipped one by one, the 16 items would give another p.
    assert sign_flip(differences[:, None], own_cluster(len(kept)), seed=7) != expected


def test_enumeration_begins_where_patterns_are_few() -> None:
    # 8 clusters of one sign: the observed pattern and its mirror image of 256.
    differences = np.linspace(0.5, 1, 8)[:, None]
    (exact,) = sign_flip(differences, own_cluster(8), permutations=256, seed=8)
    assert exact == 2 / 256
    (drawn,) = sign_flip(differences, own_cluster(8), permutations=255, seed=8)
    assert drawn * 256 == int(drawn * 256)  # (c + 1) / (R + 1)
    assert 0 < drawn < 0.05
    (least,) = sign_flip(np.ones((200, 1)), own_cluster(200), permutations=999, seed=8)
    assert least == 1 / 1_000


@settings(max_examples=60)
@given(TABLES, st.randoms(use_true_random=False), st.sampled_from([3, 200]))
def test_order_and_other_contrasts_do_not_matter(
    table: Table, shuffle: random.Random, permutations: int
) -> None:
    values, clusters = np.array(table[0]), np.array(table[1])
    items = shuffle.sample(range(len(values)), len(values))
    settings = {"permutations": permutations, "seed": 1}
    p = sign_flip(values, clusters.tolist(), **settings)
    moved = sign_flip(-values[items][:, [2, 0, 1]], clusters[items].tolist(), **settings)
    np.testing.assert_array_equal(moved, p[[2, 0, 1]])
    alone = sign_flip(values[:, [1]], clusters.tolist(), **settings)
    np.testing.assert_array_equal(alone, p[[1]])
    if len(set(clusters)) == 1:
        assert np.isnan(p).all()
    else:
        assert ((p > 0) & (p <= 1)).all()


def test_blocks_of_patterns_are_one_stream() -> None:
    # 3,000 contrasts make blocks of 333 patterns, one contrast a single block of 1,000.
    values = np.random.default_rng(9).normal(0.1, 1, size=(101, 3_000))
    together = sign_flip(values, own_cluster(101), permutations=1_000, seed=10)
    alone = sign_flip(values[:, [7]], own_cluster(101), permutations=1_000, seed=10)
    assert together[7] == alone[0]


@given(
    st.lists(st.integers(-1, 1), min_size=2, max_size=9), st.sampled_from([0.1, 1 / 7, 1e-6, 1e6])
)
def test_ties_are_not_decided_by_rounding(differences: list[int], unit: float) -> None:
    column = np.array(differences)[:, None]
    clusters = own_cluster(len(column))
    assert sign_flip(column * unit, clusters, seed=1) == sign_flip(column, clusters, seed=1)


def test_no_difference_and_one_cluster() -> None:
    table = np.zeros((30, 2))
    table[:, 1] = np.arange(30)
    assert sign_flip(table, own_cluster(30), seed=1)[0] == 1
    assert all(map(math.isnan, sign_flip(table, ["q"] * 30, seed=1)))


@pytest.mark.parametrize(
    ("differences", "clusters", "permutations", "message"),
    [
        ([0.5, 1.0], ["a", "b"], 10, r"expected \(items, contrasts\)"),
        ([[0.5], [math.nan]], ["a", "b"], 10, "first at item 1, contrast 0: nan"),
        ([[0.5], [1.0]], ["a"], 10, "1 labels for 2 items"),
        ([[0.5], [1.0]], ["a", None], 10, "item 1 has the cluster None"),
        ([[0.5], [1.0]], ["a", "b"], 0, "permutations is 0"),
    ],
)
def test_bad_input_is_refused(
    differences: Any, clusters: list[str], permutations: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sign_flip(differences, clusters, permutations=permutations, seed=1)
