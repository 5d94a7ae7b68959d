"""The sentences that lead the page say what the tables say, and claim no more."""

from __future__ import annotations

import math

import pandas as pd

from needlework.report.findings import find
from tests.report.test_tables import similarity

ORDER = ["untuned", "real", "low_low", "symbolic"]
Tables = dict[str, pd.DataFrame]


def tables(means: dict[str, float], p: dict[tuple[str, str], float]) -> Tables:
    """Tables of one model and task: means by variant, p by pair (later, earlier)."""
    where = {"model": "m", "task": "t", "condition": "plain"}
    names = list(means)
    scores = pd.DataFrame(
        where | {"variant": v, "seed": 0, "metric": metric, "mean": means[v],
                 "low": means[v] - 0.1, "high": means[v] + 0.1, "n": 9, "n_clusters": 9}
        for metric in ("f1", "exact_match") for v in names
    )  # fmt: skip
    comparisons = pd.DataFrame(
        where | {"metric": "f1", "variant_a": b, "variant_b": a, "difference": means[b] - means[a],
                 "low": means[b] - means[a] - 0.1, "high": means[b] - means[a] + 0.05,
                 "p": p.get((b, a), 0.5), "p_adjusted": p.get((b, a), 0.5)}
        for i, a in enumerate(names) for b in names[i + 1 :]
    )  # fmt: skip
    measures = [("positive", "recall"), ("positive", "precision"), ("scores", "cosine")]
    heads = similarity(
        [
            {"variant_a": v, "set": of, "measure": measure, "value": 0.2 + 0.1 * i}
            for v in names if v != "real" for i, (of, measure) in enumerate(measures)
        ]
    )  # fmt: skip
    return {
        "scores": scores,
        "comparisons": comparisons,
        "head_similarity": heads,
        "correlations": pd.DataFrame(
            columns=["model", "task", "metric", "set", "measure", "method", "r"]
        ),
        "reliability": pd.DataFrame(
            columns=["model", "task", "variant", "seed", "measure", "examples", "value",
                     "predicted"]
        ),
    }  # fmt: skip


def said(means: dict[str, float], p: dict[tuple[str, str], float]) -> str:
    (finding,) = find(tables(means, p), reference="real", alpha=0.05, controls=())
    return " ".join(finding.sentences)


def test_a_significant_gain_is_the_answer() -> None:
    text = said(
        dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {("low_low", "untuned"): 0.001}
    )
    assert text.startswith("low_low is the best synthetic data: 0.60 token F1, +0.30 over")
    assert "(p = 0.001)" in text
    assert "No significant gain was found for symbolic." in text
    assert "Real data reaches 0.80 (+0.50 over the untuned model)." in text


def test_a_gain_that_is_not_significant_is_not_claimed() -> None:
    text = said(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {})
    assert text.startswith("No synthetic data beats the untuned model significantly (p < 0.05)")
    assert "best synthetic data" not in text


def test_a_significant_loss_is_no_gain() -> None:
    text = said(
        dict(zip(ORDER, [0.7, 0.8, 0.4, 0.35], strict=True)),
        {("low_low", "untuned"): 0.001, ("symbolic", "untuned"): 0.001},
    )
    assert text.startswith("No synthetic data beats")
    assert "also gain" not in text


def test_a_difference_is_turned_round_with_its_interval() -> None:
    (finding,) = find(
        tables(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {}),
        reference="real",
        alpha=0.05,
        controls=(),
    )
    untuned = next(row for row in finding.rows if row["variant"] == "untuned")
    over = untuned["over_reference"]
    assert round(over["difference"], 6) == -0.5
    assert (round(over["low"], 6), round(over["high"], 6)) == (-0.55, -0.4)
    assert untuned["over_untuned"] is None


def test_the_row_of_a_variant_has_its_heads_and_the_reference_has_no_resemblance() -> None:
    (finding,) = find(
        tables(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {}),
        reference="real",
        alpha=0.05,
        controls=(),
    )
    rows = {row["variant"]: row for row in finding.rows}
    assert list(rows) == ORDER
    symbolic = rows["symbolic"]
    assert [round(symbolic[name]["value"], 6) for name in ("recall", "precision", "cosine")] == [
        0.2, 0.3, 0.4
    ]  # fmt: skip
    assert (symbolic["recall"]["low"], symbolic["recall"]["random"]) == (0.4, 0.1)
    assert (symbolic["heads"], rows["real"]["heads"]) == (4, 8)
    assert [rows["real"][name] for name in ("recall", "precision", "cosine")] == [None] * 3


def test_every_model_and_task_has_its_own_finding() -> None:
    one = tables(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {})
    two = tables(dict(zip(ORDER, [0.1, 0.2, 0.15, 0.1], strict=True)), {})
    for name in ("scores", "comparisons"):
        two[name] = two[name].assign(task="u")
    two["head_similarity"] = two["head_similarity"].assign(task_a="u", task_b="u", value=math.nan)
    both = {name: pd.concat([one[name], two[name]], ignore_index=True) for name in one}
    first, second = find(both, reference="real", alpha=0.05, controls=())
    assert (first.task, second.task) == ("t", "u")
    assert "with 0.60 token F1" in first.sentences[0]
    assert "with 0.15 token F1" in second.sentences[0]
    assert first.reasons[0].startswith("Of the 8 heads that are positive after real data")
    assert second.reasons[0] == "Too few heads have a positive score to compare them."


def test_neither_a_control_nor_a_mixture_with_real_data_is_the_best_synthetic_data() -> None:
    names = ["untuned", "real", "wide", "real:0.5+low_low:0.5", "low_low"]
    means = dict(zip(names, [0.3, 0.8, 0.9, 0.85, 0.5], strict=True))
    given = tables(means, {})
    (finding,) = find(given, reference="real", alpha=0.05, controls=["wide"])
    assert "low_low" in finding.sentences[0]
    assert "wide" not in finding.sentences[0]
    assert "real:0.5" not in finding.sentences[0]


def test_only_the_plain_view_decides() -> None:
    given = tables(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {})
    other = given["comparisons"].assign(condition="closed_book", difference=9.0)
    given["comparisons"] = pd.concat([other, given["comparisons"]])
    (finding,) = find(given, reference="real", alpha=0.05, controls=())
    assert max(row["over_untuned"]["difference"] for row in finding.rows[1:]) < 1
