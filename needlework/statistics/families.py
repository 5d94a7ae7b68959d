"""Adjusted p of a family of tests: Holm for planned ones, Benjamini-Hochberg for explored ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from needlework.statistics.checks import Floats


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p of a planned family of contrasts (Holm 1979), in the order given.

    Bounds the chance of any false finding in the family. NaN, a test that could not be made, stays
    NaN and does not count in the family.
    """
    return _adjusted(p_values, _holm)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p of an exploratory family (Benjamini and Hochberg 1995), in the order given.

    Bounds the expected share of false findings among all findings. NaN stays NaN and does not
    count in the family.
    """
    return _adjusted(p_values, stats.false_discovery_control)


def _holm(p_values: Floats) -> Floats:
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _adjusted(p_values: Sequence[float], adjust: Callable[[Floats], Floats]) -> list[float]:
    adjusted = np.array(p_values, dtype=np.float64)
    made = ~np.isnan(adjusted)
    if made.any():
        adjusted[made] = adjust(adjusted[made])
    return [float(p) for p in adjusted]
