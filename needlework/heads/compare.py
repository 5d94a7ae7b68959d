"""How the heads of several runs resemble each other, and how they would by chance.

All runs are compared with all: the functions take one row of scores per run, over the heads that
exist, and entry [..., a, b] of a result is run a against run b. A row of NaN, of a run of which
nothing is known, gives NaN; so does a share of nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from needlework.heads.sets import indicators

Floats = NDArray[np.float64]
Measures = dict[tuple[str, str], Floats]


def measures(vectors: Floats, top_count: int, zeros: int = 0) -> Measures:
    """How runs resemble each other, by the name of a set of heads (or "scores") and of a measure.

    The sets are those of `indicators`, by *recall* (shared heads / heads of b), *precision* (shared
    / heads of a) and *jaccard* (shared / heads of either); with a synthetic variant as a and real
    data as b, recall is that of Zhao et al. (arXiv 2410.22316). All scores are compared by
    *cosine*, *spearman* and *pearson*.

    Args:
        vectors: (..., runs, heads), the scores.
        top_count: k of the top-k set.
        zeros: heads beside these whose score is 0 in every run; told by number, they cost nothing.

    Returns:
        Of each measure, (..., runs, runs).
    """
    found: Measures = {}
    for name, sets in indicators(vectors, top_count).items():
        shared, sizes = _products(sets), sets.sum(axis=-1)
        either = sizes[..., :, None] + sizes[..., None, :] - shared
        found |= _shares(name, shared, sizes) | {(name, "jaccard"): _ratio(shared, either)}
    for measure, view in _views(vectors, zeros).items():
        found["scores", measure] = _cosines(_products(view), view)
    return found


def random_measures(vectors: Floats, top_count: int, layers: NDArray[np.intp]) -> Measures:
    """The expected value of each of `measures` for random heads, exact.

    For sets: drawn without replacement, of the same size in each layer, so that the number of
    shared heads of a layer is hypergeometric. For scores: permuted within each layer, which keeps
    the norm of a vector and of its ranks; the expected product of two permuted vectors is the sum
    over layers of (sum of one) * (sum of the other) / (heads of the layer).

    Args:
        vectors: (runs, heads), as for `measures`.
        top_count: k of the top-k set.
        layers: (heads,) the layer of each head. Where all are equal, sets of the same sizes and
            scores are drawn from all heads.
    """
    found: Measures = {}
    for name, sets in indicators(vectors, top_count).items():
        found |= _shares(name, _expected_products(sets, layers), sets.sum(axis=-1))
        found[name, "jaccard"] = _expected_jaccard(sets, layers)
    for measure, view in _views(vectors).items():
        expected = _cosines(_expected_products(view, layers), view)
        # Centred scores sum to 0 up to rounding only; + 0.0 makes -0 a 0.
        found["scores", measure] = np.round(expected, 12) + 0.0
    return found


def _products(vectors: Floats) -> Floats:
    return np.asarray(vectors @ vectors.swapaxes(-1, -2))


def _expected_products(vectors: Floats, layers: NDArray[np.intp]) -> Floats:
    in_layer, counts = _by_layer(vectors, layers)
    return np.asarray(in_layer / counts @ in_layer.T)


def _by_layer(vectors: Floats, layers: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp]]:
    """The sum of each run over each layer, (runs, layers), and the heads of each layer."""
    found, counts = np.unique(layers, return_counts=True)
    return vectors @ (layers[:, None] == found).astype(np.float64), counts


def _shares(name: str, shared: Floats, sizes: Floats) -> Measures:
    return {
        (name, "recall"): _ratio(shared, sizes[..., None, :]),
        (name, "precision"): _ratio(shared, sizes[..., :, None]),
    }


def _views(vectors: Floats, zeros: int = 0) -> dict[str, Floats]:
    """Each measure is the cosine of one view of the scores."""
    # All of the zeros are one more column, whose weight is their number.
    weights = np.ones(vectors.shape[-1] + bool(zeros))
    if zeros:
        vectors = np.concatenate([vectors, np.zeros((*vectors.shape[:-1], 1))], axis=-1)
        weights[-1] = zeros
    # Ties have their mean rank. Of the zeros that are not there, a score has all below it if it is
    # positive, and half if it is a zero itself.
    ranks = stats.rankdata(vectors, axis=-1) + max(zeros - 1, 0) * (1 + np.sign(vectors)) / 2
    return {
        "cosine": vectors,
        "spearman": _centred(ranks, weights),
        "pearson": _centred(vectors, weights),
    }


def _centred(vectors: Floats, weights: Floats) -> Floats:
    """Deviations from the weighted mean, times the root of their weights, as products take them."""
    constant = np.ptp(vectors, axis=-1, keepdims=True) == 0
    # A constant vector must not leave the rounding of its mean, which has a direction.
    mean = (vectors @ weights / weights.sum())[..., None]
    return np.where(constant, 0.0, (vectors - mean) * np.sqrt(weights))


def _cosines(products: Floats, vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=-1)
    return _ratio(products, norms[..., :, None] * norms[..., None, :])


def _ratio(part: Floats, whole: Floats) -> Floats:
    out = np.full(part.shape, np.nan)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0))


def _expected_jaccard(sets: Floats, layers: NDArray[np.intp]) -> Floats:
    in_layer, counts = _by_layer(sets, layers)
    expected = np.full((len(sets), len(sets)), np.nan)
    for a, b in zip(*np.triu_indices(len(sets)), strict=True):
        total = in_layer[a].sum() + in_layer[b].sum()
        if total > 0:  # not two empty sets, nor one that is not known
            chance = _chance_of_shared(counts, in_layer[a].astype(int), in_layer[b].astype(int))
            shared = np.arange(len(chance))
            expected[a, b] = expected[b, a] = chance @ (shared / (total - shared))
    return expected


def _chance_of_shared(counts: NDArray[np.intp], a: NDArray[np.intp], b: NDArray[np.intp]) -> Floats:
    """Chance of 0, 1, ... shared heads of random sets with a and b of the heads of each layer."""
    chance = np.ones(1)
    for layer in zip(counts.tolist(), a.tolist(), b.tolist(), strict=True):
        if all(layer):
            chance = np.convolve(chance, _in_one_layer(*layer))
    return chance


@lru_cache(maxsize=4096)
def _in_one_layer(heads: int, a: int, b: int) -> Floats:
    return np.asarray(stats.hypergeom.pmf(np.arange(min(a, b) + 1), heads, a, b))
