"""Statistics against independent references, in simulation, and under reordering."""

from __future__ import annotations

import itertools
import math
import random
import tracemalloc
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower

from needlework.statistics import (
    PairedBootstrap,
    cluster_weights,
    detectable_difference,
    holm,
    pearson,
    spearman,
)

Floats = NDArray[np.float64]


def own_cluster(n: int) -> list[str]:
    return [f"item{i}" for i in range(n)]


def clustered_scores(seed: int) -> tuple[Floats, list[str]]:
    """Two systems on 30 clusters of 1 to 6 items; big clusters score higher."""
    random = np.random.default_rng(seed)
    clusters = [f"c{c}" for c in range(30) for _ in range(1 + c % 6)]
    easy = np.array([0.1 * (int(label[1:]) % 6) for label in clusters])
    noise = random.normal(size=(30, 2))[[int(label[1:]) for label in clusters]]
    return easy[:, None] + noise + random.normal(size=(len(clusters), 2)), clusters


# --- The bootstrap against references ----------------------------------------------------------


def test_matches_scipy_where_items_are_independent() -> None:
    a, b = np.random.default_rng(1).exponential(size=(2, 40))
    boot = PairedBootstrap(np.column_stack([a, b]), own_cluster(40), resamples=20_000, seed=2)
    ours, mean = boot.difference(0, 1), boot.interval(0)
    for sample, low, high in [((a - b,), ours.low, ours.high), ((a,), mean.low, mean.high)]:
        theirs = stats.bootstrap(
            sample, np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(3)
        )
        tolerance = 0.1 * theirs.standard_error  # Monte Carlo error of both limits: about 0.03
        assert low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
        assert high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)
    assert ours.difference == pytest.approx(np.mean(a - b))
    assert mean.mean == pytest.approx(np.mean(a))


def test_matches_a_plain_cluster_bootstrap() -> None:
    values, clusters = clustered_scores(seed=4)
    groups = defaultdict(list)
    for (a, b), label in zip(values.tolist(), clusters, strict=True):
        groups[label].append(a - b)
    draw = random.Random(5)
    resampled = []
    for _ in range(4_000):
        items = [x for group in draw.choices(list(groups.values()), k=30) for x in group]
        resampled.append(sum(items) / len(items))
    observed = float(np.mean(values[:, 0] - values[:, 1]))
    p = (sum(abs(x - observed) >= abs(observed) for x in resampled) + 1) / 4_001
    boot = PairedBootstrap(values, clusters, seed=6)
    ours = boot.difference(0, 1, level=0.9)
    assert (boot.n, boot.n_clusters) == (len(values), 30)
    assert ours.difference == pytest.approx(observed)
    assert (ours.low, ours.high) == pytest.approx(
        np.quantile(resampled, [0.05, 0.95]), abs=0.1 * np.std(resampled)
    )
    assert ours.p == pytest.approx(p, abs=0.03)


def test_p_matches_all_possible_resamples() -> None:
    # Three clusters, so that all 27 resamples can be listed; scores of 0 or 1, so that many tie.
    values = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [1, 0], [0, 0]])
    clusters = ["x", "x", "x", "y", "z", "z"]
    groups = [[1, 1, 0], [-1], [1, 0]]
    observed, count = 2 / 6, 0
    for drawn in itertools.product(groups, repeat=3):
        items = [x for group in drawn for x in group]
        count += abs(sum(items) / len(items) - observed) >= abs(observed) - 1e-12
    p = PairedBootstrap(values, clusters, seed=7).difference(0, 1).p
    assert p == pytest.approx(count / 27, abs=0.02)


# --- The bootstrap in simulation ---------------------------------------------------------------


@pytest.mark.parametrize("per_cluster", [1, 6])
def test_interval_covers_and_p_is_uniform(per_cluster: int) -> None:
    # Intra-cluster correlation 0.5: a bootstrap of the items covers 70 % here.
    random = np.random.default_rng(8)
    clusters = [f"c{c}" for c in range(200) for _ in range(per_cluster)]
    trials = 1_000
    covered, p_values = 0, []
    for trial in range(trials):
        shared = random.normal(size=(200, 1, 2))
        noise = random.normal(size=(200, per_cluster, 2))
        values = (shared + noise).reshape(-1, 2)
        boot = PairedBootstrap(values, clusters, resamples=500, seed=trial)
        result = boot.difference(0, 1)
        covered += result.low <= 0 <= result.high
        p_values.append(result.p)
    assert 0.93 <= covered / trials <= 0.97
    assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.07
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


