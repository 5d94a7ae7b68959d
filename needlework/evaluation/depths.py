"""Scores by where the answer stood: the depth of its needle, or the gold document's place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from needlework.evaluation.answer_scores import Floats, answer_scores
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
    found: dict[tuple[Path, str], list[dict[str, Any]]] = {}
    for together in _conditions(paths):
        for clusters, scores in _bins_of_runs(together).items():
            columns = np.hstack(list(scores.values()))
            both = PairedBootstrap(columns, clusters, resamples=resamples, seed=seed)
            size = {"n": both.n, "n_clusters": both.n_clusters}
            for place, key in enumerate(scores):
                metrics = _metrics(Run.of(key[0]).task)
                found[key] = [
                    {"metric": metric}
                    | both.interval(place * len(metrics) + i, level)._asdict() | size
                    for i, metric in enumerate(metrics)
                ]  # fmt: skip
    bins = (_ALL, *_BINS, _WITHOUT)
    table = [
        _where(path) | {"bin": name} | row
        for path in paths
        for name in bins
        for row in found.get((path, name), [])
    ]
    return pd.DataFrame(table, columns=DEPTH_COLUMNS).astype(
        {"documents": "Int64", "position": "Int64"}
    )


def _where(path: Path) -> dict[str, Any]:
    place = place_of(path.stem)
    fixed = {"documents": place.documents, "position": place.gold[0]} if place else {}
    return Run.of(path)._asdict() | {"condition": path.stem} | fixed


def _conditions(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The answers of all runs to the same questions: one task, one condition."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        groups.setdefault((Run.of(path).task, path.stem), []).append(path)
    yield from groups.values()


def _bins_of_runs(paths: Sequence[Path]) -> dict[tuple[str, ...], dict[tuple[Path, str], Floats]]:
    """The scores of each run and bin, shape (items, metrics), by the clusters of the items.

    Runs whose bins have the same clusters share their resamples, whose draws take most of the time.
    """
    shared: dict[tuple[str, ...], dict[tuple[Path, str], Floats]] = {}
    for path in paths:
        task, whole = Run.of(path).task, place_of(path.stem) is not None
        for name, rows in _binned(read_predictions(path), whole=whole).items():
            clusters = tuple(row["cluster"] for row in rows)
            scores = answer_scores(task, [rows])
            shared.setdefault(clusters, {})[path, name] = np.hstack(
                [scores[metric] for metric in _metrics(task)]
            )
    return shared


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
