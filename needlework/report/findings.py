"""What a study found for one model on one task: the sentences and the rows that lead the page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pandas as pd

from needlework.layout import mixture_of
from needlework.report.reasons import reasons
from needlework.report.tables import PAIR, against_reference, decisive, over_seeds, plain
from needlework.report.wording import listed, metric_words
from needlework.study.values import UNTUNED


class Finding(NamedTuple):
    """The answer to the study's question for one model and task, and the table under it.

    `metrics` are those of the table, the decisive one first; `sentences` tell of scores, `reasons`
    of heads and of what is done to them.
    """

    model: str
    task: str
    metrics: list[str]
    sentences: list[str]
    reasons: list[str]
    rows: list[dict[str, Any]]


def find(
    tables: Mapping[str, pd.DataFrame], *, reference: str, alpha: float, controls: Collection[str]
) -> list[Finding]:
    """One finding per model and task; the first metric of the task in the table decides.

    Args:
        tables: `scores`, `comparisons`, `head_similarity`, `correlations`, `reliability`, and
            `interventions` where a study has some, as docs/formats.md has them.
        reference: the variant that the others are measured against.
        alpha: level below which an adjusted p value counts as significant.
        controls: runs that were trained otherwise; none of them is the best synthetic data.
    """
    scores = tables["scores"]
    compared = plain(decisive(tables["comparisons"], scores))
    heads = against_reference(tables["head_similarity"], reference)
    findings = []
    for (model, task), part in scores.groupby(PAIR, sort=False):
        here = {
            name: table[(table["model"] == model) & (table["task"] == task)]
            for name, table in {**tables, "comparisons": compared, "heads": heads}.items()
            if "task" in table
        }
        metrics = [str(name) for name in part["metric"].unique()]
        rows = _rows(here, reference, alpha)
        findings.append(
            Finding(
                str(model), str(task), metrics,
                _sentences(rows, reference, alpha, metrics[0], controls),
                reasons(here, metrics[0], reference=reference, alpha=alpha),
                rows,
            )
        )  # fmt: skip
    return findings


def _rows(tables: Mapping[str, pd.DataFrame], reference: str, alpha: float) -> list[dict[str, Any]]:
    table = plain(tables["scores"])
    scores = over_seeds(table[["variant", "metric", "mean", "low", "high"]], ["variant", "metric"])
    positive = tables["heads"][tables["heads"]["set"] == "positive"]
    rows = []
    for variant, part in scores.groupby("variant", sort=False):
        row: dict[str, Any] = {"variant": variant}
        row |= {run["metric"]: run for run in part.to_dict("records")}
        own = tables["heads"][tables["heads"]["variant"] == variant]
        for name in ("recall", "precision", "cosine"):
            chosen = own[(own["measure"] == name) & own["set"].isin(["positive", "scores"])]
            row[name] = chosen.iloc[0].to_dict() if len(chosen) else None
        row["heads"] = (
            positive["heads_b"].max() if variant == reference
            else positive["heads_a"][positive["variant"] == variant].max()
        )  # fmt: skip
        row["over_untuned"] = _difference(tables["comparisons"], str(variant), UNTUNED, alpha)
        row["over_reference"] = _difference(tables["comparisons"], str(variant), reference, alpha)
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


def _sentences(
    rows: list[dict[str, Any]],
    reference: str,
    alpha: float,
    metric: str,
    controls: Collection[str],
) -> list[str]:
    others = {UNTUNED, reference, *controls}
    synthetic = [r for r in rows if r["variant"] not in others and not _holds_real(r["variant"])]
    by_name = {row["variant"]: row for row in rows}
    said = []
    if synthetic:
        best = max(synthetic, key=lambda row: row[metric]["mean"])
        said.append(_best(best, alpha, metric))
        rest = [r["variant"] for r in synthetic if r is not best and _gains(r)]
        if rest:
            verb = "gain" if len(rest) > 1 else "gains"
            said.append(f"{listed(rest)} also {verb} significantly over the untuned model.")
        losers = [r["variant"] for r in synthetic if not _gains(r)]
        if losers and _gains(best):
            said.append(f"No significant gain was found for {listed(losers)}.")
    target = by_name.get(reference)
    if target is not None and target["over_untuned"]:
        said.append(
            f"{reference.capitalize()} data reaches {target[metric]['mean']:.2f} "
            f"({target['over_untuned']['difference']:+.2f} over the untuned model)."
        )
    return said


def _holds_real(variant: str) -> bool:
    return not {"real", "real_limited"}.isdisjoint(mixture_of(variant))


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