# --- The bootstrap's invariants ----------------------------------------------------------------

SCORES = st.one_of(st.sampled_from([0.0, 1.0]), st.integers(-9_999, 9_999).map(lambda k: k / 1_000))
TABLES = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(SCORES, SCORES, SCORES), min_size=n, max_size=n),
        st.lists(st.sampled_from("abcde"), min_size=n, max_size=n),
    )
)


def numbers(boot: PairedBootstrap, systems: list[int]) -> str:
    """Every number of three systems, to the last bit; text, because NaN is not NaN."""
    pairs = itertools.permutations(systems, 2)
    intervals = [boot.interval(s) for s in systems]
    return repr((boot.means[systems], intervals, [boot.difference(a, b) for a, b in pairs]))


@settings(max_examples=60, deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_order_of_items_and_systems_does_not_matter(
    table: tuple[list[tuple[float, ...]], list[str]], shuffle: random.Random
) -> None:
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
    assert two.difference(0, 1) == all_systems.difference(3, 31)
    assert two.interval(0) == all_systems.interval(3)
    assert two.interval(0) != PairedBootstrap(values, clusters, resamples=300, seed=2).interval(3)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_contrasts_are_paired_and_transitive(
    table: tuple[list[tuple[float, ...]], list[str]],
) -> None:
    a, b, c = np.array(table[0]).T
    # a - b and c - b as systems of their own: their contrast is a - c in every resample, or the
    # limits would not agree.
    values = np.column_stack([a, b, c, a - b, c - b])
    boot = PairedBootstrap(values, table[1], resamples=99, seed=1)
    direct, through_b = boot.difference(0, 2), boot.difference(3, 4)
    assert direct == pytest.approx(through_b, abs=1e-9, nan_ok=True)
    assert boot.interval(3)[1:] == pytest.approx(boot.difference(0, 1)[1:3], abs=1e-9, nan_ok=True)
    reverse = boot.difference(2, 0)
    assert (reverse.difference, reverse.p) == pytest.approx(
        (-direct.difference, direct.p), nan_ok=True
    )
    assert (reverse.low, reverse.high) == pytest.approx(
        (-direct.high, -direct.low), abs=1e-9, nan_ok=True
    )


@settings(max_examples=100, deadline=None)
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
    p = PairedBootstrap(values, clusters, resamples=99, seed=1).difference(0, 1).p
    rescaled = PairedBootstrap((values + offset) * unit, clusters, resamples=99, seed=1)
    assert rescaled.difference(0, 1).p == p


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


def test_identical_systems() -> None:
    values, clusters = clustered_scores(seed=10)
    boot = PairedBootstrap(values[:, [0, 1, 0]], clusters, resamples=500, seed=1)
    assert boot.difference(0, 2) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_equal_on_every_item() -> None:
    values, clusters = clustered_scores(seed=11)
    shifted = np.column_stack([values[:, 0] + 0.2, values[:, 0]])
    result = PairedBootstrap(shifted, clusters, resamples=999, seed=1).difference(0, 1)
    assert result == pytest.approx((0.2, 0.2, 0.2, 1 / 1_000))
    noise = np.tile([0.1 + 0.2, 0.3], (len(values), 1))  # differ by 6e-17
    assert PairedBootstrap(noise, clusters, resamples=999, seed=1).difference(0, 1).p == 1


def test_one_cluster_has_no_interval() -> None:
    boot = PairedBootstrap([[1.0, 0.0], [0.5, 0.5]], ["q", "q"], seed=1)
    assert (boot.n, boot.n_clusters) == (2, 1)
    assert boot.interval(0) == pytest.approx((0.75, math.nan, math.nan), nan_ok=True)
    expected = (0.5, math.nan, math.nan, math.nan)
    assert boot.difference(0, 1) == pytest.approx(expected, nan_ok=True)


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


def test_a_level_in_percent_is_refused() -> None:
    boot = PairedBootstrap([[0.0], [1.0]], ["a", "b"], resamples=10, seed=1)
    with pytest.raises(ValueError, match="level is 95"):
        boot.interval(0, level=95)


# --- Holm --------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # Sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1; the last may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested() -> None:
    adjusted = holm([math.nan, 0.01, 0.04, math.nan])
    assert adjusted == pytest.approx([math.nan, 0.02, 0.04, math.nan], nan_ok=True)
    assert holm([math.nan]) == pytest.approx([math.nan], nan_ok=True)


# --- Correlation -------------------------------------------------------------------------------


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


def test_limits_of_spearman_are_those_of_its_authors() -> None:
    # The example of ci.spear in statpsych, Bonett's own package for R.
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    found = spearman(x, y)
    assert (found.r, found.low, found.high) == pytest.approx((0.8699639, 0.5840951, 0.9638297))


@given(
    st.integers(4, 30).flatmap(
        lambda n: st.lists(st.tuples(SCORES, SCORES), min_size=n, max_size=n, unique=True)
    ),
    st.sampled_from([0.8, 0.95]),
)
@settings(deadline=None)
def test_pearson_equals_scipy(pairs: list[tuple[float, float]], level: float) -> None:
    x, y = np.array(pairs).T
    assume(np.ptp(x) > 0.01 and np.ptp(y) > 0.01)
    found, wanted = pearson(x, y, level), stats.pearsonr(x, y)
    assert (found.r, found.p, found.n) == pytest.approx(
        (wanted.statistic, wanted.pvalue, len(pairs)), abs=1e-12
    )
    if abs(found.r) < 1 - 1e-9:
        limits = wanted.confidence_interval(level)
        assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=1e-9)


