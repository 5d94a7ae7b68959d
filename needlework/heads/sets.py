"""Which heads count as retrieval heads: positive score, above a threshold, or the top k."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Head = tuple[int, int]


def above(scores: NDArray[np.float64], threshold: float = 0.0) -> frozenset[Head]:
    """Heads (layer, head) whose score exceeds `threshold`.

    At 0 these are the retrieval heads of Zhao et al. (arXiv 2410.22316); Wu et al. (2404.15574)
    ask for 0.1.
    """
    return frozenset((int(layer), int(head)) for layer, head in np.argwhere(scores > threshold))


def top(scores: NDArray[np.float64], count: int) -> frozenset[Head]:
    """The `count` heads with the highest positive scores; fewer if fewer are positive.

    Ties go to the lower layer, then the lower head, so that the set is the same on every machine.
    """
    order = np.argsort(-scores, axis=None, kind="stable")[:count]
    heads = (np.unravel_index(int(i), scores.shape) for i in order if scores.flat[int(i)] > 0)
    return frozenset((int(layer), int(head)) for layer, head in heads)
