"""Scores by where the answer stood: the depth of its needle, or the gold document's place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from needlework.evaluation.metrics import main_metric, metrics_for
from needlework.evaluation.predict import Row, read_predictions
from needlework.evaluation.views import place_of
from needlework.layout import Run
from needlework.statistics import PairedBootstrap

DEPTH_COLUMNS = [
    "model", "task", "variant", "seed", "condition", "metric", "bin", "documents", "position",
    "mean", "low", "high", "n", "n_clusters",
]  # fmt: skip

_BINS = ("0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0")
_WITHOUT = "none"
_ALL = "all"


def depth_table(paths: Sequence[Path], *, resamples: int, level: float, seed: int) -> pd.DataFrame:
    """`depths.csv`: the mean of each run by the depth of the needle, for each condition.

    The depth is the share of the prompt's tokens before the answer's first needle. It has five
    bins, each without its upper end, and "none" for the rows of examples without such a needle; a
    bin without rows has no line. Where the condition fixes the place of the gold document, all
    rows are one bin, "all". The metrics are the task's main one and, of mdqa, `best_subspan_em`,
    that of Liu et al. (2024).

    Args:
        paths: the answers of all runs, <model>/<task>/<variant>/seed<n>/<condition>.jsonl.
        resamples: resamples of the bootstrap, over the clusters of a bin.
        level: of the intervals.
        seed: of the resamples.
    """
    table = []
    for path in paths:
        run = Run.of(path)
        place = place_of(path.stem)
        where = run._asdict() | {"condition": path.stem}
        fixed = {"documents": place.documents, "position": place.gold[0]} if place else {}
        for name, rows in _binned(read_predictions(path), whole=place is not None).items():
            clusters = [row["cluster"] for row in rows]
            for metric in _metrics(run.task):
                score = metrics_for(run.task)[metric]
                values = [[score(row["prediction"], row["answers"])] for row in rows]
                found = PairedBootstrap(values, clusters, resamples=resamples, seed=seed)
                table.append(
                    where | {"metric": metric, "bin": name} | fixed
                    | found.interval(0, level)._asdict()
                    | {"n": found.n, "n_clusters": found.n_clusters}
                )  # fmt: skip
    return pd.DataFrame(table, columns=DEPTH_COLUMNS).astype(
        {"documents": "Int64", "position": "Int64"}
    )


def _metrics(task: str) -> list[str]:
    return [
        main_metric(task),
        *(name for name in ("best_subspan_em",) if name in metrics_for(task)),
    ]


def _binned(rows: Sequence[Row], *, whole: bool) -> dict[str, list[Row]]:
    """The rows of each bin that has some, in the order of the bins."""
    if whole:
        return {_ALL: list(rows)}
    found: dict[str, list[Row]] = {name: [] for name in (*_BINS, _WITHOUT)}
    for row in rows:
        found[_bin(row["depth"])].append(row)
    return {name: rows for name, rows in found.items() if rows}


def _bin(depth: Any) -> str:
    return _WITHOUT if depth is None else _BINS[min(int(depth * len(_BINS)), len(_BINS) - 1)]
