"""Scores of the answers of several runs, or conditions, to the same items."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from needlework.evaluation.metrics import metrics_for
from needlework.evaluation.predict import Row

Floats = NDArray[np.float64]


def answer_scores(task: str, tables: Sequence[Sequence[Row]]) -> dict[str, Floats]:
    """Every metric of a task by name, the main one first: scores of shape (items, tables).

    Args:
        task: decides the metrics.
        tables: rows of predictions, item by item the same.
    """
    metrics = metrics_for(task)

    @cache  # runs often give an item the same answer
    def score(prediction: str, answers: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(metric(prediction, answers) for metric in metrics.values())

    values = np.array(
        [[score(row["prediction"], tuple(row["answers"])) for row in rows] for rows in tables]
    )
    return {metric: values[:, :, i].T for i, metric in enumerate(metrics)}
