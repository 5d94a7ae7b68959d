"""One model on one task: the rows of the main table that sentences are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import pandas as pd

from needlework.layout import holds_real
from needlework.report.tables.extracts import PAIR, decisive
from needlework.study.values import UNTUNED

MAIN = "tables/main.csv"


class Case(NamedTuple):
    """What was found for one model and task in the metric that decides.

    Attributes:
        model: the model.
        task: the task.
        metrics: all of the task, the decisive one first.
        rows: rows of the main table in the decisive metric, their index the number of the row.
        synthetic: those of them that are synthetic data, the highest mean first.
        reference: the variant that the others are measured against.
        alpha: level below which an adjusted p counts as significant.
    """

    model: str
    task: str
    metrics: list[str]
    rows: pd.DataFrame
    synthetic: pd.DataFrame
    reference: str
    alpha: float


def cases(
    main: pd.DataFrame, *, reference: str, alpha: float, controls: Collection[str]
) -> Iterator[Case]:
    """One case for every model and task of the main table, in its order."""
    for (model, task), part in main.groupby(PAIR, sort=False):
        rows = decisive(part, part)
        synthetic = [is_synthetic(name, controls) for name in rows["variant"]]
        ordered = rows[synthetic].sort_values("mean", ascending=False, kind="stable")
        metrics = [str(name) for name in part["metric"].unique()]
        yield Case(str(model), str(task), metrics, rows, ordered, reference, alpha)


def is_synthetic(variant: str, controls: Collection[str]) -> bool:
    """Whether a variant is neither the untuned model nor a control, and holds no real data."""
    return variant != UNTUNED and variant not in controls and not holds_real(variant)


def significant(row: pd.Series, yardstick: str, alpha: float) -> bool:
    """Whether a row differs from a yardstick by more than chance over items explains."""
    return bool(row[f"{yardstick}_p_adjusted"] < alpha)


def within_seeds(row: pd.Series, yardstick: str) -> bool:
    """Whether a difference is no larger than that of two single trainings (`seed_spread`)."""
    return bool(abs(row[f"{yardstick}_difference"]) <= row[f"{yardstick}_seed_spread"])


def established(row: pd.Series, yardstick: str, alpha: float) -> bool:
    """Whether a difference is significant over items and larger than the spread over seeds."""
    return significant(row, yardstick, alpha) and not within_seeds(row, yardstick)


def gains(row: pd.Series, alpha: float) -> bool:
    """Whether a variant is established to be above the untuned model."""
    return established(row, UNTUNED, alpha) and row["untuned_difference"] > 0
