"""What the intervals and tests promise, in simulation: coverage, and false positives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from needlework.statistics import Difference, PairedBootstrap, sign_flip
from tests.statistics.made import Floats

TRIALS = 1_000  # of a batch, which shares its resamples
CLUSTERS = 200


class Simulated(NamedTuple):
    """What was found in all trials: the interval of each difference, whose truth is 0, and p."""

    differences: list[Difference]
    flipped: Floats

    def covered(self, low: str, high: str) -> float:
        """The share of intervals that hold the truth."""
        return float(np.mean([getattr(d, low) <= 0 <= getattr(d, high) for d in self.differences]))

    @property
    def p(self) -> Floats:
        """p of the bootstrap, shape (trials,)."""
        return np.array([d.p for d in self.differences])


def null_differences(
    random: np.random.Generator, per_cluster: int, trials: int, *, right: bool
) -> Floats:
    """Differences of two systems that are alike, shape (items, trials).

    Scores are normal with an intra-cluster correlation of 0.5, where a bootstrap of six items per
    cluster covers 70 %; `right` makes them 0 or 1, 80 % right.
    """
    shared = random.normal(size=(CLUSTERS, 1, trials, 2))
    scores = shared + random.normal(size=(CLUSTERS, per_cluster, trials, 2))
    if right:
        scores = (scores / np.sqrt(2) < stats.norm.ppf(0.8)).astype(float)
    return (scores[..., 0] - scores[..., 1]).reshape(-1, trials)


def simulate(per_cluster: int, *, batches: int, right: bool = False) -> Simulated:
    random = np.random.default_rng(100 + per_cluster)
    clusters = [f"c{c}" for c in range(CLUSTERS) for _ in range(per_cluster)]
    differences, flipped = [], []
    for batch in range(batches):
        found = null_differences(random, per_cluster, TRIALS, right=right)
        values = np.column_stack([found, np.zeros(len(found))])
        boot = PairedBootstrap(values, clusters, resamples=1_000, seed=batch)
        differences += [boot.difference(trial, TRIALS) for trial in range(TRIALS)]
        flipped.append(sign_flip(found, clusters, permutations=1_000, seed=batch))
    return Simulated(differences, np.concatenate(flipped))


@pytest.mark.parametrize("per_cluster", [1, 6])
def test_coverage_and_false_positives(per_cluster: int) -> None:
    found = simulate(per_cluster, batches=4)
    assert 0.93 <= found.covered("low", "high") <= 0.97
    assert 0.93 <= found.covered("bca_low", "bca_high") <= 0.97
    for p in (found.p, found.flipped):
        assert 0.04 <= np.mean(p <= 0.05) <= 0.06
        # Ten equal classes: p is uniform where nothing differs.
        counts = np.histogram(p, bins=10, range=(0, 1))[0]
        assert counts == pytest.approx(np.full(10, len(p) / 10), rel=0.2)


@pytest.mark.parametrize("per_cluster", [1, 6])
def test_coverage_and_false_positives_of_right_and_wrong_answers(per_cluster: int) -> None:
    found = simulate(per_cluster, batches=2, right=True)
    assert 0.93 <= found.covered("low", "high") <= 0.97
    assert 0.93 <= found.covered("bca_low", "bca_high") <= 0.97
    # Many differences tie, and ties count against a finding: somewhat fewer than 5 %.
    for p in (found.p, found.flipped):
        assert 0.02 <= np.mean(p <= 0.05) <= 0.06


def test_bca_covers_a_skewed_mean_better() -> None:
    # Lognormal, 60 items: percentile limits are too low, so that the mean is above too often.
    scores = np.random.default_rng(7).lognormal(size=(60, 2_000))
    truth = np.exp(0.5)
    boot = PairedBootstrap(scores, [f"i{i}" for i in range(60)], resamples=1_000, seed=8)
    percentile = np.array([boot.interval(trial)[1:] for trial in range(2_000)])
    corrected = np.array([boot.bca(trial) for trial in range(2_000)])
    above = [np.mean(limits[:, 1] < truth) for limits in (percentile, corrected)]
    assert above[1] < 0.8 * above[0]
    covered = [
        np.mean((lim[:, 0] <= truth) & (truth <= lim[:, 1])) for lim in (percentile, corrected)
    ]
    assert covered[1] > covered[0]


def test_items_taken_for_independent_are_far_too_sure() -> None:
    # Why clusters are resampled, and whole clusters flipped.
    differences = null_differences(np.random.default_rng(9), 6, 500, right=False)
    alone = [f"i{i}" for i in range(len(differences))]
    values = np.column_stack([differences, np.zeros(len(differences))])
    boot = PairedBootstrap(values, alone, resamples=500, seed=10)
    assert np.mean([boot.difference(trial, 500).p <= 0.05 for trial in range(500)]) > 0.2
    assert np.mean(sign_flip(differences, alone, permutations=500, seed=10) <= 0.05) > 0.2
