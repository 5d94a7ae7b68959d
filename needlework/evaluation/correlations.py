"""Does the resemblance of a variant's heads to those of real data go with its score?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from needlework.evaluation.metrics import main_metric
from needlework.statistics import spearman

MEASURES = ("recall_positive", "recall_above", "recall_top", "cosine")


def correlation_table(
    scores: pd.DataFrame, similarity: pd.DataFrame, *, reference: str
) -> pd.DataFrame:
    """`correlations.csv`: Spearman of each head measure with the task's main score, over variants.

    The reference variant is left out, because it resembles itself by definition. Seeds are
    averaged first: N is the number of variants, the untuned model among them.
    """
    decisive = scores["metric"] == scores["task"].map(main_metric)
    chosen = scores[decisive & (scores["condition"] == "plain")]
    keys = ["model", "task", "variant"]
    means = chosen.groupby(keys, sort=False)["mean"].mean()
    heads = similarity.groupby(keys, sort=False)[list(MEASURES)].mean()
    joined = heads.join(means, how="inner").reset_index()
    joined = joined[joined["variant"] != reference]
    rows: list[dict[str, Any]] = []
    for (model, task), group in joined.groupby(["model", "task"], sort=False):
        for measure in MEASURES:
            # A measure is NaN where a set of heads is empty; N says how many variants are left.
            defined = group[group[measure].notna()]
            found = spearman(defined[measure].to_numpy(), defined["mean"].to_numpy())
            rows.append(
                {"model": model, "task": task, "metric": main_metric(task), "measure": measure}
                | found._asdict()
            )
    return pd.DataFrame(rows, columns=["model", "task", "metric", "measure", "rho", "p", "n"])
