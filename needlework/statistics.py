"""Clustered paired bootstrap, Holm's correction, correlation, power: arrays in, numbers out.

The bootstrap resamples whole clusters, because items that share a source (one question at several
gold positions) are not independent; a naive item bootstrap is then far too narrow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

Floats = NDArray[np.float64]

# Drawn cluster indices held at a time: a few buffers of 8 MB instead of resamples x clusters.
_CHUNK = 1_000_000
# Deviations this close to |d|, relative to the scores, tie with it: far above rounding (about
# 1e-13), far below what any score resolves.
_TIE = 1e-10
# 8! = 40,320 permutations are enumerated in milliseconds; beyond, the t approximation is good.
_EXACT_CORRELATION = 8


class Interval(NamedTuple):
    """A mean with its confidence limits; NaN limits where no interval exists."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean paired difference with its confidence limits and two-sided p."""

    difference: float
    low: float
    high: float
    p: float


class Correlation(NamedTuple):
    """A correlation over n pairs with its confidence limits and two-sided p."""

    r: float
    low: float
    high: float
    p: float
    n: int


class PairedBootstrap:
    """Means of several systems on the same items, resampled together by cluster.

    Clusters are drawn with replacement, as many as there are (multinomial weights). A resampled
    mean is the ratio of weighted cluster sums to weighted cluster sizes. All systems share the
    weights, so every contrast is paired, and (a - b) + (b - c) = a - c within each resample.

    The same seed gives the same numbers to the last bit, whatever the order of the items, the
    other systems beside the one asked for, and the number of threads. With a single cluster
    nothing varies between resamples: limits and p are NaN.

    Attributes:
        n: number of items.
        n_clusters: number of clusters.
        means: the mean of each system over the items, shape (systems,).
    """

    def __init__(
        self, values: ArrayLike, clusters: Sequence[str], *, resamples: int = 10_000, seed: int
    ) -> None:
        """Draw the resamples.

        Args:
            values: scores, shape (items, systems).
            clusters: the label of each item's cluster. Labels are sorted before drawing.
            resamples: number of resamples R; the smallest possible p is 1 / (R + 1).
            seed: seed of the draws.

        Raises:
            ValueError: `values` is not two-dimensional, is empty or has an entry that is not
                finite; the number of labels is not the number of items; a label is missing;
                `resamples` is not positive.
            TypeError: the labels are of types that cannot be sorted together.
        """
        scores = _checked_scores(values, clusters)
        if resamples < 1:
            raise ValueError(f"resamples is {resamples}; it takes at least 1 (10,000 is usual)")
        labels = {label: i for i, label in enumerate(sorted(set(clusters)))}
        index = np.array([labels[label] for label in clusters])
        self.n = len(scores)
        self.n_clusters = len(labels)
        # fsum is exact, so that the order of the items cannot show in the last bit.
        self.means: Floats = np.array([math.fsum(column) / self.n for column in scores.T])
        # Sums of deviations rather than of scores: constant scores then give no rounding noise.
        sums = _cluster_sums(scores - self.means, index)
        self._deviations = _resampled_means(sums, np.bincount(index), resamples, seed)
        self._largest: Floats = np.abs(scores).max(axis=0)

    def interval(self, system: int, level: float = 0.95) -> Interval:
        """The mean of a system (its column in `values`) with its percentile interval.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        return self._interval(float(self.means[system]), self._deviations[:, system], level)

    def difference(self, a: int, b: int, level: float = 0.95) -> Difference:
        """The paired difference a - b of two systems, with its percentile interval and p.

        p = (c + 1) / (R + 1), where c counts the resampled differences d* with |d* - d| >= |d|:
        centred, two-sided (Berg-Kirkpatrick, Burkett and Klein 2012, section 2; the + 1 keeps p
        above 0). Equality is judged with a tolerance, because scores on a grid (0 or 1) tie often
        and rounding must not decide. Hence a difference that is the same on every item has
        p = 1 / (R + 1), and p = 1 if it is 0 or rounding noise.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        difference = float(self.means[a] - self.means[b])
        deviations = self._deviations[:, a] - self._deviations[:, b]
        _, low, high = self._interval(difference, deviations, level)
        if self.n_clusters == 1:
            return Difference(difference, low, high, math.nan)
        tolerance = _TIE * max(self._largest[a], self._largest[b])
        count = np.count_nonzero(np.abs(deviations) >= abs(difference) - tolerance)
        return Difference(difference, low, high, float((count + 1) / (len(deviations) + 1)))

    def _interval(self, centre: float, deviations: Floats, level: float) -> Interval:
        _check_share("level", level)
        if self.n_clusters == 1:
            return Interval(centre, math.nan, math.nan)
        low, high = centre + np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
        return Interval(centre, float(low), float(high))


def _checked_scores(values: ArrayLike, clusters: Sequence[str]) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(
            f"values has the shape {scores.shape}; expected (items, systems), at least one of each"
        )
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        item, system = bad[0]
        raise ValueError(
            f"values has {len(bad)} entries that are not finite, the first at item {item}, system "
            f"{system}: {scores[item, system]}. Score every item for every system"
        )
    if len(clusters) != len(scores):
        raise ValueError(
            f"clusters has {len(clusters)} labels for {len(scores)} items; expected one per item"
        )
    for item, label in enumerate(clusters):
        if label is None or label != label:  # NaN, as a table gives for an empty cell
            raise ValueError(f"item {item} has the cluster {label}; expected a label")
    return scores


def _cluster_sums(scores: Floats, index: NDArray[np.intp]) -> Floats:
    """The exactly rounded sum of each cluster and system, shape (clusters, systems)."""
    order = np.argsort(index, kind="stable")
    groups = np.split(scores[order], np.flatnonzero(np.diff(index[order])) + 1)
    return np.array([[math.fsum(column) for column in group.T] for group in groups])


