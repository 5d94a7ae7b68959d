"""The main table: of every variant its score, its differences from yardsticks, and its heads."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from needlework.report.tables.extracts import PAIR, against_reference, plain
from needlework.study.values import UNTUNED

_SCORE = [
    *PAIR, "variant", "metric", "mean", "low", "high", "seeds", "seed_sd", "rank", "rank_low",
    "rank_high", "best", "n", "n_clusters",
]  # fmt: skip
_CONTRAST = ["difference", "low", "high", "p", "p_adjusted", "seed_spread"]
_HEADS = {"recall": "positive", "precision": "positive", "cosine": "scores"}


def main_table(tables: Mapping[str, pd.DataFrame], *, reference: str) -> pd.DataFrame:
    """`tables/main.csv`: one row per model, task, variant and metric of the test as it is.

    The yardsticks are the untuned model, the reference, and the synthetic variant with the highest
    mean. A difference is the row's variant less the yardstick, from the planned comparisons; it is
    empty where there is none.

    Args:
        tables: `variants`, `comparisons` and `head_similarity`, as docs/formats.md has them.
        reference: the variant that the others are measured against.

    Returns:
        model, task, variant, metric, mean, low, high, seeds, seed_sd, rank, rank_low, rank_high,
        best, n, n_clusters; detectable (against the untuned model); per yardstick, with `untuned_`,
        `reference_` and `best_` before them: difference, low, high, p, p_adjusted, seed_spread;
        per resemblance of the heads to the reference's, over seeds: recall, recall_low,
        recall_high, recall_random, and so for precision and cosine; heads (positive ones).
    """
    table = plain(tables["variants"])[_SCORE].reset_index(drop=True)
    differences = _differences(plain(tables["comparisons"]))
    pairs = [*PAIR, "metric", "variant", "against"]
    detectable = _against(table, differences, pd.Series(UNTUNED, table.index))["detectable"]
    yardsticks = {
        "untuned": pd.Series(UNTUNED, table.index),
        "reference": pd.Series(reference, table.index),
        "best": _best(table),
    }
    parts = [table, detectable]
    for name, yardstick in yardsticks.items():
        parts.append(_against(table, differences, yardstick)[_CONTRAST].add_prefix(f"{name}_"))
    heads = _heads(tables["head_similarity"], reference)
    assert not differences.duplicated(pairs).any()
    return pd.concat(parts, axis=1).merge(heads, on=[*PAIR, "variant"], how="left")


def _differences(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The planned comparisons, each both ways round: variant less `against`."""
    planned = comparisons[comparisons["contrast"] != "other"]
    ends = {"variant_a": "variant", "variant_b": "against"}
    turned = planned.assign(
        difference=-planned["difference"], low=-planned["high"], high=-planned["low"]
    ).rename(columns={"variant_a": "against", "variant_b": "variant"})
    return pd.concat([planned.rename(columns=ends), turned], ignore_index=True)


def _against(table: pd.DataFrame, differences: pd.DataFrame, yardstick: pd.Series) -> pd.DataFrame:
    """The comparison of each row of `table` with its yardstick, in the rows of `table`."""
    keys = [*PAIR, "metric", "variant", "against"]
    wanted = differences[[*keys, *_CONTRAST, "detectable"]]
    return table.assign(against=yardstick)[keys].merge(wanted, on=keys, how="left")


def _best(table: pd.DataFrame) -> pd.Series:
    """The synthetic variant with the highest mean of each row's model, task and metric."""
    ranked = table[table["rank"].notna()]
    keys = [*PAIR, "metric"]
    best = ranked.loc[ranked.groupby(keys)["mean"].idxmax(), [*keys, "variant"]]
    return table[keys].merge(best, on=keys, how="left")["variant"]


def _heads(similarity: pd.DataFrame, reference: str) -> pd.DataFrame:
    heads = against_reference(similarity, reference)
    table = heads[[*PAIR, "variant"]].drop_duplicates()
    for measure, of in _HEADS.items():
        chosen = heads[(heads["set"] == of) & (heads["measure"] == measure)]
        numbers = chosen[[*PAIR, "variant", "value", "low", "high", "random"]].rename(
            columns={"value": measure} | {n: f"{measure}_{n}" for n in ("low", "high", "random")}
        )
        table = table.merge(numbers, on=[*PAIR, "variant"], how="left")
    positive = heads[(heads["set"] == "positive") & (heads["measure"] == "recall")]
    own = positive[[*PAIR, "variant", "heads_a"]].rename(columns={"heads_a": "heads"})
    wanted = positive.groupby(PAIR, sort=False)["heads_b"].max().rename("heads").reset_index()
    counted = pd.concat([own, wanted.assign(variant=reference)])
    return table.merge(counted, on=[*PAIR, "variant"], how="outer")
