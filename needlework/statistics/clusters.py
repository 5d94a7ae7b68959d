"""Items summed by cluster, exactly, and the weights with which a bootstrap draws the clusters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from needlework.statistics.checks import Floats

Counts = NDArray[np.intp]

CHUNK = 1_000_000
"""Drawn numbers held at a time: a few buffers of 8 MB instead of resamples x clusters."""
TIE = 1e-10
"""Statistics this close, relative to the scores, tie: far above rounding (about 1e-13), far below
what any score resolves."""


def cluster_index(clusters: Sequence[str], items: int, name: str = "cluster") -> Counts:
    """The number of each item's cluster; clusters are numbered in the order of their labels.

    Errors call a cluster `name`.

    Raises:
        ValueError: the number of labels is not the number of items; a label is missing.
        TypeError: the labels are of types that cannot be sorted together.
    """
    if len(clusters) != items:
        raise ValueError(
            f"{name}s has {len(clusters)} labels for {items} items; expected one per item"
        )
    for item, label in enumerate(clusters):
        if label is None or label != label:  # NaN, as a table gives for an empty cell
            raise ValueError(f"item {item} has the {name} {label}; expected a label")
    numbers = {label: i for i, label in enumerate(sorted(set(clusters)))}
    return np.array([numbers[label] for label in clusters], dtype=np.intp)


def cluster_sums(scores: Floats, index: Counts) -> Floats:
    """The sum of each cluster and column, shape (clusters, columns), on an exact grid.

    Sums are rounded once (math.fsum), then to multiples of a power of two, so that any weighted
    sum of a column, with weights that add up to at most the number of clusters, fits the 53 bits
    of a float64. It is then the same whatever the order of the additions; a matrix product
    otherwise differs in the last bit between numbers of threads and of columns. The rounding is
    2**-51 of the largest possible sum.
    """
    order = np.argsort(index, kind="stable")
    groups = np.split(scores[order], np.flatnonzero(np.diff(index[order])) + 1)
    sums = np.array([[math.fsum(column) for column in group.T] for group in groups])
    _, exponent = np.frexp(len(sums) * np.abs(sums).max(axis=0))
    grid = np.ldexp(1.0, exponent - 52)
    return np.asarray(np.round(sums / grid) * grid, dtype=np.float64)


def cluster_weights(n_clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each resample draws each cluster: multinomial, each row summing to `n_clusters`.

    Yields blocks of whole resamples, shape (rows, n_clusters), `resamples` rows in all, so that a
    large table need not be held. The same seed gives the same weights.
    """
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // n_clusters)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        # Counted draws are multinomial weights, four times as fast as Generator.multinomial.
        drawn = random.integers(n_clusters, size=(rows, n_clusters))
        drawn += n_clusters * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n_clusters)
        yield weights.reshape(rows, n_clusters).astype(np.float64)
