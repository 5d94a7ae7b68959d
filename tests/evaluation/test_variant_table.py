"""Scores of variants over seeds and their ranks, done again by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from needlework.evaluation.variant_table import (
    Systems,
    averaged,
    synthetic_variants,
    variant_rows,
)
from needlework.statistics import PairedBootstrap, cluster_weights

_NAMES = ["untuned", "real", "high_low", "symbolic", "low_low"]
_RUNS = ["untuned", "real", "real", "high_low", "symbolic", "symbolic", "symbolic", "low_low"]
_ITEMS = 30
_CLUSTERS = [f"c{i // 2:02d}" for i in range(_ITEMS)]


@pytest.fixture
def values() -> Any:
    """Scores of the runs, shape (items, runs)."""
    rng = np.random.default_rng(4)
    return rng.random((_ITEMS, len(_RUNS))) + 0.03 * np.arange(len(_RUNS))


@pytest.fixture
def systems(values: Any) -> Systems:
    """The variants, beside two columns that are not theirs."""
    names, means = averaged(values, _RUNS)
    columns = np.hstack([np.zeros((_ITEMS, 2)), means])
    seeds = [[float(values[:, i].mean()) for i, run in enumerate(_RUNS) if run == name]
             for name in names]  # fmt: skip
    return Systems(names, means, seeds, PairedBootstrap(columns, _CLUSTERS, resamples=300, seed=1),
                   first=2)  # fmt: skip


def _by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in rows}


def test_items_are_averaged_over_seeds_in_the_order_of_the_study(values: Any) -> None:
    names, means = averaged(values, _RUNS)
    assert names == _NAMES
    np.testing.assert_allclose(means[:, 3], (values[:, 4] + values[:, 5] + values[:, 6]) / 3)
    np.testing.assert_array_equal(means[:, 4], values[:, 7])


def test_what_holds_real_data_or_is_trained_otherwise_is_not_synthetic() -> None:
    names = ["untuned", "real", "real_limited", "multidoc_qa", "high_low", "high_low", "symbolic",
             "real:0.5+symbolic:0.5", "low_low:0.5+symbolic:0.5", "symbolic-short"]  # fmt: skip
    assert synthetic_variants(names, ["symbolic-short"]) == [
        "high_low", "symbolic", "low_low:0.5+symbolic:0.5"
    ]  # fmt: skip


def test_means_limits_and_the_spread_over_seeds(systems: Systems, values: Any) -> None:
    rows = _by_name(variant_rows(systems, [], 0.9))
    assert list(rows) == _NAMES
    row = rows["symbolic"]
    single = values[:, 4:7].mean(axis=0)
    assert row["mean"] == pytest.approx(single.mean())
    assert row["mean"] == pytest.approx(systems.mean("symbolic"))
    assert row["seeds"] == 3
    assert row["seed_sd"] == pytest.approx(math.sqrt(((single - single.mean()) ** 2).sum() / 2))
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((min(single), max(single)))
    assert (row["n"], row["n_clusters"]) == (_ITEMS, 15)
    alone = PairedBootstrap(values[:, 4:7].mean(axis=1)[:, None], _CLUSTERS, resamples=300, seed=1)
    assert (row["mean"], row["low"], row["high"]) == alone.interval(0, 0.9)
    assert (row["bca_low"], row["bca_high"]) == alone.bca(0, 0.9)
    assert row["low"] < row["mean"] < row["high"]


def test_a_single_seed_has_no_spread(systems: Systems, values: Any) -> None:
    row = _by_name(variant_rows(systems, [], 0.9))["low_low"]
    assert "seed_sd" not in row
    assert row["seed_low"] == row["seed_high"] == pytest.approx(values[:, 7].mean())


def test_ranks_are_among_the_synthetic_variants(systems: Systems) -> None:
    """Against ranks counted in every resample."""
    synthetic = ["high_low", "symbolic", "low_low"]
    rows = _by_name(variant_rows(systems, synthetic, 0.95))
    assert all("rank" not in rows[name] for name in ("untuned", "real"))
    own = systems.values[:, 2:].reshape(15, 2, 3).mean(axis=1)
    drawn = np.concatenate(list(cluster_weights(15, 300, 1))) @ own / 15
    place = (-drawn).argsort(axis=1).argsort(axis=1) + 1  # no ties among random numbers
    for i, name in enumerate(synthetic):
        row = rows[name]
        assert row["rank"] == 1 + sum(own[:, j].mean() > own[:, i].mean() for j in range(3))
        assert row["best"] == pytest.approx(np.mean(place[:, i] == 1))
        assert row["rank_low"] == np.quantile(place[:, i], 0.025, method="lower")
        assert row["rank_high"] == np.quantile(place[:, i], 0.975, method="higher")
    assert sum(rows[name]["best"] for name in synthetic) == pytest.approx(1)
    assert 0 < rows["high_low"]["best"] < 1


def test_one_synthetic_variant_has_no_rank(systems: Systems) -> None:
    assert all("rank" not in row for row in variant_rows(systems, ["symbolic"], 0.95))
