"""Ranks of systems, and the share of resamples in which each is the best."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from needlework.statistics import PairedBootstrap, cluster_weights
from tests.statistics.made import TABLES, Table, own_cluster


def test_ranks_match_every_resample_ranked_by_scipy() -> None:
    values = np.random.default_rng(1).integers(0, 2, size=(30, 4)).astype(float)
    labels = [f"item{i:02}" for i in range(30)]
    found = PairedBootstrap(values, labels, resamples=2_000, seed=2).ranks([3, 0, 1], 0.9)
    chosen = values[:, [3, 0, 1]]
    means = np.concatenate(list(cluster_weights(30, 2_000, seed=2))) @ chosen
    ranks = stats.rankdata(-means, axis=1)
    assert found.rank == stats.rankdata(-chosen.sum(axis=0)).tolist()
    ordered = np.sort(ranks, axis=0)
    assert found.low == ordered[99].tolist()  # 5 % of 1,999 steps is 99.95
    assert found.high == ordered[1_900].tolist()
    top = means == means.max(axis=1, keepdims=True)
    assert found.best == pytest.approx((top / top.sum(axis=1, keepdims=True)).mean(axis=0))


def test_one_system_is_always_the_best() -> None:
    values = np.random.default_rng(3).normal([2.0, 0.0, 0.0], 0.5, size=(100, 3))
    found = PairedBootstrap(values, own_cluster(100), resamples=500, seed=1).ranks([0, 1, 2])
    assert (found.rank[0], found.low[0], found.high[0], found.best[0]) == (1, 1, 1, 1)
    assert sorted(found.rank[1:]) == [2, 3]
    assert (found.low[1:], found.high[1:], found.best[1:]) == ([2, 2], [3, 3], [0, 0])


def test_identical_systems_share() -> None:
    values = np.random.default_rng(4).normal(size=(20, 1)) * [1, 1, 0] - [0, 0, 9]
    found = PairedBootstrap(values, own_cluster(20), resamples=99, seed=1).ranks([0, 1, 2])
    assert found == ([1.5, 1.5, 3], [1.5, 1.5, 3], [1.5, 1.5, 3], [0.5, 0.5, 0])


def test_one_cluster_ranks_without_limits() -> None:
    found = PairedBootstrap([[0.2, 0.9]], ["a"], seed=1).ranks([0, 1])
    assert found.rank == [2, 1]
    assert all(map(math.isnan, [*found.low, *found.high, *found.best]))


@settings(max_examples=60)
@given(TABLES)
def test_ranks_and_shares_add_up(table: Table) -> None:
    boot = PairedBootstrap(table[0], table[1], resamples=50, seed=1)
    found = boot.ranks([0, 1, 2])
    assert sum(found.rank) == 6
    if boot.n_clusters > 1:
        assert sum(found.best) == pytest.approx(1)
        for low, high in zip(found.low, found.high, strict=True):
            assert 1 <= low <= high <= 3
