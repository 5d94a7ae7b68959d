"""Table of how the retrieval heads of every run resemble those of real data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from needlework.heads.compare import cosine, recall
from needlework.heads.scores import read_mean_scores
from needlework.heads.sets import Head, above, top
from needlework.layout import Run

# Wu et al. (arXiv 2404.15574) call a head a retrieval head from this mean score on.
WU_THRESHOLD = 0.1


def similarity_table(paths: Sequence[Path], *, reference: str, top_count: int) -> pd.DataFrame:
    """`head_similarity.csv`: recall, precision and cosine of each run against a reference variant.

    The reference's score of a head is its mean over training seeds. Three head sets are compared:
    all positive heads, those above Wu's threshold of 0.1, and the top k.

    Args:
        paths: probe files that `write_scores` wrote.
        reference: the variant whose heads are wanted, "real" where a study has it.
        top_count: k of the top-k sets.
    """
    scores = {Run.of(path): read_mean_scores(path) for path in paths}
    rows = []
    for run, own in scores.items():
        wanted = _reference(scores, run, reference)
        row: dict[str, Any] = run._asdict() | {"cosine": cosine(own, wanted)}
        for name, a, b in _sets(own, wanted, top_count):
            row |= {
                f"heads_{name}": len(a),
                f"recall_{name}": recall(a, b),
                f"precision_{name}": recall(b, a),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _reference(
    scores: dict[Run, NDArray[np.float64]], run: Run, reference: str
) -> NDArray[np.float64]:
    found = [
        own
        for other, own in scores.items()
        if (other.model, other.task, other.variant) == (run.model, run.task, reference)
    ]
    if not found:
        raise ValueError(
            f"no probe of the variant {reference!r} for {run.model}, {run.task}: nothing to compare"
        )
    return np.asarray(np.mean(found, axis=0))


def _sets(
    own: NDArray[np.float64], wanted: NDArray[np.float64], count: int
) -> list[tuple[str, frozenset[Head], frozenset[Head]]]:
    return [
        ("positive", above(own), above(wanted)),
        ("above", above(own, WU_THRESHOLD), above(wanted, WU_THRESHOLD)),
        ("top", top(own, count), top(wanted, count)),
    ]
