"""The paired bootstrap against scipy, statsmodels, sacrebleu, and plain enumeration."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sacrebleu import significance
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from needlework.statistics import PairedBootstrap, cluster_weights, sign_flip
from tests.statistics.made import Floats, clustered_scores, own_cluster


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_limits_match_scipy_where_items_are_independent(method: str) -> None:
    # So skewed that BCa limits are half a standard error away from the percentiles.
    a, b = np.random.default_rng(1).lognormal(sigma=1.5, size=(2, 40))
    boot = PairedBootstrap(np.column_stack([a, b]), own_cluster(40), resamples=20_000, seed=2)
    ours = boot.difference(0, 1)
    found = {
        "percentile": [(ours.low, ours.high), boot.interval(0)[1:]],
        "BCa": [(ours.bca_low, ours.bca_high), boot.bca(0)],
    }
    assert np.ptp([pair[0][1] for pair in found.values()]) > 0
    for limits, data, statistic in zip(
        found[method], [(a, b), (a,)], [paired_mean_difference, np.mean], strict=True
    ):
        theirs = stats.bootstrap(
            data, statistic, paired=True, method=method, n_resamples=20_000,
            rng=np.random.default_rng(3),
        )  # fmt: skip
        tolerance = 0.1 * theirs.standard_error  # Monte Carlo error of both limits: about 0.04
        assert limits == pytest.approx(tuple(theirs.confidence_interval), abs=tolerance)
    assert abs(boot.bca(0)[1] - boot.interval(0).high) > 0.3 * theirs.standard_error


def paired_mean_difference(a: Floats, b: Floats, axis: int = -1) -> Any:
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_limits_of_clusters_match_scipy_on_sums_and_sizes(level: float) -> None:
    random = np.random.default_rng(4)
    clusters = [f"c{c:02}" for c in range(30) for _ in range(1 + c % 6)]
    index = np.array([int(label[1:]) for label in clusters])
    values = random.lognormal(sigma=1.2, size=30)[index] + random.exponential(size=len(clusters))
    boot = PairedBootstrap(values[:, None], clusters, resamples=20_000, seed=5)
    sums, sizes = np.bincount(index, values), np.bincount(index).astype(float)
    for method, ours in [("percentile", boot.interval(0, level)[1:]), ("BCa", boot.bca(0, level))]:
        theirs = stats.bootstrap(
            (sums, sizes), lambda s, n, axis=-1: s.sum(axis=axis) / n.sum(axis=axis), paired=True,
            vectorized=True, method=method, n_resamples=20_000, confidence_level=level,
            rng=np.random.default_rng(6),
        )  # fmt: skip
        tolerance = 0.1 * theirs.standard_error
        assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=tolerance)


def test_bca_of_scores_that_tie_matches_scipy() -> None:
    # 37 of 40 right: a resampled mean ties with the mean in a fourth of the resamples.
    right = np.arange(40) < 37
    ours = PairedBootstrap(right[:, None], own_cluster(40), resamples=20_000, seed=2)
    theirs = stats.bootstrap(
        (right.astype(float),), np.mean, method="BCa", n_resamples=20_000,
        rng=np.random.default_rng(3),
    )  # fmt: skip
    assert ours.bca(0) == pytest.approx(tuple(theirs.confidence_interval))
    assert ours.bca(0) != pytest.approx(ours.interval(0)[1:])


def test_bca_of_unequal_clusters_by_hand() -> None:
    # Sizes from 1 to 40, so that it matters by how many items a mean without a cluster is divided.
    scores = np.random.default_rng(20)
    sizes = np.array([1, 2, 40, 3, 25, 1, 12, 2])
    index = np.repeat(np.arange(8), sizes)
    values = scores.exponential(size=8)[index] + scores.normal(size=len(index))
    boot = PairedBootstrap(values[:, None], [f"c{c}" for c in index], resamples=999, seed=21)
    sums, mean = np.bincount(index, values), values.mean()
    weights = np.concatenate(list(cluster_weights(8, 999, seed=21)))
    resampled = weights @ sums / (weights @ sizes)
    without = np.array([values[index != c].mean() for c in range(8)])
    spread = without.mean() - without
    acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    bias = stats.norm.ppf(np.mean(resampled < mean))
    shares = []
    for z in bias + stats.norm.ppf([0.05, 0.95]):
        shares.append(stats.norm.cdf(bias + z / (1 - acceleration * z)))
    assert boot.bca(0, level=0.9) == pytest.approx(np.quantile(resampled, shares))


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
    margin = abs(observed) + 0.3
    above = (sum(x - observed >= observed + margin for x in resampled) + 1) / 4_001
    below = (sum(x - observed <= observed - margin for x in resampled) + 1) / 4_001
    boot = PairedBootstrap(values, clusters, seed=6)
    ours = boot.difference(0, 1, level=0.9)
    assert (boot.n, boot.n_clusters) == (len(values), 30)
    assert ours.difference == pytest.approx(observed)
    assert (ours.low, ours.high) == pytest.approx(
        np.quantile(resampled, [0.05, 0.95]), abs=0.1 * np.std(resampled)
    )
    assert ours.p == pytest.approx(p, abs=0.03)
    assert boot.equivalence(0, 1, margin) == pytest.approx(max(above, below), abs=0.02)


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


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.15, 0.2])
def test_equivalence_matches_two_t_tests(margin: float) -> None:
    a, b = np.random.default_rng(8).normal(size=(2, 600))
    a, b = 0.5 * a + b + 0.02, b  # a difference with the standard deviation 0.5
    theirs = ttost_paired(a, b, -margin, margin)[0]
    boot = PairedBootstrap(np.column_stack([a, b]), own_cluster(600), seed=9)
    assert boot.equivalence(0, 1, margin) == pytest.approx(theirs, abs=0.015)
    assert boot.equivalence(1, 0, margin) == boot.equivalence(0, 1, margin)


class MeanMetric:
    """What sacrebleu asks of a metric, for scores that are given: their mean."""

    def _extract_corpus_statistics(self, scores: Sequence[float], _: None) -> Floats:
        return np.array([[score, 1.0] for score in scores])

    def _aggregate_and_compute(self, rows: Floats) -> SimpleNamespace:
        return self._compute_score_from_stats(np.sum(rows, axis=0))

    def _compute_score_from_stats(self, totals: Floats) -> SimpleNamespace:
        return SimpleNamespace(score=totals[0] / totals[1])


def by_sacrebleu(test: Any, a: Floats, b: Floats, samples: int) -> significance.Result:
    metric = MeanMetric()
    rows = metric._extract_corpus_statistics(b, None)
    baseline = {"mean": (rows, metric._aggregate_and_compute(rows))}
    return test(baseline, "a", a, None, {"mean": metric}, n_samples=samples, seed=12)[1]["mean"]


@pytest.mark.parametrize("gain", [0.04, 0.06, 0.08])
def test_matches_sacrebleu(gain: float) -> None:
    """Its interval, its paired bootstrap and its approximate randomisation, on the same scores.

    Its bootstrap counts |d*| - mean |d*| > |d|. For a difference some standard errors away from 0
    this is one tail of the centred d*, half of a two-sided p.
    """
    scores = np.random.default_rng(10)
    easy = scores.beta(2, 2, size=300)
    a, b = (np.clip(easy + scores.normal(0, 0.3, size=300), 0, 1) for _ in range(2))
    a += gain - np.mean(a - b)
    boot = PairedBootstrap(np.column_stack([a, b]), own_cluster(300), seed=11)
    theirs = by_sacrebleu(significance._paired_bs_test, a, b, 10_000)
    mean, low, high = boot.interval(0)
    assert (mean, (high - low) / 2) == pytest.approx((theirs.score, theirs.ci), abs=0.001)
    assert boot.difference(0, 1).p == pytest.approx(2 * theirs.p_value, rel=0.2, abs=0.003)
    shuffled = by_sacrebleu(significance._paired_ar_test, a, b, 10_000)
    flipped = sign_flip((a - b)[:, None], own_cluster(300), seed=13)
    assert flipped[0] == pytest.approx(shuffled.p_value, rel=0.2, abs=0.003)
