"""What a study found for one model on one task: the sentences that lead the page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from needlework.report.findings.advice import advice
from needlework.report.findings.cases import MAIN, Case, cases, gains, within_seeds
from needlework.report.findings.certainty import certainty
from needlework.report.findings.reasons import reasons
from needlework.report.tables.extracts import interventions_over_seeds
from needlework.report.wording import cell, metric_words, said


class Finding(NamedTuple):
    """The answer to the study's question for one model and task; every text is HTML.

    Attributes:
        model: the model.
        task: the task.
        metrics: of the task, the decisive one first.
        answer: which synthetic data works best, by how much, and how far from real data.
        sure: how sure that is.
        reasons: what the heads say of it.
        next: what to do now.
    """

    model: str
    task: str
    metrics: list[str]
    answer: Markup
    sure: list[Markup]
    reasons: list[Markup]
    next: list[Markup]


def find(
    main: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    *,
    reference: str,
    alpha: float,
    controls: Collection[str],
) -> list[Finding]:
    """One finding per model and task; the first metric of the task in the table decides.

    Args:
        main: `main_table.main_table`.
        tables: `variants`, `correlations`, `reliability`, `scores`, and `interventions` where a
            study has some, as docs/formats.md has them; the index of each is the number of the row.
        reference: the variant that the others are measured against.
        alpha: level below which an adjusted p value counts as significant.
        controls: runs that were trained otherwise; none of them is the best synthetic data.
    """
    used = dict(tables)
    if "interventions" in tables:
        used["interventions"] = interventions_over_seeds(
            tables["interventions"], tables["variants"]
        )
    findings = []
    for case in cases(main, reference=reference, alpha=alpha, controls=controls):
        here = {
            name: table[(table["model"] == case.model) & (table["task"] == case.task)]
            for name, table in used.items()
            if {"model", "task"} <= set(table)
        }
        everywhere = used["correlations"][used["correlations"]["task"] == "all"]
        findings.append(
            Finding(
                case.model, case.task, case.metrics, _answer(case),
                certainty(case, main, here["variants"]),
                reasons(case, here | {"everywhere": everywhere}),
                advice(case, here),
            )
        )  # fmt: skip
    return findings


def _answer(case: Case) -> Markup:
    if case.synthetic.empty:
        return said("No synthetic data was compared here, so there is none to choose.")
    best = case.synthetic.iloc[0]
    score = said("{} {}", cell(best, "mean", ".2f", MAIN), metric_words(case.metrics[0]))
    apart = _apart(best, case.reference)
    if gains(best, case.alpha):
        which = (
            "of the synthetic data it works best" if len(case.synthetic) > 1
            else "the only synthetic data of the study helps"
        )  # fmt: skip
        return said("Train on {}: {}, with {}{}.", best["variant"], which, score, apart)
    if best["untuned_difference"] <= 0:
        verdict = "No synthetic data beats no tuning"
    elif best["untuned_p_adjusted"] < case.alpha and within_seeds(best, "untuned"):
        verdict = "No synthetic data is shown to beat no tuning by more than trainings differ"
    else:
        verdict = "No synthetic data is shown to beat no tuning"
    return said("{}: the highest, {}, has {}{}.", verdict, best["variant"], score, apart)


def _apart(best: pd.Series, reference: str) -> Markup:
    """How far from no tuning and from the reference, where these were compared."""
    parts = [
        said("{} against {}", cell(best, f"{name}_difference", "+z.2f", MAIN), words)
        for name, words in (("untuned", "no tuning"), ("reference", f"{reference} data"))
        if pd.notna(best[f"{name}_difference"])
    ]
    return said(", {}", Markup(" and ").join(parts)) if parts else Markup("")
