"""The paired bootstrap under reordering, in degenerate cases, and with bad input."""

from __future__ import annotations

import itertools
import math
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from needlework.statistics import PairedBootstrap, cluster_weights
from tests.statistics.made import TABLES, Table, clustered_scores, own_cluster


def numbers(boot: PairedBootstrap, systems: list[int]) -> str:
    """Every number of three systems, to the last bit; text, because NaN is not NaN."""
    pairs = list(itertools.permutations(systems, 2))
    of_systems = [(boot.interval(s), boot.bca(s)) for s in systems]
    of_pairs = [(boot.difference(a, b), boot.equivalence(a, b, 0.5)) for a, b in pairs]
    return repr((boot.means[systems], of_systems, of_pairs, boot.ranks(systems)))


# --- Invariants --------------------------------------------------------------------------------


@settings(max_examples=60)
@given(TABLES, st.randoms(use_true_random=False))
def test_order_of_items_and_systems_does_not_matter(table: Table, shuffle: random.Random) -> None:
    values, clusters = np.array(table[0]), np.array(table[1])
    items = shuffle.sample(range(len(values)), len(values))
    boot = PairedBootstrap(values, clusters.tolist(), resamples=50, seed=1)
    moved = PairedBootstrap(values[items], clusters[items].tolist(), resamples=50, seed=1)
    turned = PairedBootstrap(values[:, [2, 0, 1]], clusters.tolist(), resamples=50, seed=1)
    assert numbers(boot, [0, 1, 2]) == numbers(moved, [0, 1, 2])
    assert numbers(boot, [0, 1, 2]) == numbers(turned, [1, 2, 0])


def test_other_systems_do_not_matter_and_the_seed_does() -> None:
    # Large enough for the matrix product to add in another order with another number of columns.
    values = np.random.default_rng(9).normal(size=(700, 40))
    clusters = own_cluster(700)
    all_systems = PairedBootstrap(values, clusters, resamples=300, seed=1)
    two = PairedBootstrap(values[:, [3, 31]], clusters, resamples=300, seed=1)
    alone = PairedBootstrap(values[:, [3]], clusters, resamples=300, seed=1)
    assert two.difference(0, 1) == all_systems.difference(3, 31)
    assert two.interval(0) == all_systems.interval(3)
    assert alone.bca(0) == all_systems.bca(3)
    assert two.interval(0) != PairedBootstrap(values, clusters, resamples=300, seed=2).interval(3)


@settings(max_examples=60)
@given(TABLES)
def test_contrasts_are_paired_and_transitive(table: Table) -> None:
    a, b, c = np.array(table[0]).T
    # a - b and c - b as systems of their own: their contrast is a - c in every resample, or the
    # limits would not agree.
    values = np.column_stack([a, b, c, a - b, c - b])
    boot = PairedBootstrap(values, table[1], resamples=99, seed=1)
    direct, through_b = boot.difference(0, 2), boot.difference(3, 4)
    assert direct == pytest.approx(through_b, abs=1e-6, nan_ok=True)
    assert boot.interval(3)[1:] == pytest.approx(boot.difference(0, 1)[1:3], abs=1e-9, nan_ok=True)
    steps = boot.difference(0, 1).difference + boot.difference(1, 2).difference
    assert steps == pytest.approx(direct.difference, abs=1e-9)
    reverse = boot.difference(2, 0)
    assert (reverse.difference, reverse.p) == pytest.approx(
        (-direct.difference, direct.p), nan_ok=True
    )
    mirrored = [-direct.high, -direct.low, -direct.bca_high, -direct.bca_low]
    assert list(reverse[1:5]) == pytest.approx(mirrored, abs=1e-6, nan_ok=True)


