"""The paired sign-flip test: what would the difference be, were each cluster's sign a coin toss?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from needlework.statistics.checks import Floats, check_count, finite_table
from needlework.statistics.clusters import CHUNK, TIE, cluster_index, cluster_sums


def sign_flip(
    differences: ArrayLike, clusters: Sequence[str], *, permutations: int = 10_000, seed: int
) -> Floats:
    """Two-sided p of each contrast's mean difference, by flipping the signs of whole clusters.

    Approximate randomisation (Fisher 1935; Noreen 1989; for score differences Riezler and Maxwell
    2005): where two systems do not differ, the sign of a cluster's summed difference is a coin
    toss. p is the share of sign patterns whose absolute sum is at least the observed one: over
    all 2**clusters patterns where these are at most `permutations`, else (c + 1) / (R + 1) over
    R = `permutations` random ones, which all contrasts share. Sums that tie with the observed one
    but for rounding count. The same seed gives the same p, whatever the order of the items and
    the other contrasts. With k clusters the smallest possible p is 2 / 2**k.

    Args:
        differences: paired differences, shape (items, contrasts).
        clusters: the label of each item's cluster.
        permutations: number of random sign patterns.
        seed: seed of the signs.

    Returns:
        p, shape (contrasts,); NaN with one cluster, whose sign tells nothing.

    Raises:
        ValueError: `differences` is not two-dimensional, is empty or has an entry that is not
            finite; the number of labels is not the number of items; a label is missing;
            `permutations` is not positive.
        TypeError: the labels are of types that cannot be sorted together.
    """
    table = finite_table("differences", differences, "contrast")
    sums = cluster_sums(table, cluster_index(clusters, len(table)))
    check_count("permutations", permutations)
    if len(sums) == 1:
        return np.full(table.shape[1], math.nan)
    exact = 2 ** len(sums) <= permutations
    tolerance = TIE * len(table) * np.abs(table).max(axis=0)
    observed = np.abs(sums.sum(axis=0)) - tolerance
    count = np.zeros(table.shape[1], dtype=np.intp)
    step = max(1, CHUNK // max(sums.shape))
    blocks = _all_signs(len(sums)) if exact else _signs(len(sums), permutations, step, seed)
    for signs in blocks:
        count += np.count_nonzero(np.abs(signs @ sums) >= observed, axis=0)
    if exact:
        return np.asarray(count / 2 ** len(sums), dtype=np.float64)
    return np.asarray((count + 1) / (permutations + 1), dtype=np.float64)


def _all_signs(n_clusters: int) -> Iterator[Floats]:
    """Every pattern of signs, shape (2**clusters, clusters)."""
    patterns = np.arange(2**n_clusters)[:, None] >> np.arange(n_clusters)
    yield _as_signs(patterns & 1)


def _signs(n_clusters: int, permutations: int, step: int, seed: int) -> Iterator[Floats]:
    """Blocks of random patterns of signs, shape (rows, clusters), at most `step` rows each."""
    random = np.random.default_rng(seed)
    for start in range(0, permutations, step):
        # Not int8: its draws are buffered within a call, so the size of a block would show.
        yield _as_signs(random.integers(2, size=(min(step, permutations - start), n_clusters)))


def _as_signs(bits: NDArray[np.integer]) -> Floats:
    return np.asarray(1 - 2 * bits, dtype=np.float64)
