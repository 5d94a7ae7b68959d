"""Correlations against scipy, published tables and plain enumeration."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from needlework.statistics import Correlation, pearson, spearman, within_groups
from tests.statistics.made import SCORES

Correlate = Callable[..., Correlation]


# --- Spearman's and Pearson's r and p ----------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "rho", "p"),
    [
        # The smallest significant |rho| for n = 5 to 8, each with the next below it.
        ([1, 2, 3, 4, 5], 1.0, 0.0167),
        ([1, 2, 3, 5, 4], 0.9, 0.0833),
        ([2, 1, 4, 3, 5, 6], 0.886, 0.0333),
        ([3, 1, 2, 4, 5, 6], 0.829, 0.0583),
        ([3, 2, 1, 5, 4, 7, 6], 0.786, 0.0480),
        ([3, 2, 1, 5, 6, 4, 7], 0.750, 0.0663),
        ([4, 3, 2, 1, 6, 5, 7, 8], 0.738, 0.0458),
        ([4, 3, 2, 1, 6, 5, 8, 7], 0.714, 0.0576),
    ],
)
def test_spearman_against_the_exact_table(y: list[int], rho: float, p: float) -> None:
    for found, sign in [(spearman(range(len(y)), y), 1), (spearman(y, range(0, -len(y), -1)), -1)]:
        assert (found.r, found.p, found.n) == pytest.approx((sign * rho, p, len(y)), abs=5e-4)


def test_spearman_with_ties_against_plain_enumeration() -> None:
    x, y = [1.5, 1.5, 0.2, 7.0, 0.1], [0.3, 0.1, 0.1, 0.1, 0.05]
    observed = stats.spearmanr(x, y).statistic
    every = [stats.spearmanr(x, list(order)).statistic for order in itertools.permutations(y)]
    p = np.mean([abs(rho) >= abs(observed) - 1e-9 for rho in every])
    found = spearman(x, y)
    assert (found.r, found.p, found.n) == pytest.approx((observed, p, 5))


def test_spearman_is_asymptotic_above_eight() -> None:
    x, y = np.random.default_rng(13).normal(size=(2, 9))
    rho = np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]
    t = rho * math.sqrt(7 / (1 - rho**2))
    found = spearman(x, y)
    assert (found.r, found.p, found.n) == pytest.approx((rho, 2 * stats.t.sf(abs(t), 7), 9))


PAIRS = st.integers(4, 30).flatmap(
    lambda n: st.lists(st.tuples(SCORES, SCORES), min_size=n, max_size=n, unique=True)
)


@given(PAIRS)
def test_pearson_equals_scipy(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    assume(np.ptp(x) > 0.01 and np.ptp(y) > 0.01)
    found, wanted = pearson(x, y, resamples=10), stats.pearsonr(x, y)
    assert (found.r, found.p, found.n) == pytest.approx(
        (wanted.statistic, wanted.pvalue, len(pairs)), abs=1e-12
    )


# --- Limits ------------------------------------------------------------------------------------


def pearson_of_ranks(x: Any, y: Any, axis: int = -1) -> Any:
    ranks = (stats.rankdata(v, axis=axis) for v in (x, y))
    return stats.pearsonr(*ranks, axis=axis).statistic


def pearson_of_values(x: Any, y: Any, axis: int = -1) -> Any:
    return stats.pearsonr(x, y, axis=axis).statistic


@pytest.mark.parametrize(("n", "level"), [(8, 0.9), (40, 0.95)])
@pytest.mark.parametrize(
    ("correlate", "statistic"), [(spearman, pearson_of_ranks), (pearson, pearson_of_values)]
)
def test_limits_match_scipy(correlate: Correlate, statistic: Any, n: int, level: float) -> None:
    x, y = np.random.default_rng(n).normal(size=(2, n))
    y += x
    theirs = stats.bootstrap(
        (x, y), statistic, paired=True, vectorized=True, method="percentile", n_resamples=20_000,
        confidence_level=level, rng=np.random.default_rng(1),
    )  # fmt: skip
    found = correlate(x, y, level)
    limits = theirs.confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(limits), abs=0.03)
    assert found.low < found.r < found.high


@pytest.mark.parametrize("correlate", [spearman, pearson])
def test_resamples_without_spread_are_left_out(correlate: Correlate) -> None:
    # One x differs: a third of the resamples lack it. All others can be listed for n = 4.
    x, y = np.array([0.0, 0.0, 0.0, 1.0]), np.array([3.0, 1.0, 2.0, 2.5])
    statistic = stats.spearmanr if correlate is spearman else stats.pearsonr
    every = []
    for drawn in itertools.product(range(4), repeat=4):
        a, b = x[list(drawn)], y[list(drawn)]
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            every.append(statistic(a, b).statistic)
    assert len(every) < 256
    found = correlate(x, y, 0.8, resamples=40_000)
    assert (found.low, found.high) == pytest.approx(np.quantile(every, [0.1, 0.9]), abs=0.05)


@given(PAIRS, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_order_of_pairs_does_not_matter(
    pairs: list[tuple[float, float]], shuffle: random.Random
) -> None:
    moved = shuffle.sample(pairs, len(pairs))
    labels = {pair: f"group{i % 3}" for i, pair in enumerate(pairs)}
    for correlate in (spearman, pearson):
        before, after = (correlate(*np.array(p).T, resamples=50) for p in (pairs, moved))
        assert repr(before) == repr(after)
        assert math.isnan(before.low) or -1 - 1e-9 <= before.low <= before.high <= 1 + 1e-9
        assert math.isnan(before.p) or 0 <= before.p <= 1
    before, after = (
        within_groups(*np.array(p).T, [labels[pair] for pair in p], resamples=50)
        for p in (pairs, moved)
    )
    assert repr(before) == repr(after)


@pytest.mark.parametrize("correlate", [spearman, pearson])
def test_limits_where_there_are_none(correlate: Correlate) -> None:
    perfect = correlate([1, 2, 3, 4], [2, 4, 6, 8])
    assert perfect.r == pytest.approx(1)
    assert math.isnan(perfect.low)  # [1, 1] would claim certainty from four points
    assert math.isnan(perfect.high)
    three = correlate([1, 2, 3], [1, 3, 2])
    assert three.r == pytest.approx(0.5)
    assert math.isnan(three.low)
    assert math.isnan(three.high)


# --- Within groups -----------------------------------------------------------------------------

X = [0.1, 0.5, 0.3, 0.9, 10.0, 30.0, 20.0, 20.0]
Y = [7.0, 8.0, 9.0, 9.5, 0.2, 0.1, 0.3, 0.4]
GROUPS = list("aaaabbbb")


def by_hand(x: Any, y: Any, sizes: list[int]) -> float:
    """The correlation of ranks over (m + 1), each group about its own middle, if both vary."""
    sides: list[list[float]] = [[], []]
    ends = np.cumsum(sizes)[:-1]
    for group in zip(np.split(np.array(x), ends), np.split(np.array(y), ends), strict=True):
        if all(len(set(values)) > 1 for values in group):
            for side, values in zip(sides, group, strict=True):
                side += list(stats.rankdata(values) / (len(values) + 1) - 0.5)
    return float(np.corrcoef(*sides)[0, 1])


def test_within_groups_by_hand() -> None:
    # Ranks about their middle, x: -3 1 -1 3, -3 3 0 0 (halves); y: -3 -1 1 3, -1 -3 1 3.
    # Products 9 - 1 - 1 + 9 and 3 - 9 + 0 + 0 make 10; squares 20 + 18 and 20 + 20.
    found = within_groups(X, Y, GROUPS)
    assert (found.r, found.n) == pytest.approx((10 / math.sqrt(38 * 40), 8))
    assert found.r == pytest.approx(by_hand(X, Y, [4, 4]))
    permuted = [
        by_hand(X, [*first, *second], [4, 4])
        for first in itertools.permutations(Y[:4])
        for second in itertools.permutations(Y[4:])
    ]
    p = np.mean(np.abs(permuted) >= found.r - 1e-9)
    assert found.p == pytest.approx(p, abs=0.015)


def test_groups_of_several_sizes_against_a_plain_bootstrap() -> None:
    # The first group often has a constant x in a resample, but not a constant y.
    scores = np.random.default_rng(20)
    sizes = [6, 4, 9]
    groups = [name for name, size in zip("abc", sizes, strict=True) for _ in range(size)]
    x = np.concatenate([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0], scores.normal(size=13)])
    y = x + scores.normal(size=19) + np.repeat([0.0, -50.0, 50.0], sizes)
    found = within_groups(x, y, groups, 0.9)
    assert found.r == pytest.approx(by_hand(x, y, sizes))
    resampled = []
    for _ in range(1_500):
        drawn = np.concatenate(
            [start + scores.integers(m, size=m) for start, m in zip([0, 6, 10], sizes, strict=True)]
        )
        resampled.append(by_hand(x[drawn], y[drawn], sizes))
    expected = np.quantile(resampled, [0.05, 0.95])
    assert (found.low, found.high) == pytest.approx(expected, abs=0.02)


def test_one_group_is_spearman() -> None:
    x, y = np.random.default_rng(21).normal(size=(2, 7))
    alone, grouped = spearman(x, y), within_groups(x, y, ["a"] * 7)
    assert grouped.r == pytest.approx(alone.r)
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high))
    assert grouped.p == pytest.approx(alone.p, abs=0.015)


def test_differences_between_groups_do_not_count() -> None:
    # Within each group y falls with x; over all pairs it rises.
    x = [1, 2, 3, 11, 12, 13]
    y = [3, 2, 1, 23, 22, 21]
    assert spearman(x, y).r > 0
    assert within_groups(x, y, list("aaabbb")).r == pytest.approx(-1)


def test_a_group_that_says_nothing_is_left_out() -> None:
    some = within_groups(X, Y, GROUPS)
    more = within_groups(
        [*X, 4, 4, 4, 9, 1, 2, 3], [*Y, 1, 2, 3, 9, 4, 4, 4], [*GROUPS, *"cccdeee"]
    )
    assert more == some


@pytest.mark.parametrize("groups", [[], ["a", "a"], ["a", "b", "b"], ["a", "b", "c", "d"]])
def test_where_within_groups_is_undefined(groups: list[str]) -> None:
    x = list(range(len(groups)))
    found = within_groups(x, x, groups)
    assert found[:4] == pytest.approx([math.nan] * 4, nan_ok=True)


# --- Bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("correlate", [spearman, pearson])
@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([], [])])
def test_where_a_correlation_is_undefined(correlate: Correlate, x: list[int], y: list[int]) -> None:
    expected = (*[math.nan] * 4, len(x))
    assert correlate(x, y) == pytest.approx(expected, nan_ok=True)
    assert correlate(y, x) == pytest.approx(expected, nan_ok=True)


def test_what_is_not_pairs_is_refused() -> None:
    one = ["a"] * 4
    for correlate in (spearman, pearson, lambda x, y, **k: within_groups(x, y, one[: len(x)], **k)):
        with pytest.raises(ValueError, match="x has 3 entries and y has 2"):
            correlate([1, 2, 3], [1, 2])
        with pytest.raises(ValueError, match="y has 1 entries that are not finite, the first at 2"):
            correlate([1, 2, 3], [1, 2, math.nan])
        with pytest.raises(ValueError, match=r"x has the shape \(1, 2\)"):
            correlate([[1, 2]], [1, 2])
        with pytest.raises(ValueError, match="level is 95"):
            correlate([1, 2, 3, 4], [1, 3, 2, 4], level=95)
        with pytest.raises(ValueError, match="resamples is 0"):
            correlate([1, 2, 3, 4], [1, 3, 2, 4], resamples=0)
    with pytest.raises(ValueError, match="groups has 1 labels for 2 items"):
        within_groups([1, 2], [1, 2], ["a"])
