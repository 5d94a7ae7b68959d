"""The sentences that lead the page say what the tables say, and claim no more."""

from __future__ import annotations

import pandas as pd

from needlework.report.findings import find

ORDER = ["untuned", "real", "low_low", "symbolic"]


def tables(means: dict[str, float], p: dict[tuple[str, str], float]) -> tuple[pd.DataFrame, ...]:
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
    columns = ["recall_positive", "recall_top", "precision_positive", "cosine", "heads_positive"]
    heads = pd.DataFrame(
        {"model": "m", "task": "t", "variant": v, "seed": 0} | dict.fromkeys(columns, 0.5)
        for v in names
    )
    told = pd.DataFrame(
        [("m", "t", "f1", "recall_positive", 0.8, 0.33, 3)],
        columns=["model", "task", "metric", "measure", "rho", "p", "n"],
    )
    return scores, comparisons, heads, told


def said(means: dict[str, float], p: dict[tuple[str, str], float]) -> str:
    (finding,) = find(*tables(means, p), reference="real", alpha=0.05)
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
        *tables(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {}),
        reference="real",
        alpha=0.05,
    )
    untuned = next(row for row in finding.rows if row["variant"] == "untuned")
    over = untuned["over_reference"]
    assert round(over["difference"], 6) == -0.5
    assert (round(over["low"], 6), round(over["high"], 6)) == (-0.55, -0.4)
    assert untuned["over_untuned"] is None


def test_the_heads_are_said_to_tell_only_what_is_significant() -> None:
    text = said(dict(zip(ORDER, [0.3, 0.8, 0.6, 0.35], strict=True)), {})
    assert "have 0.50 (untuned), 0.50 (low_low) and 0.50 (symbolic)." in text
    assert "This share does not tell the score here (ρ = 0.80, p = 0.33, N = 3)." in text
