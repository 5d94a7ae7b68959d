"""Probes of runs as files, and the table that compares them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from needlework.heads.run_scores import read_run
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.heads.similarity import similarity_table

Floats = NDArray[np.float64]

KEYS = [
    *itertools.product(["positive", "above", "top"], ["recall", "precision", "jaccard"]),
    *itertools.product(["scores"], ["cosine", "spearman", "pearson"]),
]


def probe_file(
    root: Path,
    run: str,
    scores: Any,
    *,
    clusters: list[str] | None = None,
    correct: list[bool] | None = None,
    layers: list[Layer] | None = None,
    ids: str = "e",
    **settings: Any,
) -> Path:
    """A probe file with the scores (instances, layers, heads)."""
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    right, labels = correct or [True] * n, clusters or [f"c{i}" for i in range(n)]
    instances = [
        Instance(id=f"{ids}{i}", cluster=labels[i], generated="", correct=right[i])
        for i in range(n)
    ]
    full = [Layer(attention="full", heads=scores.shape[2], kv_heads=1)] * scores.shape[1]
    probe = {"kind": "copy", "role": "answer", "instances": "all", "answers": "own"} | settings
    path = root / run / "validation.json"
    path.parent.mkdir(parents=True)
    measures = {"copy/answer": scores, "mass/answer": 1 - scores}
    write_scores(path, HeadScores({"probe": probe}, layers or full, instances, measures, {}))
    return path


def table_of(paths: list[Path], **options: Any) -> pd.DataFrame:
    defaults: dict[str, Any] = {"reference": "real", "top_count": 2, "resamples": 50, "seed": 0}
    return similarity_table([read_run(path) for path in paths], **defaults | options)


def row_of(table: pd.DataFrame, name: str, measure: str, **where: Any) -> Any:
    for column, value in ({"set": name, "measure": measure} | where).items():
        table = table[table[column] == value]
    (row,) = table.itertuples(index=False)
    return row


def drawn(seed: int, n: int, layers: int = 4, heads: int = 8) -> Floats:
    """Scores in steps of a fifth, most of them 0; heads of some layers copy more."""
    draws = np.random.default_rng(seed)
    chance = draws.random((layers, heads)) ** 4 * np.linspace(0.2, 1, layers)[:, None]
    return draws.binomial(5, chance, (n, layers, heads)) / 5
