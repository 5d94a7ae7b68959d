"""What a comparison could have seen: the detectable difference and the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from needlework.statistics.checks import check_share, finite_vector


def detectable_difference(differences: ArrayLike, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true mean difference that a two-sided test at `alpha` sees with `power`.

    (z(1 - alpha / 2) + z(power)) * sd / sqrt(n), the normal approximation (Miller 2024,
    arXiv 2411.00640, without its term for noise within an item), in the unit of the scores.

    Args:
        differences: paired differences of n independent units; where items are clustered, the
            mean difference of each cluster.
        power: probability of seeing the difference.
        alpha: probability of seeing one where there is none.

    Raises:
        ValueError: fewer than two differences, or one that is not finite; `power` or `alpha` is
            not between 0 and 1.
    """
    check_share("power", power)
    check_share("alpha", alpha)
    sample = finite_vector("differences", differences)
    if len(sample) < 2:
        raise ValueError(f"differences has {len(sample)} entries; a spread takes at least 2")
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return float(z * sample.std(ddof=1) / math.sqrt(len(sample)))


def seed_spread(a: Sequence[float] | None, b: Sequence[float] | None) -> float:
    """The standard deviation of a difference between two single trainings of two systems.

    sqrt(var a + var b), variances over training seeds with n - 1. A difference between two systems
    that is not far above it may be one of seeds.

    Args:
        a: the mean score of each training seed; None for a system that is not trained, which
            varies with no seed.
        b: those of the other system.

    Returns:
        The spread in the unit of the scores; NaN where a trained system has fewer than two seeds.

    Raises:
        ValueError: a mean is not finite.
    """
    return math.sqrt(_variance("a", a) + _variance("b", b))


def _variance(name: str, means: Sequence[float] | None) -> float:
    if means is None:
        return 0.0
    sample = finite_vector(name, means)
    return float(np.var(sample, ddof=1)) if len(sample) > 1 else math.nan
