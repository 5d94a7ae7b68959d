"""Tables of scores, variants and comparisons, from the predictions of all runs of a study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from needlework.evaluation.answer_scores import Floats, answer_scores
from needlework.evaluation.contrasts import COMPARISON_COLUMNS, comparison_rows
from needlework.evaluation.metrics import parseable
from needlework.evaluation.predict import Row, read_predictions
from needlework.evaluation.variant_table import (
    VARIANT_COLUMNS,
    Systems,
    averaged,
    synthetic_variants,
    variant_rows,
)
from needlework.layout import Run
from needlework.statistics import PairedBootstrap

SCORE_COLUMNS = [
    "model", "task", "variant", "seed", "condition", "metric", "mean", "low", "high", "n",
    "n_clusters", "unparseable", "cut",
]  # fmt: skip


class ScoreTables(NamedTuple):
    """`scores.csv`, `variants.csv` and `comparisons.csv`."""

    scores: pd.DataFrame
    variants: pd.DataFrame
    comparisons: pd.DataFrame


def score_tables(
    paths: Sequence[Path],
    *,
    reference: str,
    controls: Collection[str] = (),
    resamples: int,
    level: float,
    seed: int,
) -> ScoreTables:
    """The means of each run and of each variant, and every variant against every other.

    Every row is scored; `unparseable` counts the replies of a run in which no answer can be read,
    `cut` those that the limit of tokens ended. All runs of one model, task and condition share
    their resamples. A variant's scores are those of its items, averaged over the training seeds
    first; `contrasts.contrasts` says what each comparison is made for.

    Args:
        paths: the answers of all runs, <model>/<task>/<variant>/seed<n>/<condition>.jsonl, in the
            study's order.
        reference: the variant that the others are measured against.
        controls: variants that are trained otherwise, and are not ranked.
        resamples: resamples of the bootstrap, and most permutations of the sign-flip test.
        level: of the intervals.
        seed: of both.

    Raises:
        ValueError: two runs were scored on different items.
    """
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ScoreTables._fields}
    for (model, task, condition), group in _groups(paths).items():
        runs = list(group)
        values, clusters, unread = _scored(task, group)
        metrics = _resampled(values, runs, clusters, resamples, seed)
        synthetic = synthetic_variants([run.variant for run in runs], controls)
        found = {
            "scores": _run_rows(metrics, runs, unread, level),
            "variants": [
                {"metric": metric} | row
                for metric, systems in metrics.items()
                for row in variant_rows(systems, synthetic, level)
            ],
            "comparisons": comparison_rows(
                metrics, clusters, reference=reference, synthetic=synthetic, level=level,
                permutations=resamples, seed=seed,
            ),
        }  # fmt: skip
        where = {"model": model, "task": task, "condition": condition}
        for name, more in found.items():
            tables[name] += [where | row for row in more]
    return ScoreTables(
        pd.DataFrame(tables["scores"], columns=SCORE_COLUMNS),
        pd.DataFrame(tables["variants"], columns=VARIANT_COLUMNS),
        pd.DataFrame(tables["comparisons"], columns=COMPARISON_COLUMNS),
    )


def _groups(paths: Sequence[Path]) -> dict[tuple[str, str, str], dict[Run, Path]]:
    groups: dict[tuple[str, str, str], dict[Run, Path]] = {}
    for path in paths:
        run = Run.of(path)
        groups.setdefault((run.model, run.task, path.stem), {})[run] = path
    return groups


def _scored(
    task: str, group: Mapping[Run, Path]
) -> tuple[dict[str, Floats], list[str], list[dict[str, int]]]:
    """The scores by metric, shape (items, runs); the items' clusters; what `_unread` counts."""
    tables = _aligned(group)
    clusters = [row["cluster"] for row in tables[0]]
    return answer_scores(task, tables), clusters, [_unread(task, rows) for rows in tables]


def _aligned(group: Mapping[Run, Path]) -> list[list[Row]]:
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


def _resampled(
    values: Mapping[str, Floats],
    runs: Sequence[Run],
    clusters: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, Systems]:
    """The variants by each metric, in one bootstrap, whose draws take most of the time.

    The columns of the runs stand right before those of their variants.
    """
    variants = [run.variant for run in runs]
    means = {metric: averaged(scores, variants) for metric, scores in values.items()}
    columns = [np.hstack([scores, means[metric][1]]) for metric, scores in values.items()]
    both = PairedBootstrap(np.hstack(columns), clusters, resamples=resamples, seed=seed)
    metrics, first = {}, 0
    for metric, (names, scores) in means.items():
        single = [float(mean) for mean in both.means[first : first + len(runs)]]
        seeds = [
            [mean for mean, variant in zip(single, variants, strict=True) if variant == name]
            for name in names
        ]
        metrics[metric] = Systems(names, scores, seeds, both, first + len(runs))
        first += len(runs) + len(names)
    return metrics


def _run_rows(
    metrics: Mapping[str, Systems],
    runs: Sequence[Run],
    unread: Sequence[dict[str, int]],
    level: float,
) -> list[dict[str, Any]]:
    rows = []
    for metric, systems in metrics.items():
        both = systems.bootstrap
        size = {"n": both.n, "n_clusters": both.n_clusters}
        for i, run in enumerate(runs, systems.first - len(runs)):
            rows.append(
                {"variant": run.variant, "seed": run.seed, "metric": metric}
                | both.interval(i, level)._asdict() | size
            )  # fmt: skip
    return [row | unread[i % len(runs)] for i, row in enumerate(rows)]