def _resampled_means(sums: Floats, sizes: NDArray[np.intp], resamples: int, seed: int) -> Floats:
    """Weighted cluster sums over weighted cluster sizes, shape (resamples, systems)."""
    table = np.column_stack([_on_exact_grid(sums), sizes])
    means = []
    for weights in cluster_weights(len(sizes), resamples, seed):
        totals = weights @ table
        means.append(totals[:, :-1] / totals[:, -1:])
    return np.concatenate(means)


def cluster_weights(n_clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each resample draws each cluster: multinomial, each row summing to `n_clusters`.

    Yields blocks of whole resamples, shape (rows, n_clusters), `resamples` rows in all, so that a
    large table need not be held. The same seed gives the same weights.
    """
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // n_clusters)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        # Counted draws are multinomial weights, four times as fast as Generator.multinomial.
        drawn = random.integers(n_clusters, size=(rows, n_clusters))
        drawn += n_clusters * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n_clusters)
        yield weights.reshape(rows, n_clusters).astype(np.float64)


def _on_exact_grid(sums: Floats) -> Floats:
    """Round each column to multiples of a power of two, so that resampled sums are exact.

    A sum of as many entries as there are clusters then fits the 53 bits of a float64, whatever the
    order of the additions; a matrix product otherwise differs in the last bit between numbers of
    threads and of columns. The rounding is 2**-51 of the largest possible sum.
    """
    _, exponent = np.frexp(len(sums) * np.abs(sums).max(axis=0))
    grid = np.ldexp(1.0, exponent - 52)
    return np.asarray(np.round(sums / grid) * grid, dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p of a planned family of contrasts (Holm 1979), in the order given.

    NaN, a test that could not be made, stays NaN and does not count in the family.
    """
    adjusted = np.array(p_values, dtype=np.float64)
    made = ~np.isnan(adjusted)
    if made.any():
        adjusted[made] = multipletests(adjusted[made], method="holm")[1]
    return [float(p) for p in adjusted]


def spearman(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Correlation:
    """Spearman's rank correlation of two sequences of n numbers; ties have their mean rank.

    p is two-sided: up to n = 8 the share of all n! permutations with an |r| at least as large,
    above from Student's t with n - 2 degrees of freedom (0 if |r| is 1). The limits are by Fisher's
    z with the standard error sqrt((1 + r**2 / 2) / (n - 3)) (Bonett and Wright 2000, Psychometrika
    65, 23-28); NaN if n < 4 or |r| is 1, where z is infinite. r and p are NaN if n < 3 or if x or y
    is constant.

    Raises:
        ValueError: x and y are not one-dimensional and of one length, or have an entry that is
            not finite; `level` is not between 0 and 1.
    """
    first, second = _pairs(x, y)
    if not _correlated(first, second):
        return Correlation(math.nan, math.nan, math.nan, math.nan, len(first))
    result = stats.spearmanr(first, second)
    p = _permutation_p(first, second) if len(first) <= _EXACT_CORRELATION else result.pvalue
    r = float(result.statistic)
    low, high = _fisher_limits(r, len(first), 1 + r**2 / 2, level)
    return Correlation(r, low, high, float(p), len(first))


def pearson(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Correlation:
    """Pearson's correlation of two sequences of n numbers.

    p is two-sided, exact for normal pairs (scipy.stats.pearsonr). The limits are by Fisher's z
    with the standard error 1 / sqrt(n - 3) (Fisher 1921); what is NaN, and the errors raised, are
    those of `spearman`.
    """
    first, second = _pairs(x, y)
    if not _correlated(first, second):
        return Correlation(math.nan, math.nan, math.nan, math.nan, len(first))
    result = stats.pearsonr(first, second)
    r = float(result.statistic)
    low, high = _fisher_limits(r, len(first), 1.0, level)
    return Correlation(r, low, high, float(result.pvalue), len(first))


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    first, second = _finite_vector("x", x), _finite_vector("y", y)
    if len(first) != len(second):
        raise ValueError(f"x has {len(first)} entries and y has {len(second)}; expected pairs")
    return first, second


def _correlated(x: Floats, y: Floats) -> bool:
    return len(x) >= 3 and bool(np.ptp(x) > 0 and np.ptp(y) > 0)


def _fisher_limits(r: float, n: int, variance: float, level: float) -> tuple[float, float]:
    _check_share("level", level)
    if n < 4 or 1 - abs(r) < 1e-12:
        return math.nan, math.nan
    z = math.atanh(r)
    width = float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(variance / (n - 3))
    return math.tanh(z - width), math.tanh(z + width)


def _permutation_p(x: Floats, y: Floats) -> float:
    # Doubled and centred, mean ranks are integers: |rho| is compared without rounding.
    a, b = ((2 * stats.rankdata(v) - len(v) - 1).astype(np.int64) for v in (x, y))
    permuted = np.array(list(itertools.permutations(b))) @ a
    return float(np.mean(np.abs(permuted) >= abs(a @ b)))


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
    _check_share("power", power)
    _check_share("alpha", alpha)
    sample = _finite_vector("differences", differences)
    if len(sample) < 2:
        raise ValueError(f"differences has {len(sample)} entries; a spread takes at least 2")
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return float(z * sample.std(ddof=1) / math.sqrt(len(sample)))


def _finite_vector(name: str, values: ArrayLike) -> Floats:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} has the shape {vector.shape}; expected one dimension")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        raise ValueError(
            f"{name} has {len(bad)} entries that are not finite, the first at {bad[0]}: "
            f"{vector[bad[0]]}. Drop the pair or compute the number"
        )
    return vector


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; expected a share between 0 and 1, such as 0.95")
