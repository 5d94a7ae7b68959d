"""Correlations of heads and scores: over variants, without the reference, with what is defined."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from needlework.evaluation.correlations import MEASURES, correlation_table

# variant, seeds' mean scores, seeds' measures (the same for all four, but for the cosine)
_RUNS: list[tuple[str, list[float], list[float]]] = [
    ("untuned", [0.10], [0.0]),
    ("real", [0.90, 0.90], [1.0, 1.0]),
    ("high_low", [0.60, 0.50], [0.70, 0.50]),
    ("low_low", [0.20, 0.60], [0.40, 0.60]),
    ("symbolic", [0.50, 0.20], [0.30, 0.30]),
]


def _tables(
    runs: list[tuple[str, list[float], list[float]]], model: str = "m", task: str = "t"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    scores, similarity = [], []
    for variant, means, measures in runs:
        for seed, (mean, measure) in enumerate(zip(means, measures, strict=True)):
            run = {"model": model, "task": task, "variant": variant, "seed": seed}
            for metric, value in (("f1", mean), ("exact_match", 1 - mean)):
                scores.append(run | {"condition": "plain", "metric": metric, "mean": value})
            scores.append(run | {"condition": "mask-top10", "metric": "f1", "mean": 1 - mean})
            row = run | dict.fromkeys(MEASURES, measure)
            similarity.append(row | {"cosine": 1 - measure})
    return pd.DataFrame(scores), pd.DataFrame(similarity)


def _row(table: pd.DataFrame, measure: str) -> Any:
    (row,) = table[table["measure"] == measure].to_dict("records")
    return row


def test_seeds_are_averaged_and_the_reference_is_left_out() -> None:
    table = correlation_table(*_tables(_RUNS), reference="real")
    assert list(table.columns) == ["model", "task", "metric", "measure", "rho", "p", "n"]
    assert list(table["measure"]) == list(MEASURES)
    assert set(table["metric"]) == {"f1"}
    assert set(table["n"]) == {4}  # variants, not runs; without real data
    heads, means = [0.0, 0.6, 0.5, 0.3], [0.10, 0.55, 0.40, 0.35]
    assert stats.spearmanr(heads, means).statistic == pytest.approx(1)
    row = _row(table, "recall_positive")
    assert row["rho"] == pytest.approx(1)
    assert row["p"] == pytest.approx(2 / math.factorial(4))  # of all orders, two are as extreme
    assert _row(table, "cosine")["rho"] == pytest.approx(-1)


def test_the_reference_would_have_changed_it() -> None:
    """The control: with a low score of real data, leaving it in would lower rho."""
    runs = [(v, [0.0, 0.0] if v == "real" else m, h) for v, m, h in _RUNS]
    out = correlation_table(*_tables(runs), reference="real")
    kept = correlation_table(*_tables(runs), reference="none")
    assert _row(out, "recall_top")["rho"] == pytest.approx(1)
    assert _row(kept, "recall_top")["rho"] < 0.5
    assert _row(kept, "recall_top")["n"] == 5


def test_a_task_is_correlated_by_its_own_main_metric() -> None:
    scores, similarity = _tables(_RUNS)
    scores["task"] = similarity["task"] = "summhay"
    scores["metric"] = scores["metric"].replace({"f1": "citation_f1"})
    table = correlation_table(scores, similarity, reference="real")
    assert set(table["metric"]) == {"citation_f1"}
    assert _row(table, "recall_positive")["rho"] == pytest.approx(1)


def test_a_measure_that_is_undefined_leaves_its_variant_out() -> None:
    scores, similarity = _tables(_RUNS)
    similarity.loc[similarity["variant"] == "untuned", "cosine"] = math.nan
    table = correlation_table(scores, similarity, reference="real")
    assert _row(table, "cosine")["n"] == 3
    assert _row(table, "cosine")["rho"] == pytest.approx(-1)
    assert _row(table, "recall_positive")["n"] == 4


def test_a_measure_that_is_never_defined_has_no_correlation() -> None:
    scores, similarity = _tables(_RUNS)
    similarity["recall_above"] = math.nan
    row = _row(correlation_table(scores, similarity, reference="real"), "recall_above")
    assert row["n"] == 0
    assert math.isnan(row["rho"])
    assert math.isnan(row["p"])


def test_models_and_tasks_are_kept_apart() -> None:
    turned = [(v, [1 - x for x in m], h) for v, m, h in _RUNS]
    pieces = [_tables(_RUNS), _tables(turned, task="u"), _tables(_RUNS[:3], model="n")]
    scores, similarity = (
        pd.concat(parts, ignore_index=True) for parts in zip(*pieces, strict=True)
    )
    table = correlation_table(scores, similarity, reference="real")
    found = table[table["measure"] == "recall_top"].set_index(["model", "task"])
    assert found.loc[("m", "t"), "rho"] == pytest.approx(1)
    assert found.loc[("m", "u"), "rho"] == pytest.approx(-1)
    assert found.loc[("n", "t"), "n"] == 2  # too few for a correlation, and said so
    assert math.isnan(found.loc[("n", "t"), "rho"])
