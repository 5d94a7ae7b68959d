"""Does the resemblance of a variant's heads to those of real data go with its score?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from needlework.evaluation.metrics import main_metric
from needlework.statistics import pearson, spearman, within_groups

CORRELATION_COLUMNS = [
    "model", "task", "metric", "set", "measure", "method", "r", "low", "high", "p", "n", "groups"
]  # fmt: skip


def correlation_table(
    scores: pd.DataFrame,
    similarity: pd.DataFrame,
    *,
    reference: str,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """`correlations.csv`: each measure of resemblance with the task's main score, over variants.

    The reference variant is left out, because it resembles itself more than others do. Seeds are
    averaged first, those of a variant's score and those of both runs of a pair: n is the number of
    variants, the untuned model among them, for which the measure is defined. Where there are
    several pairs of model and task, rows whose model, task and metric are "all" have the
    correlation within each, pooled over them. Without similarities the table is empty.

    Args:
        scores: `scores.csv`.
        similarity: `head_similarity.csv`, of which the pairs with the reference on the same task
            count.
        reference: the variant that real heads are taken from.
        level: level of the intervals.
        resamples: resamples of the intervals, and permutations of the pooled correlations.
        seed: of both.
    """
    joined = _joined(scores, similarity, reference)
    how: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    rows: list[dict[str, Any]] = []
    for key, group in joined.groupby(["model", "task", "set", "measure"], sort=False):
        model, task, name, measure = key
        x, y = _defined(group)
        for correlate in (spearman, pearson):
            rows.append(
                {"model": model, "task": task, "metric": main_metric(task)}
                | {"set": name, "measure": measure, "method": correlate.__name__}
                | correlate(x, y, **how)._asdict() | {"groups": 1}
            )  # fmt: skip
    for (name, measure), group in joined.groupby(["set", "measure"], sort=False):
        x, y = _defined(group)
        places = (group["model"] + "/" + group["task"])[x.index]
        if places.nunique() > 1:
            rows.append(
                {"model": "all", "task": "all", "metric": "all"}
                | {"set": name, "measure": measure, "method": "within"}
                | within_groups(x, y, list(places), **how)._asdict()
                | {"groups": places.nunique()}
            )
    return pd.DataFrame(rows, columns=CORRELATION_COLUMNS)


def _joined(scores: pd.DataFrame, similarity: pd.DataFrame, reference: str) -> pd.DataFrame:
    """One row per model, task, variant, set and measure: its `value`, and the score as `mean`."""
    decisive = scores["metric"] == scores["task"].map(main_metric)
    chosen = scores[decisive & (scores["condition"] == "plain")]
    means = chosen.groupby(["model", "task", "variant"], sort=False)["mean"].mean()
    pairs = similarity[
        (similarity["variant_b"] == reference)
        & (similarity["variant_a"] != reference)
        & (similarity["task_a"] == similarity["task_b"])
    ].rename(columns={"task_a": "task", "variant_a": "variant"})
    keys = ["model", "task", "variant", "set", "measure"]
    heads = pairs.groupby(keys, sort=False)["value"].mean().reset_index()
    # Not join, which leaves an index named as the columns where nothing is joined.
    joined = heads.merge(means.reset_index(), on=["model", "task", "variant"])
    return joined.round(12)  # the noise of averaging must not break ties of ranks


def _defined(group: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """Measures and scores; a measure is NaN where a set of heads is empty."""
    defined = group[group["value"].notna()]
    return defined["value"], defined["mean"]