@settings(max_examples=60)
@given(TABLES, st.sampled_from([-3.0, 0.125, 50.0]))
def test_a_shift_of_every_score_shifts_the_limits_alone(table: Table, shift: float) -> None:
    values = np.array(table[0])
    boot = PairedBootstrap(values, table[1], resamples=99, seed=1)
    shifted = PairedBootstrap(values + shift, table[1], resamples=99, seed=1)
    moved = [limit + shift for limit in (*boot.interval(0), *boot.bca(0))]
    found = [*shifted.interval(0), *shifted.bca(0)]
    assert found == pytest.approx(moved, abs=1e-6, nan_ok=True)
    before, after = boot.difference(0, 1), shifted.difference(0, 1)
    assert after == pytest.approx(before, abs=1e-6, nan_ok=True)
    assert after.p == before.p or boot.n_clusters == 1


@settings(max_examples=60)
@given(TABLES)
def test_limits_are_in_order_and_p_is_above_zero(table: Table) -> None:
    boot = PairedBootstrap(table[0], table[1], resamples=99, seed=1)
    found = boot.difference(0, 1)
    equivalent = boot.equivalence(0, 1, 0.5)
    if boot.n_clusters == 1:
        assert all(map(math.isnan, (*found[1:], equivalent)))
        return
    assert 1 / 100 <= found.p <= 1
    assert 1 / 100 <= equivalent <= 1
    assert found.low <= found.high
    assert not found.bca_low > found.bca_high


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=15),
    st.sampled_from([0.1, 1 / 7, 1e-6, 1e6]),
    st.sampled_from([0.0, 0.3, 100.0]),
)
def test_ties_are_not_decided_by_rounding(
    scores: list[tuple[int, int]], unit: float, offset: float
) -> None:
    values = np.array(scores)
    clusters = own_cluster(len(values))
    boot = PairedBootstrap(values, clusters, resamples=99, seed=1)
    rescaled = PairedBootstrap((values + offset) * unit, clusters, resamples=99, seed=1)
    found, expected = rescaled.difference(0, 1), boot.difference(0, 1)
    assert found.p == expected.p
    # The share of ties decides the correction for bias.
    limits = np.array(expected[3:5]) * unit
    assert list(found[3:5]) == pytest.approx(limits, abs=1e-6 * unit, nan_ok=True)
    assert rescaled.ranks([0, 1]) == boot.ranks([0, 1])


# --- The weights -------------------------------------------------------------------------------


def test_weights_are_those_of_the_bootstrap() -> None:
    # 600 clusters come in two blocks; a resampled mean is the weighted mean of the scores.
    weights = np.concatenate(list(cluster_weights(600, 2_000, seed=1)))
    assert weights.shape == (2_000, 600)
    assert (weights.sum(axis=1) == 600).all()
    values = np.random.default_rng(9).integers(0, 2, size=600).astype(float)
    low, high = np.quantile(weights @ values / 600, [0.025, 0.975])
    labels = [f"item{i:03}" for i in range(600)]  # in the order in which they are sorted
    found = PairedBootstrap(values[:, None], labels, resamples=2_000, seed=1).interval(0)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_weights_are_multinomial() -> None:
    (weights,) = cluster_weights(5, 20_000, seed=3)
    counts = np.bincount(weights.astype(int).ravel(), minlength=6)
    expected = stats.binom.pmf(range(6), 5, 1 / 5) * weights.size
    assert counts == pytest.approx(expected, rel=0.2, abs=15)
    # Draws of one resample exclude each other: the covariance of two clusters is -1/5.
    assert np.cov(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 5, abs=0.02)


# --- Degenerate cases --------------------------------------------------------------------------


