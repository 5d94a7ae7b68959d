"""What a study found for one model on one task: the sentences and the rows that lead the page."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from needlework.study.values import UNTUNED


class Finding(NamedTuple):
    """The answer to the study's question for one model and task, and the table under it.

    `metrics` are those of the table, the decisive one first.
    """

    model: str
    task: str
    metrics: list[str]
    sentences: list[str]
    rows: list[dict[str, Any]]


def find(
    scores: pd.DataFrame,
    comparisons: pd.DataFrame,
    similarity: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    reference: str,
    alpha: float,
) -> list[Finding]:
    """One finding per model and task; the first metric of the task in the table decides.

    Args:
        scores: `scores.csv`.
        comparisons: `comparisons.csv`.
        similarity: `head_similarity.csv`.
        correlations: `correlations.csv`.
        reference: the variant that the others are measured against.
        alpha: level below which an adjusted p value counts as significant.
    """
    findings = []
    for (model, task), part in scores.groupby(["model", "task"], sort=False):
        here = comparisons[(comparisons["model"] == model) & (comparisons["task"] == task)]
        heads = similarity[(similarity["model"] == model) & (similarity["task"] == task)]
        metric = str(part["metric"].iloc[0])
        rows = _rows(part, here[here["metric"] == metric], heads, reference, alpha)
        told = correlations[(correlations["model"] == model) & (correlations["task"] == task)]
        sentences = [*_sentences(rows, reference, alpha, metric), *_heads(rows, told, reference)]
        metrics = [str(name) for name in part["metric"].unique()]
        findings.append(Finding(model, task, metrics, sentences, rows))
    return findings


def _rows(
    scores: pd.DataFrame, decisive: pd.DataFrame, heads: pd.DataFrame, reference: str, alpha: float
) -> list[dict[str, Any]]:
    rows = []
    for variant, runs in scores.groupby("variant", sort=False):
        row: dict[str, Any] = {"variant": variant, "runs": runs["seed"].nunique()}
        for metric, part in runs.groupby("metric", sort=False):
            # With several seeds: their mean, and the widest of their intervals.
            row[str(metric)] = {
                "mean": part["mean"].mean(), "low": part["low"].min(), "high": part["high"].max()
            }  # fmt: skip
        own = heads[heads["variant"] == variant]
        for column in ("recall_positive", "recall_top", "precision_positive", "cosine"):
            row[column] = own[column].mean()
        row["heads_positive"] = own["heads_positive"].mean()
        row["over_untuned"] = _difference(decisive, str(variant), UNTUNED, alpha)
        row["over_reference"] = _difference(decisive, str(variant), reference, alpha)
        rows.append(row)
    return rows


def _difference(comparisons: pd.DataFrame, a: str, b: str, alpha: float) -> dict[str, Any] | None:
    """The comparison a - b, whichever way round the table has it; None of a variant with itself."""
    for first, second, sign in ((a, b, 1), (b, a, -1)):
        match = comparisons[
            (comparisons["variant_a"] == first) & (comparisons["variant_b"] == second)
        ]
        if len(match):
            row = match.iloc[0]
            ends = sorted((sign * row["low"], sign * row["high"]))
            return {
                "difference": sign * row["difference"],
                "low": ends[0],
                "high": ends[1],
                "p": row["p_adjusted"],
                "significant": bool(row["p_adjusted"] < alpha),
            }
    return None


def _sentences(rows: list[dict[str, Any]], reference: str, alpha: float, metric: str) -> list[str]:
    synthetic = [r for r in rows if r["variant"] not in (UNTUNED, reference)]
    by_name = {row["variant"]: row for row in rows}
    said = []
    if synthetic:
        best = max(synthetic, key=lambda row: row[metric]["mean"])
        said.append(_best(best, alpha, metric))
        rest = [r["variant"] for r in synthetic if r is not best and _gains(r)]
        if rest:
            verb = "gain" if len(rest) > 1 else "gains"
            said.append(f"{_list(rest)} also {verb} significantly over the untuned model.")
        losers = [r["variant"] for r in synthetic if not _gains(r)]
        if losers and _gains(best):
            said.append(f"No significant gain was found for {_list(losers)}.")
    target = by_name.get(reference)
    if target is not None and target["over_untuned"]:
        said.append(
            f"{reference.capitalize()} data reaches {target[metric]['mean']:.2f} "
            f"({target['over_untuned']['difference']:+.2f} over the untuned model)."
        )
    return said


def metric_words(name: str) -> str:
    """A metric as a person reads it."""
    words = {"f1": "token F1", "citation_f1": "citation F1", "best_subspan_em": "best subspan EM"}
    return words.get(name, name.replace("_", " "))


def _gains(row: dict[str, Any]) -> bool:
    gain = row["over_untuned"]
    return bool(gain and gain["significant"] and gain["difference"] > 0)


def _best(best: dict[str, Any], alpha: float, metric: str) -> str:
    gain = best["over_untuned"]
    text = f"{best[metric]['mean']:.2f} {metric_words(metric)}"
    if not gain:
        return f"{best['variant']} is the best synthetic data: {text}."
    change = f"{gain['difference']:+.2f} over the untuned model (p = {gain['p']:.2g})"
    if _gains(best):
        return f"{best['variant']} is the best synthetic data: {text}, {change}."
    return (
        f"No synthetic data beats the untuned model significantly (p < {alpha:g}); the highest is "
        f"{best['variant']} with {text}, {change}."
    )


def _heads(rows: list[dict[str, Any]], told: pd.DataFrame, reference: str) -> list[str]:
    """Why, as far as the heads tell: their share of the reference's, and whether it counts."""
    found = {r["variant"]: r["recall_positive"] for r in rows if r["variant"] != reference}
    if not found or any(pd.isna(recall) for recall in found.values()):
        return ["Too few heads copied a needle token to compare them."]
    listed = _list([f"{recall:.2f} ({variant})" for variant, recall in found.items()])
    said = [f"Of the retrieval heads of {reference} data the models have {listed}."]
    measure = told[told["measure"] == "recall_positive"]
    if len(measure) and not pd.isna(measure.iloc[0]["rho"]):
        rho, p, n = (measure.iloc[0][key] for key in ("rho", "p", "n"))
        verdict = "goes with" if p < 0.05 else "does not tell"
        said.append(
            f"This share {verdict} the score here (ρ = {rho:.2f}, p = {p:.2f}, N = {n:.0f})."
        )
    return said


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
