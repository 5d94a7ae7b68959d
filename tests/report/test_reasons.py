"""Sentences on heads and interventions carry intervals, chance and adjusted p, and stay careful."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from needlework.report.reasons import reasons
from needlework.report.tables import against_reference
from tests.report.test_tables import intervention, similarity

COLUMNS = ["model", "task", "metric", "set", "measure", "method", "r", "low", "high", "p", "n"]


def correlation(r: float = 0.8, p: float = 0.33, low: float = -0.28) -> pd.DataFrame:
    rows = [
        ("m", "t", "f1", of, "recall", method, r if (of, method) == ("positive", "spearman") else 0,
         low, 0.98, p, 4)
        for of in ("above", "positive") for method in ("pearson", "spearman")
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def agreement(*values: float, predicted: tuple[float, ...] = ()) -> pd.DataFrame:
    rows = [
        {"model": "m", "task": "t", "variant": variant, "seed": 0, "measure": measure,
         "examples": 2 ** (i + 1), "value": value if variant == "real" else 0.1,
         "predicted": i >= len(values)}
        for variant in ("real", "low") for measure in ("cosine", "spearman")
        for i, value in enumerate(
            (*values, *predicted) if measure == "cosine" else values
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)


def said(**tables: pd.DataFrame) -> list[str]:
    given = {
        "heads": against_reference(similarity([{}]), "real"), "correlations": correlation(),
        "reliability": agreement(0.5, 0.95),
    }  # fmt: skip
    return reasons(given | tables, "f1", reference="real", alpha=0.05)


def interventions(*rows: dict[str, Any]) -> list[str]:
    return said(interventions=pd.DataFrame([intervention(**row) for row in rows]))[3:]


def test_recall_comes_with_its_interval_and_with_chance() -> None:
    assert said()[0] == (
        "Of the 8 heads that are positive after real data, the other models have "
        "0.50 [0.40, 0.60] (low; by chance 0.10)."
    )


def test_of_many_models_the_least_and_the_most_are_named() -> None:
    many = similarity([{"variant_a": f"v{i}", "value": i / 10} for i in (3, 1, 5, 2, 4)])
    text = said(heads=against_reference(many, "real"))[0]
    assert "5 other models have from 0.10 [0.40, 0.60] (v1;" in text
    assert "to 0.50 [0.40, 0.60] (v5;" in text
    assert "v3" not in text


def test_recall_that_is_not_defined_is_not_told() -> None:
    empty = similarity([{"value": np.nan, "heads_b": 0}])
    first = said(heads=against_reference(empty, "real"))[0]
    assert first == "Too few heads have a positive score to compare them."


def test_a_correlation_is_a_picture_whatever_its_p() -> None:
    assert said()[1] == (
        "This share is not shown to go with token F1 (Spearman ρ = 0.80 [-0.28, 0.98], p = 0.33, "
        "N = 4 models: a picture, no proof)."
    )
    significant = said(correlations=correlation(p=0.04, low=np.nan))[1]
    assert significant.startswith("This share goes with token F1 (Spearman ρ = 0.80, p = 0.04")
    assert "no proof" in significant
    undefined = said(correlations=correlation(r=np.nan))
    assert not any("This share" in text for text in undefined)


def test_the_probe_is_judged_by_the_reference_and_predictions_are_called_so() -> None:
    assert said()[2] == (
        "Head scores from some probe examples agree with those from as many others at 0.9, after "
        "real data: by cosine from 4 on and by rank (Spearman) from 4 on."
    )
    text = said(reliability=agreement(0.5, 0.7, predicted=(0.8, 0.92)))[2]
    assert "by cosine from about 16 on (predicted)" in text
    assert "by rank (Spearman) not at any size looked at" in text


def test_masks_are_told_against_random_heads_at_the_size_nearest_to_ten() -> None:
    (text,) = interventions(
        {"k": 5, "heads": 5, "difference": -0.1, "against": "random"},
        {"k": 8, "heads": 8, "against": "random", "p_adjusted": 0.0004},
        {"k": 8, "heads": 8, "difference": -0.9},
        {"k": 8, "heads": 8, "difference": -0.9, "chosen": "lowest", "against": "random"},
        {"k": 8, "heads": 8, "difference": -0.9, "against": "random", "metric": "exact_match"},
        {"k": 50, "heads": 50, "difference": -0.9, "against": "random"},
    )
    assert text == (
        "Masking the top 8 heads (zero mask, decoding) changes token F1, against as many random "
        "heads, by -0.30 [-0.40, -0.20] (real, p < 0.001)."
    )


def test_masks_without_a_control_are_told_against_none_and_smaller_sets_are_named() -> None:
    (text,) = interventions({"k": 10, "heads": 10}, {"k": 10, "heads": 7, "variant": "low"})
    assert "top 10 heads, 7 where no more have a score above 0, (zero mask" in text
    assert "against no mask" in text


def test_every_way_of_masking_is_told_and_many_models_are_counted() -> None:
    rows = [
        {"variant": f"v{i}", "kind": kind, "difference": -i / 10, "p_adjusted": 0.01 * i}
        for kind in ("zero", "mean") for i in range(1, 7)
    ]  # fmt: skip
    zero, mean = interventions(*rows)
    assert "(zero mask, decoding)" in zero
    assert "(mean mask, decoding)" in mean
    assert "by -0.60 [-0.40, -0.20] (v6, p = 0.06) to -0.10 [-0.40, -0.20] (v1, p = 0.01)" in zero
    assert zero.endswith("; significantly for 4 of 6 models.")


PATCH = {"action": "patch", "chosen": "intersection", "variant": "low", "k": np.nan,
         "kind": np.nan, "during": np.nan, "source": "real", "positions": "last"}  # fmt: skip


def test_patches_are_told_against_plain_answers_and_beside_random_heads() -> None:
    (text,) = interventions(
        PATCH | {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3},
        PATCH | {"difference": 0.1, "against": "random", "p_adjusted": 0.04},
        PATCH | {"difference": -0.1, "against": "random", "p_adjusted": 0.01, "variant": "high"},
        PATCH | {"difference": 0.7, "chosen": "random"},
        PATCH | {"difference": 0.7, "chosen": "random", "draw": 1},
    )
    assert text == (
        "Outputs of heads that both models have, patched in from real data at the last position "
        "of each step, change token F1 by +0.20 [+0.10, +0.30] (low, p = 0.02); more than random "
        "heads, significantly, for 1 of 2."
    )


def test_models_without_such_heads_are_named_not_counted() -> None:
    only = PATCH | {"chosen": "complement", "positions": "all"}
    (text,) = interventions(
        only | {"difference": 0.2}, only | {"variant": "high", "heads": 0, "difference": 0.0}
    )
    assert "heads that only the model of real data has" in text
    assert "at every position" in text
    assert "+0.20" in text
    assert text.endswith("; high has no such head.")
    (text,) = interventions(only | {"heads": 0, "difference": 0.0})
    assert text.endswith("has: nothing was patched in from real data.")