def test_identical_systems() -> None:
    values, clusters = clustered_scores(seed=10)
    boot = PairedBootstrap(values[:, [0, 1, 0]], clusters, resamples=500, seed=1)
    assert boot.difference(0, 2) == (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert boot.equivalence(0, 2, 0.01) == 1 / 501


def test_a_difference_equal_on_every_item() -> None:
    values, clusters = clustered_scores(seed=11)
    shifted = np.column_stack([values[:, 0] + 0.2, values[:, 0]])
    boot = PairedBootstrap(shifted, clusters, resamples=999, seed=1)
    assert boot.difference(0, 1) == pytest.approx((0.2, 0.2, 0.2, 0.2, 0.2, 1 / 1_000))
    # At the margin itself the systems are not equivalent, whatever rounding says.
    at_margin = [boot.equivalence(0, 1, margin) for margin in (0.19, 0.2, 0.21)]
    assert at_margin == [1, 1, 1 / 1_000]
    noise = np.tile([0.1 + 0.2, 0.3], (len(values), 1))  # differ by 6e-17
    assert PairedBootstrap(noise, clusters, resamples=999, seed=1).difference(0, 1).p == 1


def test_a_constant_score() -> None:
    boot = PairedBootstrap(np.full((9, 1), 0.7), own_cluster(9), resamples=99, seed=1)
    assert (*boot.interval(0), *boot.bca(0)) == pytest.approx([0.7] * 5, abs=1e-12)


def test_one_cluster_has_no_interval() -> None:
    boot = PairedBootstrap([[1.0, 0.0], [0.5, 0.5]], ["q", "q"], seed=1)
    assert (boot.n, boot.n_clusters) == (2, 1)
    nan = math.nan
    assert boot.interval(0) == pytest.approx((0.75, nan, nan), nan_ok=True)
    assert boot.bca(0) == pytest.approx((nan, nan), nan_ok=True)
    assert boot.difference(0, 1) == pytest.approx((0.5, *[nan] * 5), nan_ok=True)
    assert math.isnan(boot.equivalence(0, 1, 1.0))


def test_bca_is_undefined_where_all_resamples_are_on_one_side() -> None:
    boot = PairedBootstrap([[0.0], [1.0], [5.0]], own_cluster(3), resamples=1, seed=1)
    assert boot.bca(0) == pytest.approx((math.nan, math.nan), nan_ok=True)
    assert boot.interval(0).low == boot.interval(0).high


def test_large_tables_fit_in_memory() -> None:
    values = np.random.default_rng(12).normal(size=(2_655, 3))
    clusters = own_cluster(2_655)
    tracemalloc.start()
    boot = PairedBootstrap(values, clusters, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # all weights at once are 212 MB
    mean, low, high = boot.interval(0)
    error = float(stats.sem(values[:, 0]))
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.1 * error)


# --- Bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "clusters", "resamples", "message"),
    [
        ([], [], 10, r"shape \(0,\)"),
        (np.empty((0, 2)), [], 10, r"shape \(0, 2\)"),
        ([0.5, 1.0], ["a", "b"], 10, r"expected \(items, systems\)"),
        ([[0.5, 1.0], [1.0, math.nan]], ["a", "b"], 10, "first at item 1, system 1: nan"),
        ([[math.inf], [1.0]], ["a", "b"], 10, "first at item 0, system 0: inf"),
        ([[0.5], [1.0]], ["a"], 10, "1 labels for 2 items"),
        ([[0.5], [1.0]], ["a", math.nan], 10, "item 1 has the cluster nan"),
        ([[0.5], [1.0]], ["a", None], 10, "item 1 has the cluster None"),
        ([[0.5], [1.0]], ["a", "b"], 0, "resamples is 0"),
    ],
)
def test_bad_input_is_refused(
    values: list[list[float]], clusters: list[str], resamples: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PairedBootstrap(values, clusters, resamples=resamples, seed=1)


def test_a_level_in_percent_and_no_margin_are_refused() -> None:
    boot = PairedBootstrap([[0.0], [1.0]], ["a", "b"], resamples=10, seed=1)
    for limits in (boot.interval, boot.bca):
        with pytest.raises(ValueError, match="level is 95"):
            limits(0, 95)
    with pytest.raises(ValueError, match="level is 95"):
        boot.ranks([0], 95)
    with pytest.raises(ValueError, match="margin is 0"):
        boot.equivalence(0, 0, 0)
