"""The main table joins what belongs together; a difference is the variant less its yardstick."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from needlework.report.tables.main_table import main_table
from tests.report.small_tables import Tables, similarity, tables

ORDER = {"untuned": 0.3, "real": 0.8, "low_low": 0.6, "symbolic": 0.35}
CONTRAST = ("difference", "low", "high", "p", "p_adjusted", "seed_spread")
COLUMNS = [
    "model", "task", "variant", "metric", "mean", "low", "high", "seeds", "seed_sd", "rank",
    "rank_low", "rank_high", "best", "n", "n_clusters", "detectable",
    *(f"{yardstick}_{c}" for yardstick in ("untuned", "reference", "best") for c in CONTRAST),
    *(f"{m}{end}" for m in ("recall", "precision", "cosine")
      for end in ("", "_low", "_high", "_random")),
    "heads",
]  # fmt: skip


def by_variant(given: Tables, metric: str = "f1") -> pd.DataFrame:
    table = main_table(given, reference="real")
    return table[table["metric"] == metric].set_index("variant")


def test_there_is_a_row_for_every_variant_and_metric_with_the_columns_of_the_format() -> None:
    given = tables(ORDER)
    table = main_table(given, reference="real")
    assert list(table.columns) == COLUMNS
    assert list(table.index) == list(range(8))
    assert table[["variant", "metric"]].to_numpy().tolist() == [
        [variant, metric] for metric in ("f1", "exact_match") for variant in ORDER
    ]


def test_other_conditions_are_left_out() -> None:
    given = tables(ORDER)
    for name in ("variants", "comparisons"):
        other = given[name].assign(condition="closed_book", mean=9.0, difference=9.0)
        given[name] = pd.concat([other, given[name]], ignore_index=True)
    assert main_table(given, reference="real").equals(main_table(tables(ORDER), reference="real"))


def test_differences_are_against_untuned_reference_and_the_best_synthetic_variant() -> None:
    table = by_variant(tables(ORDER, {("symbolic", "low_low"): 0.03}))
    assert table["untuned_difference"].to_dict() == pytest.approx(
        {"untuned": np.nan, "real": 0.5, "low_low": 0.3, "symbolic": 0.05}, nan_ok=True
    )
    assert table.loc["symbolic", "best_difference"] == pytest.approx(-0.25)
    assert table.loc["symbolic", "best_p_adjusted"] == 0.03
    assert np.isnan(table.loc["low_low", "best_difference"])  # it is the best
    assert table["detectable"].isna().tolist() == [True, False, False, False]


def test_a_comparison_made_the_other_way_round_is_turned_with_its_interval() -> None:
    table = by_variant(tables(ORDER))
    untuned = table.loc["untuned", ["reference_difference", "reference_low", "reference_high"]]
    assert untuned.tolist() == pytest.approx([-0.5, -0.55, -0.4])
    assert table.loc["real", "best_difference"] == pytest.approx(0.2)  # low_low - real, turned


def test_exploratory_comparisons_are_in_no_column() -> None:
    given = tables(ORDER | {"wide": 0.5}, controls=("wide",))
    pair = given["comparisons"]["variant_a"].eq("wide") & given["comparisons"]["variant_b"].eq(
        "low_low"
    )
    assert given["comparisons"]["contrast"][pair].unique().tolist() == ["other"]
    assert np.isnan(by_variant(given).loc["wide", "best_difference"])


def test_the_best_is_the_best_of_each_metric() -> None:
    given = tables(ORDER)
    exact = given["variants"]["metric"] == "exact_match"
    given["variants"].loc[exact & (given["variants"]["variant"] == "symbolic"), "mean"] = 0.9
    assert by_variant(given)["best_difference"].notna()["symbolic"]
    table = by_variant(given, "exact_match")
    assert np.isnan(table.loc["symbolic", "best_difference"])
    assert table.loc["low_low", "best_difference"] == pytest.approx(0.25)


def test_resemblance_is_averaged_over_seeds_and_the_reference_only_has_a_number_of_heads() -> None:
    given = tables(ORDER)
    more = similarity([{"variant_a": "symbolic", "seed_a": 1, "value": 0.6, "low": 0.05}])
    given["head_similarity"] = pd.concat([given["head_similarity"], more])
    table = by_variant(given)
    symbolic = table.loc["symbolic"]
    assert symbolic[["recall", "recall_low", "precision", "cosine"]].tolist() == pytest.approx(
        [0.4, 0.05, 0.3, 0.4]
    )
    assert (symbolic["recall_random"], symbolic["heads"]) == (0.1, 4)
    assert table.loc["real", "heads"] == 8
    assert table.loc["real", ["recall", "precision", "cosine"]].isna().all()


def test_models_whose_heads_are_not_scored_have_none() -> None:
    given = tables(ORDER)
    given["head_similarity"] = given["head_similarity"].iloc[:0]
    table = main_table(given, reference="real")
    assert list(table.columns) == COLUMNS
    assert table[["recall", "cosine", "heads"]].isna().all(axis=None)


def test_tasks_and_models_do_not_mix() -> None:
    one, two = (
        tables(ORDER),
        tables({"untuned": 0.1, "real": 0.2, "low_low": 0.15, "symbolic": 0.18}),
    )
    for name in ("variants", "comparisons"):
        two[name] = two[name].assign(task="u")
    two["head_similarity"] = two["head_similarity"].assign(task_a="u", task_b="u", value=0.7)
    names = ("variants", "comparisons", "head_similarity")
    both = {name: pd.concat([one[name], two[name]], ignore_index=True) for name in names}
    table = main_table(both, reference="real")
    own = table[(table["task"] == "u") & (table["metric"] == "f1")].set_index("variant")
    assert own.loc["symbolic", "untuned_difference"] == pytest.approx(0.08)
    assert np.isnan(own.loc["symbolic", "best_difference"])
    assert own.loc["low_low", "recall"] == 0.7
    assert len(table) == 16
