"""Scores made for tests: clustered, correlated, on a grid."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SCORES = st.one_of(st.sampled_from([0.0, 1.0]), st.integers(-9_999, 9_999).map(lambda k: k / 1_000))
TABLES = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(SCORES, SCORES, SCORES), min_size=n, max_size=n),
        st.lists(st.sampled_from("abcde"), min_size=n, max_size=n),
    )
)
"""Scores of three systems on up to 12 items, and the items' clusters."""

Table = tuple[list[tuple[float, float, float]], list[str]]


def own_cluster(n: int) -> list[str]:
    """Labels of n items, each its own cluster."""
    return [f"item{i}" for i in range(n)]


def clustered_scores(seed: int) -> tuple[Floats, list[str]]:
    """Two systems on 30 clusters of 1 to 6 items; big clusters score higher."""
    random = np.random.default_rng(seed)
    clusters = [f"c{c}" for c in range(30) for _ in range(1 + c % 6)]
    easy = np.array([0.1 * (int(label[1:]) % 6) for label in clusters])
    noise = random.normal(size=(30, 2))[[int(label[1:]) for label in clusters]]
    return easy[:, None] + noise + random.normal(size=(len(clusters), 2)), clusters
