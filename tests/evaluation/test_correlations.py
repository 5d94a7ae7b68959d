"""Correlations of heads and scores: over variants, without the reference, with what is defined."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from needlework.evaluation.correlations import correlation_table

# variant, seeds' mean scores, seeds' resemblance to real data
_Runs = list[tuple[str, list[float], list[float]]]
_RUNS: _Runs = [
    ("untuned", [0.10], [0.0]),
    ("real", [0.90, 0.90], [1.0, 1.0]),
    ("high_low", [0.60, 0.50], [0.70, 0.50]),
    ("low_low", [0.20, 0.60], [0.40, 0.70]),
    ("symbolic", [0.50, 0.20], [0.30, 0.10]),
    ("limited", [0.30, 0.40], [0.35, 0.15]),
]


def _tables(runs: _Runs, model: str = "m", task: str = "t") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores, and every pair of runs; only those with the reference on the task may count."""
    scores, pairs = [], []
    for variant, means, measures in runs:
        for seed, (mean, measure) in enumerate(zip(means, measures, strict=True)):
            run = {"model": model, "task": task, "variant": variant, "seed": seed}
            for metric, value in (("f1", mean), ("exact_match", 1 - mean)):
                scores.append(run | {"condition": "plain", "metric": metric, "mean": value})
            scores.append(run | {"condition": "mask-top10", "metric": "f1", "mean": 1 - mean})
            a = {"model": model, "task_a": task, "variant_a": variant, "seed_a": seed}
            for other, task_b, shift in [
                ("real", task, 0.05), ("real", task, -0.05),  # two seeds of the reference
                ("real", "other", 5 - 9 * measure), ("low_low", task, 5 - 9 * measure),
            ]:  # fmt: skip
                b = {"task_b": task_b, "variant_b": other, "seed_b": int(shift < 0)}
                for name, sign in (("positive", 1), ("scores", -1)):
                    named = {"set": name, "measure": "recall" if sign > 0 else "cosine"}
                    pairs.append(a | b | named | {"value": sign * (measure + shift)})
    return pd.DataFrame(scores), pd.DataFrame(pairs)


def _row(table: pd.DataFrame, name: str, method: str = "spearman") -> Any:
    (row,) = table[(table["set"] == name) & (table["method"] == method)].itertuples(index=False)
    return row


def test_seeds_are_averaged_and_the_reference_is_left_out() -> None:
    table = correlation_table(*_tables(_RUNS), reference="real", level=0.9)
    assert list(table.columns) == [
        "model", "task", "metric", "set", "measure", "method", "r", "low", "high", "p", "n"
    ]  # fmt: skip
    assert list(zip(table["set"], table["measure"], table["method"], strict=True)) == [
        ("positive", "recall", "spearman"),
        ("positive", "recall", "pearson"),
        ("scores", "cosine", "spearman"),
        ("scores", "cosine", "pearson"),
    ]
    assert set(table["metric"]) == {"f1"}
    assert set(table["n"]) == {5}  # variants, not runs; without real data
    heads, means = [0.0, 0.60, 0.55, 0.20, 0.25], [0.10, 0.55, 0.40, 0.35, 0.35]
    spearman, pearson = stats.spearmanr(heads, means), stats.pearsonr(heads, means)
    row = _row(table, "positive", "pearson")
    limits = pearson.confidence_interval(0.9)
    assert row[6:10] == pytest.approx((pearson.statistic, limits.low, limits.high, pearson.pvalue))
    row = _row(table, "positive")
    assert row.r == pytest.approx(spearman.statistic)
    width = 1.6448536 * math.sqrt((1 + row.r**2 / 2) / 2)
    assert math.atanh(row.r) - math.atanh(row.low) == pytest.approx(width)
    assert math.atanh(row.high) - math.atanh(row.r) == pytest.approx(width)
    # Of all 120 orders, with the tie of two scores, two are as extreme on either side.
    assert row.p == pytest.approx(4 / math.factorial(5))
    assert _row(table, "scores").r == pytest.approx(-row.r)


def test_the_reference_would_have_changed_it() -> None:
    """The control: with a low score of real data, leaving it in would lower r."""
    scores, similarity = _tables([(v, [0.0] * 2 if v == "real" else m, h) for v, m, h in _RUNS])
    out = correlation_table(scores, similarity, reference="real")
    kept = similarity.assign(variant_b=similarity["variant_b"].replace({"real": "gold"}))
    inside = correlation_table(scores, kept, reference="gold")
    assert _row(out, "positive").r > 0.9
    assert _row(inside, "positive").r < 0.5
    assert _row(inside, "positive").n == 6


def test_a_task_is_correlated_by_its_own_main_metric() -> None:
    scores, similarity = _tables(_RUNS, task="summhay")
    scores["metric"] = scores["metric"].replace({"f1": "citation_f1"})
    table = correlation_table(scores, similarity, reference="real")
    assert set(table["metric"]) == {"citation_f1"}
    assert _row(table, "positive").r > 0.9


def test_a_measure_that_is_undefined_leaves_its_variant_out() -> None:
    scores, similarity = _tables(_RUNS)
    similarity.loc[
        (similarity["variant_a"] == "untuned") & (similarity["set"] == "scores"), "value"
    ] = math.nan
    table = correlation_table(scores, similarity, reference="real")
    assert _row(table, "scores").n == 4
    assert _row(table, "scores", "pearson").n == 4
    assert _row(table, "positive").n == 5


def test_a_measure_that_is_never_defined_has_no_correlation() -> None:
    scores, similarity = _tables(_RUNS)
    similarity.loc[similarity["set"] == "positive", "value"] = math.nan
    for method in ("spearman", "pearson"):
        row = _row(correlation_table(scores, similarity, reference="real"), "positive", method)
        assert row.n == 0
        assert all(map(math.isnan, row[6:10]))


def test_models_and_tasks_are_kept_apart() -> None:
    turned = [(v, [1 - x for x in m], h) for v, m, h in _RUNS]
    pieces = [_tables(_RUNS), _tables(turned, task="u"), _tables(_RUNS[:3], model="n")]
    scores, similarity = (
        pd.concat(parts, ignore_index=True) for parts in zip(*pieces, strict=True)
    )
    table = correlation_table(scores, similarity, reference="real")
    found = table[(table["set"] == "positive") & (table["method"] == "spearman")]
    found = found.set_index(["model", "task"])
    # With 1 - x for each score, a tie stays a tie, though 0.35 is not 1 - 0.65 to the last bit.
    assert found.loc[("m", "t"), "r"] == pytest.approx(-found.loc[("m", "u"), "r"])
    assert found.loc[("m", "t"), "r"] > 0.9
    assert found.loc[("n", "t"), "n"] == 2  # too few for a correlation, and said so
    assert math.isnan(found.loc[("n", "t"), "r"])
