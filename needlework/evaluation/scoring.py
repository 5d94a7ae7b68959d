"""Tables of scores and of paired comparisons, from the predictions of all runs of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from needlework.evaluation.metrics import metrics_for, parseable
from needlework.evaluation.predict import Row, read_predictions
from needlework.layout import Run
from needlework.statistics import PairedBootstrap, detectable_difference, holm

SCORE_COLUMNS = [
    "model", "task", "variant", "seed", "condition", "metric", "mean", "low", "high", "n",
    "n_clusters", "unparseable", "cut",
]  # fmt: skip
COMPARISON_COLUMNS = [
    "model", "task", "condition", "metric", "variant_a", "variant_b", "difference", "low", "high",
    "p", "p_adjusted", "n", "n_clusters", "detectable",
]  # fmt: skip


def score_tables(
    paths: Sequence[Path], *, resamples: int, level: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`scores.csv` and `comparisons.csv`: each run's means, and every variant against every other.

    Every row is scored; `unparseable` counts the replies of a run in which no answer can be read,
    `cut` those that the limit of tokens ended. All runs of one model, task and condition share
    their resamples. A comparison is between variants: an item's score is first averaged over the
    training seeds. p values are adjusted by Holm over the comparisons of one model, task, condition
    and metric.

    Raises:
        ValueError: two runs were scored on different items.
    """
    scores: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for (model, task, condition), group in _groups(paths).items():
        where = {"model": model, "task": task, "condition": condition}
        rows = _aligned(group)
        clusters = [row["cluster"] for row in rows[0]]
        unread = [_unread(task, run) for run in rows]
        for metric, function in metrics_for(task).items():
            values = np.array(
                [[function(r["prediction"], r["answers"]) for r in run] for run in rows]
            ).T
            keys = list(group)
            names, by_variant = _mean_over_seeds(values, [run.variant for run in keys])
            both = PairedBootstrap(
                np.hstack([values, by_variant]), clusters, resamples=resamples, seed=seed
            )
            size = {"n": both.n, "n_clusters": both.n_clusters}
            for i, run in enumerate(keys):
                interval = both.interval(i, level)._asdict()
                scores.append(
                    where | {"variant": run.variant, "seed": run.seed, "metric": metric}
                    | interval | size | unread[i]
                )  # fmt: skip
            comparisons += [
                where | {"metric": metric} | row | size
                for row in _comparisons(both, names, by_variant, clusters, len(keys), level)
            ]
    return (
        pd.DataFrame(scores, columns=SCORE_COLUMNS),
        pd.DataFrame(comparisons, columns=COMPARISON_COLUMNS),
    )


def _groups(paths: Sequence[Path]) -> dict[tuple[str, str, str], dict[Run, Path]]:
    groups: dict[tuple[str, str, str], dict[Run, Path]] = {}
    for path in paths:
        run = Run.of(path)
        groups.setdefault((run.model, run.task, path.stem), {})[run] = path
    return groups


def _aligned(group: dict[Run, Path]) -> list[list[Row]]:
    """The rows of every run, item by item the same.

    A difference between runs that answered other questions would mean nothing.
    """
    tables = [read_predictions(path) for path in group.values()]
    first = [row["id"] for row in tables[0]]
    for path, rows in zip(group.values(), tables, strict=True):
        ids = [row["id"] for row in rows]
        if ids != first:
            different = sorted(set(ids) ^ set(first)) or ["(the same ids in another order)"]
            raise ValueError(
                f"{path} and {next(iter(group.values()))} hold different items, "
                f"{', '.join(different[:3])}; remove both and run again"
            )
    return tables


def _unread(task: str, rows: Sequence[Row]) -> dict[str, int]:
    """How many answers of a run say nothing that can be scored, and how many were cut off."""
    readable = parseable(task)
    return {
        "unparseable": sum(not readable(row["prediction"]) for row in rows),
        "cut": sum(row.get("stopped_by") == "limit" for row in rows),
    }


def _mean_over_seeds(
    values: np.ndarray[Any, np.dtype[np.float64]], variants: Sequence[str]
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.float64]]]:
    names = list(dict.fromkeys(variants))
    columns = [values[:, [v == name for v in variants]].mean(axis=1) for name in names]
    return names, np.stack(columns, axis=1)


def _comparisons(
    bootstrap: PairedBootstrap,
    names: Sequence[str],
    values: np.ndarray[Any, np.dtype[np.float64]],
    clusters: Sequence[str],
    offset: int,
    level: float,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for a, b in combinations(range(len(names)), 2):
        # The later variant against the earlier: gains over the untuned model read as positive.
        found = bootstrap.difference(offset + b, offset + a, level)
        rows.append(
            {"variant_a": names[b], "variant_b": names[a]}
            | found._asdict()
            | {"detectable": _detectable(values[:, b] - values[:, a], clusters)}
        )
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_adjusted"] = adjusted
    return rows


def _detectable(
    differences: np.ndarray[Any, np.dtype[np.float64]], clusters: Sequence[str]
) -> float:
    """From the clusters' mean differences, which are independent where items are not.

    NaN with a single cluster, which has no spread.
    """
    means = pd.Series(differences).groupby(np.array(clusters)).mean()
    return detectable_difference(means) if len(means) > 1 else math.nan
