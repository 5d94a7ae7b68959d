"""Correlations over a few pairs, alone or pooled within groups, with limits and p."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from needlework.statistics.checks import Floats, check_count, check_share, finite_vector
from needlework.statistics.clusters import CHUNK, TIE, cluster_index

# 8! = 40,320 permutations are enumerated in milliseconds; beyond, the t approximation is good.
_EXACT = 8

Group = tuple[Floats, Floats]


class Correlation(NamedTuple):
    """A correlation over n pairs with its confidence limits and two-sided p."""

    r: float
    low: float
    high: float
    p: float
    n: int


def spearman(
    x: ArrayLike, y: ArrayLike, level: float = 0.95, *, resamples: int = 10_000, seed: int = 0
) -> Correlation:
    """Spearman's rank correlation of two sequences of n numbers; ties have their mean rank.

    p is two-sided: up to n = 8 the share of all n! permutations with an |r| at least as large,
    above from Student's t with n - 2 degrees of freedom (0 if |r| is 1). The limits are percentiles
    of r over `resamples` of the pairs, those left out in which x or y is constant; NaN if n < 4 or
    |r| is 1, where every resample has the same r and nothing can be told from them. r and p are
    NaN if n < 3 or if x or y is constant. The order of the pairs does not matter.

    Raises:
        ValueError: x and y are not one-dimensional and of one length, or have an entry that is
            not finite; `level` is not between 0 and 1; `resamples` is not positive.
    """
    first, second = _sorted(*_pairs(x, y))
    if not _correlated(first, second):
        return _undefined(len(first))
    result = stats.spearmanr(first, second)
    p = _permutation_p(first, second) if len(first) <= _EXACT else result.pvalue
    r = float(result.statistic)
    low, high = _limits([(first, second)], r, level, resamples, seed, ranked=True)
    return Correlation(r, low, high, float(p), len(first))


def pearson(
    x: ArrayLike, y: ArrayLike, level: float = 0.95, *, resamples: int = 10_000, seed: int = 0
) -> Correlation:
    """Pearson's correlation of two sequences of n numbers.

    p is two-sided, exact for normal pairs (scipy.stats.pearsonr). The limits, what is NaN, and the
    errors raised are those of `spearman`.
    """
    first, second = _sorted(*_pairs(x, y))
    if not _correlated(first, second):
        return _undefined(len(first))
    result = stats.pearsonr(first, second)
    r = float(result.statistic)
    low, high = _limits([(first, second)], r, level, resamples, seed, ranked=False)
    return Correlation(r, low, high, float(result.pvalue), len(first))


def within_groups(
    x: ArrayLike,
    y: ArrayLike,
    groups: Sequence[str],
    level: float = 0.95,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Correlation:
    """Spearman's correlation within groups, pooled: do higher x go with higher y in each group?

    x and y are ranked within each group of m pairs, ranks are divided by m + 1 and centred, and r
    is the correlation of all of them about 0; so differences between groups do not count, and a
    group counts by its pairs. p is two-sided, (c + 1) / (R + 1) over R = `resamples` random
    permutations of y within the groups. The limits are percentiles of r over resamples of the
    pairs within each group. Groups in which x or y is constant say nothing and are left out, of a
    resample too; n counts the pairs that are left. r and p are NaN where no group is left, limits
    where n < 4 or |r| is 1. The order of the pairs does not matter.

    Raises:
        ValueError: as `spearman`; the number of labels is not the number of pairs.
    """
    parts = _groups(*_pairs(x, y), groups)
    n = sum(len(a) for a, _ in parts)
    if n < 3:
        return _undefined(n)
    ranked = [(_scaled_ranks(a), _scaled_ranks(b)) for a, b in parts]
    products, of_x, of_y = (math.fsum(sums) for sums in zip(*map(_sums, ranked), strict=True))
    r = products / math.sqrt(of_x * of_y)
    low, high = _limits(parts, r, level, resamples, seed, ranked=True)
    random = np.random.default_rng(seed)
    permuted = np.zeros(resamples)
    for a, b in ranked:
        permuted += random.permuted(np.tile(b, (resamples, 1)), axis=1) @ a
    count = np.count_nonzero(np.abs(permuted) >= abs(products) - TIE)
    return Correlation(r, low, high, float((count + 1) / (resamples + 1)), n)


def _pairs(x: ArrayLike, y: ArrayLike) -> Group:
    first, second = finite_vector("x", x), finite_vector("y", y)
    if len(first) != len(second):
        raise ValueError(f"x has {len(first)} entries and y has {len(second)}; expected pairs")
    return first, second


def _sorted(x: Floats, y: Floats) -> Group:
    """The pairs in one order, so that the order given can show in no digit and no resample."""
    order = np.lexsort((y, x))
    return x[order], y[order]


def _groups(x: Floats, y: Floats, labels: Sequence[str]) -> list[Group]:
    """The pairs of each group in which both x and y vary, in the order of the labels."""
    index = cluster_index(labels, len(x), "group")
    groups = [_sorted(x[index == i], y[index == i]) for i in range(index.max(initial=-1) + 1)]
    return [(a, b) for a, b in groups if np.ptp(a) > 0 and np.ptp(b) > 0]


def _undefined(n: int) -> Correlation:
    return Correlation(math.nan, math.nan, math.nan, math.nan, n)


def _correlated(x: Floats, y: Floats) -> bool:
    return len(x) >= 3 and bool(np.ptp(x) > 0 and np.ptp(y) > 0)


def _permutation_p(x: Floats, y: Floats) -> float:
    # Doubled and centred, mean ranks are integers: |rho| is compared without rounding.
    a, b = ((2 * stats.rankdata(v) - len(v) - 1).astype(np.int64) for v in (x, y))
    permuted = np.array(list(itertools.permutations(b))) @ a
    return float(np.mean(np.abs(permuted) >= abs(a @ b)))


def _limits(
    parts: list[Group], r: float, level: float, resamples: int, seed: int, *, ranked: bool
) -> tuple[float, float]:
    """Percentiles of the pooled correlation over resamples of the pairs of each group."""
    check_share("level", level)
    check_count("resamples", resamples)
    n = sum(len(x) for x, _ in parts)
    if n < 4 or 1 - abs(r) < 1e-12:
        return math.nan, math.nan
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // n)
    found = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        sums = np.zeros((3, rows))
        for x, y in parts:
            drawn = random.integers(len(x), size=(rows, len(x)))
            sums += _resampled_sums(x[drawn], y[drawn], ranked)
        products, of_x, of_y = sums[:, (sums[1:] > 0).all(axis=0)]
        found.append(products / np.sqrt(of_x * of_y))
    resampled = np.concatenate(found)
    if not len(resampled):
        return math.nan, math.nan
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_sums(x: Floats, y: Floats, ranked: bool) -> Floats:
    """The sums of `_sums` of each row, shape (3, rows); 0 where x or y is constant."""
    varies = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0)
    if ranked:
        x, y = _scaled_ranks(x), _scaled_ranks(y)
    else:
        x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
    return np.where(varies, _sums((x, y)), 0.0)


def _scaled_ranks(values: Floats) -> Floats:
    """Ranks along the last axis, over their number plus 1, about 0."""
    return np.asarray(
        stats.rankdata(values, axis=-1) / (values.shape[-1] + 1) - 0.5, dtype=np.float64
    )


def _sums(group: Group) -> Floats:
    """The sums of products of x and y, of squares of x and of squares of y, along the last axis."""
    x, y = group
    return np.stack([(x * y).sum(axis=-1), (x * x).sum(axis=-1), (y * y).sum(axis=-1)])
