"""Does the resemblance of a variant's heads to those of real data go with its score?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from needlework.evaluation.metrics import main_metric
from needlework.statistics import pearson, spearman

_COLUMNS = [
    "model", "task", "metric", "set", "measure", "method", "r", "low", "high", "p", "n"
]  # fmt: skip


def correlation_table(
    scores: pd.DataFrame, similarity: pd.DataFrame, *, reference: str, level: float = 0.95
) -> pd.DataFrame:
    """`correlations.csv`: each measure of resemblance with the task's main score, over variants.

    The reference variant is left out, because it resembles itself more than others do. Seeds are
    averaged first, those of a variant's score and those of both runs of a pair: n is the number of
    variants, the untuned model among them, for which the measure is defined.

    Args:
        scores: `scores.csv`.
        similarity: `head_similarity.csv`, of which the pairs with the reference on the same task
            count.
        reference: the variant that real heads are taken from.
        level: level of the intervals.
    """
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
    joined = heads.join(means, on=["model", "task", "variant"], how="inner")
    joined = joined.round(12)  # the noise of averaging must not break ties of ranks
    rows: list[dict[str, Any]] = []
    for key, group in joined.groupby(["model", "task", "set", "measure"], sort=False):
        model, task, name, measure = key
        # A measure is NaN where a set of heads is empty; n says how many variants are left.
        defined = group[group["value"].notna()]
        for correlate in (spearman, pearson):
            found = correlate(defined["value"].to_numpy(), defined["mean"].to_numpy(), level)
            rows.append(
                {"model": model, "task": task, "metric": main_metric(task)}
                | {"set": name, "measure": measure, "method": correlate.__name__}
                | found._asdict()
            )
    return pd.DataFrame(rows, columns=_COLUMNS)
