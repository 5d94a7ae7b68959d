"""Which heads count as retrieval heads: a positive score, one above a threshold, or the top k.

A place without a head has the score NaN and is in no set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Head = tuple[int, int]
Scores = NDArray[np.float64]

# Wu et al. (arXiv 2404.15574) call a head a retrieval head from this mean score on.
WU_THRESHOLD = 0.1


def above(scores: Scores, threshold: float = 0.0) -> frozenset[Head]:
    """Heads (layer, head) whose score, of shape (layers, heads), exceeds `threshold`.

    At 0 these are the retrieval heads of Zhao et al. (arXiv 2410.22316).
    """
    return _heads(scores > threshold)


def top(scores: Scores, count: int) -> frozenset[Head]:
    """The `count` heads with the highest positive scores; fewer if fewer are positive.

    Ties go to the lower layer, then the lower head, so that the set is the same on every machine.
    """
    return _heads(_is_top(scores.ravel(), count).reshape(scores.shape))


def indicators(vectors: Scores, top_count: int) -> dict[str, Scores]:
    """The sets `positive`, `above` (Wu's threshold) and `top` of many score vectors at once.

    Args:
        vectors: (..., heads), the heads in the order of layer and head.
        top_count: k of the top-k set.

    Returns:
        Of each set, (..., heads): 1 for a head in it, else 0; NaN where the score is.
    """
    sets = {
        "positive": vectors > 0,
        "above": vectors > WU_THRESHOLD,
        "top": _is_top(vectors, top_count),
    }
    return {name: np.where(np.isnan(vectors), np.nan, found) for name, found in sets.items()}


def _is_top(vectors: Scores, count: int) -> NDArray[np.bool_]:
    positive = np.where(vectors > 0, vectors, 0.0)
    if count >= vectors.shape[-1]:
        return np.asarray(positive > 0)
    # The highest score that is left out; sorting all of them takes three times as long.
    highest = -np.partition(-positive, count, axis=-1)[..., count, None]
    chosen, tied = positive > highest, (positive == highest) & (highest > 0)
    missing = count - chosen.sum(axis=-1, keepdims=True)
    return np.asarray(chosen | (tied & (tied.cumsum(axis=-1) <= missing)))


def _heads(chosen: NDArray[np.bool_]) -> frozenset[Head]:
    return frozenset((int(layer), int(head)) for layer, head in np.argwhere(chosen))
