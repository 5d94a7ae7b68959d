"""What figures and sentences take from the tables is what the tables say, seeds put together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from needlework.report.tables import extracts as tables
from tests.report.small_tables import PAIR, PATCH, PLAIN, intervention, similarity


def variants(*rows: tuple[str, str, float], condition: str = "plain") -> pd.DataFrame:
    return pd.DataFrame(
        PAIR | {"variant": v, "condition": condition, "metric": metric, "mean": mean,
                "low": mean - 0.1, "high": mean + 0.1, "n": 9, "n_clusters": 9}
        for v, metric, mean in rows
    )  # fmt: skip


def test_seeds_give_their_mean_the_widest_interval_and_the_highest_p() -> None:
    table = pd.DataFrame(
        {"variant": ["a", "a", "b"], "mean": [0.2, 0.4, 0.9], "low": [0.1, 0.3, 0.8],
         "high": [0.5, 0.6, 1.0], "p_adjusted": [0.01, 0.2, 0.5]}
    )  # fmt: skip
    (first, second) = tables.over_seeds(table, ["variant"]).to_dict("records")
    assert first == pytest.approx(
        {"variant": "a", "mean": 0.3, "low": 0.1, "high": 0.6, "p_adjusted": 0.2}
    )
    assert second["mean"] == 0.9


def test_only_pairs_with_the_reference_on_the_same_task_tell_of_a_variant() -> None:
    table = similarity(
        [
            {"value": 0.3, "seed_b": 0},
            {"value": 0.5, "seed_b": 1},
            {"value": 0.9, "task_b": "other"},
            {"value": 0.9, "variant_b": "untuned"},
            {"value": 0.9, "variant_a": "real", "seed_a": 1},
        ]
    )
    (row,) = tables.against_reference(table, "real").to_dict("records")
    assert (row["task"], row["variant"]) == ("t", "low")
    assert row["value"] == pytest.approx(0.4)
    assert row["heads_b"] == 8


def test_the_reference_recalls_itself_unless_it_has_no_heads() -> None:
    both = variants(("real", "f1", 0.9), ("low", "f1", 0.5), ("low", "exact_match", 0.1))
    points = tables.recall_points(both, similarity([{}]), "real").set_index("variant")
    assert points.loc["real", "recall"] == 1
    assert points.loc["low", ["recall", "recall_low", "random", "mean"]].tolist() == [
        0.5, 0.4, 0.1, 0.5
    ]  # fmt: skip
    empty = similarity([{"heads_b": 0, "value": np.nan}])
    assert tables.recall_points(both, empty, "real")["recall"].isna().all()


def test_masked_scores_are_no_points_of_recall() -> None:
    both = pd.concat([variants(("low", "f1", 0.5)), variants(("low", "f1", 0.1), condition="mask")])
    assert tables.recall_points(both, similarity([{}]), "real")["mean"].tolist() == [0.5]


def test_the_matrix_is_the_same_both_ways_round_and_its_diagonal_is_known() -> None:
    pairs = [
        {"set": "scores", "measure": "cosine", "value": 0.4},
        {"set": "scores", "measure": "cosine", "value": 0.6, "seed_a": 1},
        {"set": "scores", "measure": "cosine", "value": 0.8, "variant_b": "low", "seed_b": 1},
        {"set": "scores", "measure": "spearman", "value": 0.1},
        {"value": 0.1},
    ]
    matrix = tables.cosine_matrix(similarity(pairs))
    found = {(row.variant_a, row.variant_b): row.value for row in matrix.itertuples()}
    assert found == pytest.approx(
        {("low", "real"): 0.5, ("real", "low"): 0.5, ("low", "low"): 0.8, ("real", "real"): 1.0}
    )


def test_a_line_of_masks_starts_at_the_plain_score_of_the_same_items() -> None:
    table = pd.DataFrame(
        [
            intervention(**PLAIN),
            intervention(**PLAIN, metric="exact_match"),
            intervention(mean=0.3),
            intervention(mean=0.3, against="random"),
            intervention(chosen="random", mean=0.7),
            intervention(chosen="random", mean=0.6, draw=0),
            intervention(chosen="random", mean=0.8, draw=1),
            intervention(action="patch", chosen="intersection", k=np.nan),
        ]
    )
    points = tables.masking_points(table, variants(("real", "f1", 0.9)))
    assert points[["chosen", "k", "draw", "mean"]].fillna(-1).to_numpy().tolist() == [
        ["plain", 0, -1, 0.8], ["top", 5, -1, 0.3], ["random", 5, -1, 0.7], ["random", 5, 0, 0.6],
        ["random", 5, 1, 0.8],
    ]  # fmt: skip
    assert set(points["kind"]) == {"zero"}
    assert set(points["metric"]) == {"f1"}


def test_bars_of_patches_are_changes_from_the_plain_answers() -> None:
    table = pd.DataFrame(
        [
            intervention(**PATCH | {"chosen": "intersection", "difference": 0.2}),
            intervention(
                **PATCH | {"chosen": "intersection", "difference": 0.1, "against": "random"}
            ),
            intervention(**PATCH | {"chosen": "random", "difference": 0.05, "draw": 1}),
            intervention(),
        ]
    )
    points = tables.patching_points(table, variants(("real", "f1", 0.9)))
    assert points[["chosen", "difference"]].to_numpy().tolist() == [
        ["intersection", 0.2], ["random", 0.05]
    ]  # fmt: skip


def test_a_mean_over_draws_has_the_record_of_the_first() -> None:
    table = pd.DataFrame(
        [
            intervention(**PLAIN),
            intervention(condition="mask-top5-zero-decoding"),
            intervention(condition="mask-random5-draw0-zero-decoding", chosen="random", draw=0),
            intervention(condition="mask-random5-draw1-zero-decoding", chosen="random", draw=1),
            intervention(condition="mask-random5-zero-decoding", chosen="random"),
        ]
    )
    rows = tables.intervention_rows(table, variants(("real", "f1", 0.9)))
    assert rows["record"].tolist() == [
        "interventions/m/t/real/seed0/mask-top5-zero-decoding.json",
        "interventions/m/t/real/seed0/mask-random5-draw0-zero-decoding.json",
    ]
    assert rows["draws"].fillna(0).tolist() == [0, 2]
    assert rows.index.tolist() == [1, 4]  # the numbers of the rows in the file


def test_rows_of_the_decisive_metric_keep_the_number_they_have_in_the_file() -> None:
    table = variants(("a", "exact_match", 0.1), ("b", "f1", 0.2), ("a", "f1", 0.3))
    order = variants(("a", "f1", 0.3), ("a", "exact_match", 0.1))
    assert tables.decisive(table, order)["mean"].to_dict() == {1: 0.2, 2: 0.3}


def test_interventions_over_seeds_are_means_with_the_widest_interval_and_the_highest_p() -> None:
    table = pd.DataFrame(
        [
            intervention(**PLAIN),
            intervention(**PLAIN | {"seed": 1, "mean": 0.6, "low": 0.5}),
            intervention(),
            intervention(
                seed=1,
                mean=0.3,
                difference=-0.1,
                difference_high=0.1,
                p_adjusted=0.4,
                detectable=0.3,
            ),
            intervention(against="random", difference=-0.2),
            intervention(chosen="random", draw=0, mean=0.0),
            intervention(chosen="random", mean=0.7),
            intervention(metric="exact_match", mean=0.0),
        ]
    )
    rows = tables.interventions_over_seeds(table, variants(("real", "f1", 0.9)))
    assert rows.index.tolist() == [0, 1, 2, 3]
    numbers = rows[
        ["mean", "low", "seeds", "difference", "difference_high", "p_adjusted", "detectable"]
    ]
    assert numbers.iloc[0].tolist()[:3] == pytest.approx([0.7, 0.5, 2])
    assert numbers.iloc[1].tolist() == pytest.approx([0.4, 0.4, 2, -0.2, 0.1, 0.4, 0.3])
    assert rows["against"].fillna("").tolist() == ["", "plain", "random", "plain"]
    assert rows["chosen"].fillna("").tolist() == ["", "top", "top", "random"]
