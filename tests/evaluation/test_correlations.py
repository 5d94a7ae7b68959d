"""Correlations of heads and scores: over variants, without the reference, with what is defined."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from needlework.evaluation.correlations import CORRELATION_COLUMNS, correlation_table
from needlework.statistics import Correlation, pearson, spearman, within_groups

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


def _found(row: Any) -> Any:
    """The numbers of a row, but for the noise of rounding."""
    return pytest.approx(Correlation(row.r, row.low, row.high, row.p, row.n), rel=1e-9)


def test_seeds_are_averaged_and_the_reference_is_left_out() -> None:
    how: dict[str, Any] = {"level": 0.9, "resamples": 500, "seed": 4}
    table = correlation_table(*_tables(_RUNS), reference="real", **how)
    assert list(table.columns) == CORRELATION_COLUMNS
    assert list(zip(table["set"], table["measure"], table["method"], strict=True)) == [
        ("positive", "recall", "spearman"),
        ("positive", "recall", "pearson"),
        ("scores", "cosine", "spearman"),
        ("scores", "cosine", "pearson"),
    ]
    assert set(table["metric"]) == {"f1"}
    assert set(table["n"]) == {5}  # variants, not runs; without real data
    assert set(table["groups"]) == {1}
    heads, means = [0.0, 0.60, 0.55, 0.20, 0.25], [0.10, 0.55, 0.40, 0.35, 0.35]
    row = _row(table, "positive", "pearson")
    assert _found(row) == pearson(heads, means, **how)
    assert row.r == pytest.approx(stats.pearsonr(heads, means).statistic)
    row = _row(table, "positive")
    assert _found(row) == spearman(heads, means, **how)
    assert row.r == pytest.approx(stats.spearmanr(heads, means).statistic)
    # Of all 120 orders, with the tie of two scores, two are as extreme on either side.
    assert row.p == pytest.approx(4 / math.factorial(5))
    assert _row(table, "scores").r == pytest.approx(-row.r)


def test_the_reference_would_have_changed_it() -> None:
    """The control: with a low score of real data, leaving it in would lower r."""
    scores, similarity = _tables([(v, [0.0] * 2 if v == "real" else m, h) for v, m, h in _RUNS])
    out = correlation_table(scores, similarity, reference="real", resamples=200)
    kept = similarity.assign(variant_b=similarity["variant_b"].replace({"real": "gold"}))
    inside = correlation_table(scores, kept, reference="gold", resamples=200)
    assert _row(out, "positive").r > 0.9
    assert _row(inside, "positive").r < 0.5
    assert _row(inside, "positive").n == 6


def test_a_task_is_correlated_by_its_own_main_metric() -> None:
    scores, similarity = _tables(_RUNS, task="summhay")
    scores["metric"] = scores["metric"].replace({"f1": "citation_f1"})
    table = correlation_table(scores, similarity, reference="real", resamples=200)
    assert set(table["metric"]) == {"citation_f1"}
    assert _row(table, "positive").r > 0.9


def test_a_measure_that_is_undefined_leaves_its_variant_out() -> None:
    scores, similarity = _tables(_RUNS)
    similarity.loc[
        (similarity["variant_a"] == "untuned") & (similarity["set"] == "scores"), "value"
    ] = math.nan
    table = correlation_table(scores, similarity, reference="real", resamples=200)
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
        assert row.groups == 1


def test_models_and_tasks_are_kept_apart() -> None:
    turned = [(v, [1 - x for x in m], h) for v, m, h in _RUNS]
    pieces = [_tables(_RUNS), _tables(turned, task="u"), _tables(_RUNS[:3], model="n")]
    scores, similarity = (
        pd.concat(parts, ignore_index=True) for parts in zip(*pieces, strict=True)
    )
    table = correlation_table(scores, similarity, reference="real", resamples=200)
    found = table[(table["set"] == "positive") & (table["method"] == "spearman")]
    found = found.set_index(["model", "task"])
    # With 1 - x for each score, a tie stays a tie, though 0.35 is not 1 - 0.65 to the last bit.
    assert found.loc[("m", "t"), "r"] == pytest.approx(-found.loc[("m", "u"), "r"])
    assert found.loc[("m", "t"), "r"] > 0.9
    assert set(found.loc[[("m", "t"), ("m", "u"), ("n", "t")], "groups"]) == {1}
    assert found.loc[("n", "t"), "n"] == 2  # too few for a correlation, and said so
    assert math.isnan(found.loc[("n", "t"), "r"])


def _together(*pieces: tuple[pd.DataFrame, pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    scores, similarity = zip(*pieces, strict=True)
    return pd.concat(scores, ignore_index=True), pd.concat(similarity, ignore_index=True)


def test_correlations_within_models_and_tasks_are_pooled() -> None:
    """A task whose scores are all higher adds nothing of its own; neither does its metric."""
    higher = [(v, [x + 5 for x in means], heads) for v, means, heads in _RUNS]
    scores, similarity = _together(
        _tables(_RUNS), _tables(higher, task="summhay"), _tables(_RUNS[:4], model="n")
    )
    f1 = scores["metric"] == "f1"
    scores.loc[f1 & (scores["task"] == "summhay"), "metric"] = "citation_f1"
    table = correlation_table(scores, similarity, reference="real", resamples=500, seed=2)
    pooled = table[table["method"] == "within"]
    assert list(zip(pooled["set"], pooled["measure"], strict=True)) == [
        ("positive", "recall"), ("scores", "cosine")
    ]  # fmt: skip
    assert (pooled[["model", "task", "metric"]] == "all").all(axis=None)
    row = _row(table, "positive", "within")
    assert (row.n, row.groups) == (5 + 5 + 3, 3)
    heads, means = [0.0, 0.60, 0.55, 0.20, 0.25], [0.10, 0.55, 0.40, 0.35, 0.35]
    expected = within_groups(
        [*heads, *heads, *heads[:3]], [*means, *(x + 5 for x in means), *means[:3]],
        ["m/t"] * 5 + ["m/summhay"] * 5 + ["n/t"] * 3, resamples=500, seed=2,
    )  # fmt: skip
    assert _found(row) == expected
    assert row.r > 0.9
    assert row.p < 0.01
    assert list(table["method"][:4]) == ["spearman", "pearson"] * 2
    assert list(table["method"][-2:]) == ["within"] * 2


def test_one_model_and_task_has_nothing_to_pool() -> None:
    table = correlation_table(*_tables(_RUNS), reference="real", resamples=200)
    assert "within" not in set(table["method"])


def test_a_measure_defined_in_one_task_only_is_not_pooled() -> None:
    scores, similarity = _together(_tables(_RUNS), _tables(_RUNS, task="u"))
    undefined = (similarity["task_a"] == "u") & (similarity["set"] == "positive")
    similarity.loc[undefined, "value"] = math.nan
    table = correlation_table(scores, similarity, reference="real", resamples=200)
    assert list(table[table["method"] == "within"]["set"]) == ["scores"]


def test_without_similarities_the_table_is_empty(tmp_path: Path) -> None:
    """Also as it comes from a file, where columns without rows have no type."""
    scores, similarity = _tables(_RUNS)
    similarity[:0].to_csv(tmp_path / "head_similarity.csv", index=False)
    for empty in (similarity[:0], pd.read_csv(tmp_path / "head_similarity.csv")):
        table = correlation_table(scores, empty, reference="real", resamples=200)
        assert table.empty
        assert list(table.columns) == CORRELATION_COLUMNS


def test_similarities_without_the_reference_are_an_empty_table() -> None:
    table = correlation_table(*_tables(_RUNS), reference="high_high", resamples=200)
    assert table.empty
    assert list(table.columns) == CORRELATION_COLUMNS
