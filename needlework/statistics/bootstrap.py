"""The paired bootstrap over clusters: means, differences, equivalence and ranks of systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from needlework.statistics.checks import Floats, check_count, check_share, finite_table
from needlework.statistics.clusters import (
    TIE,
    Counts,
    cluster_index,
    cluster_sums,
    cluster_weights,
)


class Interval(NamedTuple):
    """A mean with its confidence limits; NaN limits where no interval exists."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A mean paired difference with its percentile and BCa limits and two-sided p."""

    difference: float
    low: float
    high: float
    bca_low: float
    bca_high: float
    p: float


class Ranks(NamedTuple):
    """Ranks of systems by their means, 1 the highest, and what resampling makes of them.

    Attributes:
        rank: the rank of each system; tied systems have their mean rank.
        low: lower percentile limit of each rank over the resamples.
        high: upper percentile limit.
        best: share of resamples in which the system is the highest; tied systems share one.
    """

    rank: list[float]
    low: list[float]
    high: list[float]
    best: list[float]


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
        scores = finite_table("values", values, "system")
        index = cluster_index(clusters, len(scores))
        check_count("resamples", resamples)
        self.n = len(scores)
        self.n_clusters = int(index.max()) + 1
        # fsum is exact, so that the order of the items cannot show in the last bit.
        self.means: Floats = np.array([math.fsum(column) / self.n for column in scores.T])
        # Sums of deviations rather than of scores: constant scores then give no rounding noise.
        sums, sizes = cluster_sums(scores - self.means, index), np.bincount(index)
        self._deviations = _resampled_means(sums, sizes, resamples, seed)
        self._jackknife = _means_without_each(sums, sizes)
        self._tolerance: Floats = TIE * np.abs(scores).max(axis=0)

    def interval(self, system: int, level: float = 0.95) -> Interval:
        """The mean of a system (its column in `values`) with its percentile interval.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        mean = float(self.means[system])
        return Interval(mean, *self._percentile(mean, self._deviations[system], level))

    def bca(self, system: int, level: float = 0.95) -> tuple[float, float]:
        """The limits of a system's mean that are corrected for bias and acceleration (BCa).

        Efron 1987, J. Am. Stat. Assoc. 82, 171-185; Efron and Tibshirani 1993, chapter 14, with
        clusters for observations: the bias is read from the share of resampled means below the
        mean (those that tie count half, as in scipy.stats.bootstrap), the acceleration from the
        means without one cluster each. NaN where every resampled mean is on one side.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        return self._bca(
            float(self.means[system]),
            self._deviations[system],
            self._jackknife[system],
            float(self._tolerance[system]),
            level,
        )

    def difference(self, a: int, b: int, level: float = 0.95) -> Difference:
        """The paired difference a - b of two systems, with its percentile and BCa limits and p.

        p = (c + 1) / (R + 1), where c counts the resampled differences d* with |d* - d| >= |d|:
        centred, two-sided (Berg-Kirkpatrick, Burkett and Klein 2012, section 2; the + 1 keeps p
        above 0). Equality is judged with a tolerance, because scores on a grid (0 or 1) tie often
        and rounding must not decide. Hence a difference that is the same on every item has
        p = 1 / (R + 1), and p = 1 if it is 0 or rounding noise.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        difference, deviations, tolerance = self._contrast(a, b)
        low, high = self._percentile(difference, deviations, level)
        without = self._jackknife[a] - self._jackknife[b]
        bca_low, bca_high = self._bca(difference, deviations, without, tolerance, level)
        p = self._p(np.abs(deviations) >= abs(difference) - tolerance)
        return Difference(difference, low, high, bca_low, bca_high, p)

    def equivalence(self, a: int, b: int, margin: float) -> float:
        """p of the hypothesis that the means of two systems differ by `margin` or more.

        Two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680), each
        (c + 1) / (R + 1) by the resamples of `difference`, centred on -margin and on margin; the
        larger p of both. A small p says that |a - b| < margin.

        Raises:
            ValueError: `margin` is not positive.
        """
        if not margin > 0:
            raise ValueError(f"margin is {margin}; expected a positive difference, such as 0.02")
        difference, deviations, tolerance = self._contrast(a, b)
        below = self._p(deviations <= difference - margin + tolerance)
        above = self._p(deviations >= difference + margin - tolerance)
        return max(below, above)

    def ranks(self, systems: Sequence[int], level: float = 0.95) -> Ranks:
        """The ranks of some systems among each other, with percentile limits over the resamples.

        With a single cluster the limits and the shares are NaN.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        check_share("level", level)
        chosen = list(systems)
        tolerance = float(self._tolerance[chosen].max())
        rank = _ranks(self.means[chosen, None], tolerance)[:, 0].tolist()
        if self.n_clusters == 1:
            return Ranks(rank, *([math.nan] * len(rank) for _ in range(3)))
        means = self.means[chosen, None] + self._deviations[chosen]
        ranks = _ranks(means, tolerance)
        # Outwards to a rank that a resample has: 2.3 is no rank.
        low = np.quantile(ranks, (1 - level) / 2, axis=1, method="lower")
        high = np.quantile(ranks, (1 + level) / 2, axis=1, method="higher")
        top = means >= means.max(axis=0) - tolerance
        best = (top / top.sum(axis=0)).mean(axis=1)
        return Ranks(rank, low.tolist(), high.tolist(), best.tolist())

    def _contrast(self, a: int, b: int) -> tuple[float, Floats, float]:
        """The difference a - b, the deviations of its resamples, what counts as a tie."""
        return (
            float(self.means[a] - self.means[b]),
            self._deviations[a] - self._deviations[b],
            float(max(self._tolerance[a], self._tolerance[b])),
        )

    def _p(self, extreme: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
        if self.n_clusters == 1:
            return math.nan
        return float((np.count_nonzero(extreme) + 1) / (len(extreme) + 1))

    def _percentile(self, centre: float, deviations: Floats, level: float) -> tuple[float, float]:
        check_share("level", level)
        if self.n_clusters == 1:
            return math.nan, math.nan
        low, high = centre + np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def _bca(
        self, centre: float, deviations: Floats, without: Floats, tolerance: float, level: float
    ) -> tuple[float, float]:
        check_share("level", level)
        if self.n_clusters == 1:
            return math.nan, math.nan
        below = np.count_nonzero(deviations < -tolerance)
        tied = np.count_nonzero(np.abs(deviations) <= tolerance)
        bias = ndtri((below + tied / 2) / len(deviations))
        normal = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
        scale = 1 - _acceleration(without, tolerance) * normal
        if not (np.isfinite(normal).all() and (scale > 0).all()):
            return math.nan, math.nan
        low, high = centre + np.quantile(deviations, ndtr(bias + normal / scale))
        return float(low), float(high)


def _resampled_means(sums: Floats, sizes: Counts, resamples: int, seed: int) -> Floats:
    """Weighted cluster sums over weighted cluster sizes, shape (systems, resamples)."""
    table = np.column_stack([sums, sizes])
    means = np.empty((sums.shape[1], resamples))
    start = 0
    for weights in cluster_weights(len(sizes), resamples, seed):
        totals = weights @ table
        means[:, start : start + len(weights)] = (totals[:, :-1] / totals[:, -1:]).T
        start += len(weights)
    return means


def _means_without_each(sums: Floats, sizes: Counts) -> Floats:
    """The mean of each system without one cluster each, shape (systems, clusters)."""
    if len(sizes) == 1:
        return np.full(sums.T.shape, math.nan)
    left = (sums.sum(axis=0) - sums) / (sizes.sum() - sizes)[:, None]
    return np.ascontiguousarray(left.T)


def _acceleration(without: Floats, tolerance: float) -> float:
    """Efron and Tibshirani 1993, equation 14.15; 0 where no cluster makes a difference."""
    deviations = without.mean() - without
    largest = np.abs(deviations).max()
    if largest <= tolerance / len(without):
        return 0.0
    scaled = deviations / largest  # so that no square is too small for a float
    return float((scaled**3).sum() / (6 * (scaled**2).sum() ** 1.5))


def _ranks(means: Floats, tolerance: float) -> Floats:
    """The rank of each system in each column, 1 the highest; ties have their mean rank."""
    above = means[None, :] - means[:, None]
    higher, tied = above > tolerance, np.abs(above) <= tolerance
    return np.asarray(0.5 + higher.sum(axis=1) + tied.sum(axis=1) / 2, dtype=np.float64)
