"""How the retrieval heads of one model resemble another's: recall, precision and cosine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from needlework.heads.sets import Head


def recall(found: frozenset[Head], wanted: frozenset[Head]) -> float:
    """Share of the wanted heads that were found; NaN if none is wanted.

    With the heads of a synthetic variant as `found` and those of real data as `wanted`, this is
    the recall of Zhao et al. (arXiv 2410.22316); with the two exchanged it is the precision.
    """
    return len(found & wanted) / len(wanted) if wanted else float("nan")


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Cosine of two models' score vectors over all heads; NaN if one is all zero."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norms if norms else float("nan")