@pytest.mark.parametrize("correlate", [spearman, pearson])
def test_limits_where_there_are_none(correlate: Any) -> None:
    perfect = correlate([1, 2, 3, 4], [2, 4, 6, 8])
    assert perfect.r == pytest.approx(1)
    assert math.isnan(perfect.low)  # [1, 1] would claim certainty from four points
    assert math.isnan(perfect.high)
    three = correlate([1, 2, 3], [1, 3, 2])
    assert three.r == pytest.approx(0.5)
    assert math.isnan(three.low)
    assert math.isnan(three.high)


@pytest.mark.parametrize("correlate", [spearman, pearson])
@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([], [])])
def test_where_a_correlation_is_undefined(correlate: Any, x: list[int], y: list[int]) -> None:
    expected = (*[math.nan] * 4, len(x))
    assert correlate(x, y) == pytest.approx(expected, nan_ok=True)
    assert correlate(y, x) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("correlate", [spearman, pearson])
def test_what_is_not_pairs_is_refused(correlate: Any) -> None:
    with pytest.raises(ValueError, match="x has 3 entries and y has 2"):
        correlate([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="y has 1 entries that are not finite, the first at 2"):
        correlate([1, 2, 3], [1, 2, math.nan])
    with pytest.raises(ValueError, match=r"x has the shape \(1, 2\)"):
        correlate([[1, 2]], [1, 2])
    with pytest.raises(ValueError, match="level is 95"):
        correlate([1, 2, 3, 4], [1, 3, 2, 4], level=95)


# --- Power -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "sd", "expected"),
    [(40, 0.3, 0.133), (100, 0.4, 0.112), (400, 0.5, 0.070), (2_655, 0.4, 0.022)],
)
def test_detectable_difference(n: int, sd: float, expected: float) -> None:
    sample = np.random.default_rng(14).normal(size=n)
    sample *= sd / sample.std(ddof=1)
    assert detectable_difference(sample) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.01)])
def test_a_t_test_has_the_stated_power(power: float, alpha: float) -> None:
    sample = np.random.default_rng(15).normal(size=1_000)
    effect = detectable_difference(sample, power, alpha) / sample.std(ddof=1)
    reference = TTestPower().power(effect, nobs=1_000, alpha=alpha)
    assert reference == pytest.approx(power, abs=0.003)


def test_detectable_difference_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="differences has 1 entries"):
        detectable_difference([0.1])
    with pytest.raises(ValueError, match="not finite, the first at 0"):
        detectable_difference([math.nan, 0.1])
    with pytest.raises(ValueError, match="power is 80"):
        detectable_difference([0.1, 0.2], power=80)
    with pytest.raises(ValueError, match="alpha is 0"):
        detectable_difference([0.1, 0.2], alpha=0)
