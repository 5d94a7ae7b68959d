"""Adjusted p values by hand, by statsmodels, and their order."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from needlework.statistics import benjamini_hochberg, holm

Adjust = Callable[[list[float]], list[float]]


def test_holm_by_hand() -> None:
    # Sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1; the last may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_benjamini_hochberg_by_hand() -> None:
    # Sorted 0.005 x 4/1, 0.01 x 4/2, 0.03 x 4/3, 0.04 x 4/4, none above the next.
    adjusted = benjamini_hochberg([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_was_not_tested_is_left_out(adjust: Adjust) -> None:
    adjusted = adjust([math.nan, 0.01, 0.04, math.nan])
    assert adjusted == pytest.approx([math.nan, 0.02, 0.04, math.nan], nan_ok=True)
    assert adjust([math.nan]) == pytest.approx([math.nan], nan_ok=True)


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize(("adjust", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p_equal_those_of_statsmodels(adjust: Adjust, method: str, n: int) -> None:
    p_values = np.random.default_rng(n).beta(0.3, 1, size=n).round(2)  # many tie
    assert adjust(p_values.tolist()) == pytest.approx(multipletests(p_values, method=method)[1])


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_adjusted_p_keep_their_order(p_values: list[float], shuffle: random.Random) -> None:
    order = shuffle.sample(range(len(p_values)), len(p_values))
    for adjust in (holm, benjamini_hochberg):
        adjusted = np.array(adjust(p_values))
        assert (adjusted >= np.array(p_values) * (1 - 1e-12)).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()
        assert adjust([p_values[i] for i in order]) == adjusted[order].tolist()
    assert (np.array(holm(p_values)) >= np.array(benjamini_hochberg(p_values)) - 1e-12).all()
