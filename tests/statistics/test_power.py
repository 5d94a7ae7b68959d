"""The detectable difference against a table and a t test, and the spread over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from needlework.statistics import PairedBootstrap, detectable_difference, seed_spread
from tests.statistics.made import own_cluster


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


def test_the_bootstrap_has_the_stated_power() -> None:
    # 1,000 studies of 200 items whose true difference is the detectable one.
    random = np.random.default_rng(16)
    differences = random.normal(size=(200, 1_000))
    differences += 2.8016 / math.sqrt(200)
    values = np.column_stack([differences, np.zeros(200)])
    boot = PairedBootstrap(values, own_cluster(200), resamples=500, seed=17)
    seen = [boot.difference(study, 1_000).p <= 0.05 for study in range(1_000)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.04)
    assert detectable_difference(differences[:, 0] / differences[:, 0].std(ddof=1)) == (
        pytest.approx(2.8016 / math.sqrt(200), abs=1e-4)
    )


def test_detectable_difference_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="differences has 1 entries"):
        detectable_difference([0.1])
    with pytest.raises(ValueError, match="not finite, the first at 0"):
        detectable_difference([math.nan, 0.1])
    with pytest.raises(ValueError, match="power is 80"):
        detectable_difference([0.1, 0.2], power=80)
    with pytest.raises(ValueError, match="alpha is 0"):
        detectable_difference([0.1, 0.2], alpha=0)


def test_seed_spread_by_hand() -> None:
    # Variances 0.01 and 0.0004 around the means 0.5 and 0.32.
    assert seed_spread([0.4, 0.5, 0.6], [0.3, 0.32, 0.34]) == pytest.approx(math.sqrt(0.0104))
    assert seed_spread([0.4, 0.5, 0.6], None) == pytest.approx(0.1)
    assert seed_spread(None, [0.3, 0.32, 0.34]) == pytest.approx(0.02)
    assert seed_spread(None, None) == 0


def test_seed_spread_is_that_of_two_trainings() -> None:
    a, b = np.random.default_rng(18).normal(size=(2, 4_000)) * [[0.03], [0.04]]
    assert seed_spread(a, b) == pytest.approx(np.std(a - b), rel=0.05)


def test_a_single_seed_has_no_spread() -> None:
    for a, b in [([0.4], [0.3, 0.5]), ([0.3, 0.5], [0.4]), ([0.4], None), ([], [0.1, 0.2])]:
        assert math.isnan(seed_spread(a, b))
    with pytest.raises(ValueError, match="b has 1 entries that are not finite"):
        seed_spread(None, [0.1, math.nan])
