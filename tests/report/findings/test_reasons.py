"""Sentences on heads and interventions carry intervals, chance and adjusted p, and stay careful."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from needlework.report.findings.cases import cases
from needlework.report.findings.reasons import reasons
from needlework.report.tables.extracts import interventions_over_seeds
from needlework.report.tables.main_table import main_table
from tests.report.small_tables import (
    PATCH,
    agreement,
    check_numbers,
    correlation,
    intervention,
    similarity,
    tables,
    text,
)


def said(heads: pd.DataFrame | None = None, **given: pd.DataFrame) -> list[str]:
    """The sentences of a study of real data and `low`; their numbers are those of the tables."""
    heads = similarity([{}]) if heads is None else heads
    names = ["untuned", "real", *dict.fromkeys(heads["variant_a"])]
    made = tables(dict.fromkeys(names, 0.5)) | given | {"head_similarity": heads}
    main = main_table(made, reference="real")
    made["everywhere"] = made["correlations"][made["correlations"]["task"] == "all"]
    made["correlations"] = made["correlations"][made["correlations"]["task"] == "t"]
    files = {
        "tables/main.csv": main, "statistics/correlations.csv": made["correlations"],
        "statistics/reliability.csv": made["reliability"],
    }  # fmt: skip
    if "interventions" in made:
        made["interventions"] = interventions_over_seeds(made["interventions"], made["variants"])
        files["tables/interventions.csv"] = made["interventions"]
    (case,) = cases(main, reference="real", alpha=0.05, controls=())
    sentences = reasons(case, made)
    files["statistics/correlations.csv"] = pd.concat([made["correlations"], made["everywhere"]])
    for sentence in sentences:
        check_numbers(sentence, files)
    return [text(sentence) for sentence in sentences]


def interventions(*rows: dict[str, Any]) -> list[str]:
    return said(interventions=pd.DataFrame([intervention(**row) for row in rows]))[3:]


def test_recall_comes_with_its_interval_and_with_chance() -> None:
    assert said()[0] == (
        "Of the 8 heads that are positive after real data, the other models have "
        "0.50 [0.40, 0.60] (low; by chance 0.10)."
    )


def test_of_many_models_the_least_and_the_most_are_named() -> None:
    many = similarity([{"variant_a": f"v{i}", "value": i / 10} for i in (3, 1, 5, 2, 4)])
    first = said(many)[0]
    assert "the other models have from 0.10 [0.40, 0.60] (v1;" in first
    assert "to 0.50 [0.40, 0.60] (v5;" in first
    assert "v3" not in first


def test_recall_that_is_not_defined_is_not_told() -> None:
    empty = similarity([{"value": np.nan, "heads_b": 0}])
    assert said(empty)[0] == "Too few heads have a positive score to compare them."


def test_of_a_model_whose_heads_were_not_scored_nothing_is_told() -> None:
    none = {"reliability": agreement(0.9).iloc[:0], "correlations": correlation().iloc[:0]}
    assert said(similarity([{}]).iloc[:0], **none) == [
        "The heads of this model were not scored on this task."
    ]


def test_a_correlation_is_a_picture_whatever_its_p() -> None:
    assert said()[1] == (
        "This share is not shown to go with token F1 (Spearman ρ = 0.80 [−0.28, 0.98], p = 0.33, "
        "over 8 points, one for each variant: a picture, no proof)."
    )
    significant = said(correlations=correlation(p=0.04, low=np.nan))[1]
    assert significant.startswith("This share goes with token F1 (Spearman ρ = 0.80, p = 0.04")
    assert "no proof" in significant
    undefined = said(correlations=correlation(r=np.nan))
    assert not any("This share" in line for line in undefined)


def test_a_number_of_points_that_no_order_makes_significant_is_called_too_few() -> None:
    # Exact p of a perfect order: 2 / 4! is 0.083, 2 / 5! is 0.017.
    assert "too few for any order to be significant" in said(correlations=correlation(n=4))[1]
    assert "too few" not in said(correlations=correlation(n=5))[1]


def test_the_correlation_within_all_pairs_is_told_beside() -> None:
    line = said(correlations=correlation(everywhere=0.4))[2]
    assert line == (
        "Within all 3 pairs of model and task together it goes with the score (ρ = 0.40 "
        "[0.10, 0.70], p = 0.012, over 24 points)."
    )


def test_the_probe_is_judged_by_the_reference_and_predictions_are_called_so() -> None:
    assert said(reliability=agreement(0.5, 0.95))[2] == (
        "Head scores from some probe examples agree with those from as many others at 0.9, after "
        "real data: by cosine from 4 on and by rank (Spearman) from 4 on."
    )
    line = said(reliability=agreement(0.5, 0.7, predicted=(0.8, 0.92)))[2]
    assert "by cosine from about 16 on (predicted)" in line
    assert "by rank (Spearman) not at any size looked at" in line


def test_masks_are_told_against_random_heads_at_the_size_nearest_to_ten() -> None:
    (line,) = interventions(
        {"k": 5, "heads": 5, "difference": -0.1, "against": "random"},
        {"k": 8, "heads": 8, "against": "random", "p_adjusted": 0.0004},
        {"k": 8, "heads": 8, "difference": -0.9},
        {"k": 8, "heads": 8, "difference": -0.9, "chosen": "lowest", "against": "random"},
        {"k": 8, "heads": 8, "difference": -0.9, "against": "random", "metric": "exact_match"},
        {"k": 50, "heads": 50, "difference": -0.9, "against": "random"},
    )
    assert line == (
        "Masking the top 8 heads (zero mask, decoding) changes token F1, against as many random "
        "heads, by −0.30 [−0.40, −0.20] (real, p < 0.001)."
    )


def test_masks_without_a_control_are_told_against_none_and_smaller_sets_are_named() -> None:
    (line,) = interventions({"k": 10, "heads": 10}, {"k": 10, "heads": 7, "variant": "low"})
    assert "top 10 heads, 7 where no more have a score above 0, (zero mask" in line
    assert "against no mask" in line


def test_every_way_of_masking_is_told_and_many_models_are_counted() -> None:
    rows = [
        {"variant": f"v{i}", "kind": kind, "difference": -i / 10, "p_adjusted": 0.01 * i}
        for kind in ("zero", "mean") for i in range(1, 7)
    ]  # fmt: skip
    zero, mean = interventions(*rows)
    assert "(zero mask, decoding)" in zero
    assert "(mean mask, decoding)" in mean
    assert "by −0.60 [−0.40, −0.20] (v6, p = 0.06) to −0.10 [−0.40, −0.20] (v1, p = 0.01)" in zero
    assert zero.endswith("; significantly for 4 of 6 models.")


def test_patches_are_told_against_plain_answers_and_beside_random_heads() -> None:
    plus = {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3}
    rows = [
        PATCH | plus,
        PATCH | {"difference": 0.1, "against": "random", "p_adjusted": 0.04},
        PATCH | {"difference": -0.1, "against": "random", "p_adjusted": 0.01, "variant": "high"},
        PATCH | {"difference": 0.7, "chosen": "random"},
        PATCH | {"difference": 0.7, "chosen": "random", "draw": 1},
    ]
    (line,) = interventions(*rows)
    assert line == (
        "Outputs of heads that both models have, patched in from real data at the last position "
        "of each step, change token F1 by +0.20 [+0.10, +0.30] (low, p = 0.02); significantly more "
        "than random heads for low."
    )
    rows[1]["p_adjusted"] = 0.4
    (line,) = interventions(*rows)
    assert line.endswith("; never significantly more than random heads.")


def test_models_without_such_heads_are_named_not_counted() -> None:
    only = PATCH | {"chosen": "complement", "positions": "all"}
    (line,) = interventions(
        only | {"difference": 0.2}, only | {"variant": "high", "heads": 0, "difference": 0.0}
    )
    assert "heads that only the model of real data has" in line
    assert "at every position" in line
    assert "+0.20" in line
    assert line.endswith("; high has no such head.")
    (line,) = interventions(only | {"heads": 0, "difference": 0.0})
    assert line.endswith("has: nothing was patched in from real data.")
