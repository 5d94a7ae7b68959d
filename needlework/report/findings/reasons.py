"""Sentences on why: the heads a training set shares with real data, and what touching them does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd
from markupsafe import Markup

from needlework.heads.reliability import enough
from needlework.report.findings.cases import MAIN, Case
from needlework.report.wording import cell, derived, limits, listed, metric_words, said

AGREEMENT = 0.9
_NAMED = 4  # more variants are not named one by one
# Zhao et al. (arXiv 2410.22316) mask the top ten heads.
_MASKED = 10
_CORRELATIONS = "statistics/correlations.csv"
_RELIABILITY = "statistics/reliability.csv"
_INTERVENTIONS = "tables/interventions.csv"


def reasons(case: Case, tables: Mapping[str, pd.DataFrame]) -> list[Markup]:
    """What the tables say of heads, for one model and task.

    Args:
        case: the model and task.
        tables: its rows of `correlations`, `reliability` and, where there are some, of
            `tables.interventions_over_seeds` as `interventions`; `everywhere`, the correlations
            within all models and tasks.
    """
    metric = metric_words(case.metrics[0])
    said_of = [
        *_recall(case),
        *_correlation(tables["correlations"], metric, case.alpha),
        *_everywhere(tables["everywhere"], case.alpha),
        *_probe(tables["reliability"], case.reference),
    ]
    if "interventions" in tables:
        rows = tables["interventions"]
        said_of += [*_masking(rows, metric, case.alpha), *_patching(rows, metric, case.alpha)]
    return said_of


def _recall(case: Case) -> Iterator[Markup]:
    if case.rows["heads"].isna().all():
        yield said("The heads of this model were not scored on this task.")
        return
    found = case.rows[case.rows["recall"].notna()].sort_values("recall")
    if found.empty:
        yield said("Too few heads have a positive score to compare them.")
        return
    shares = [
        said(
            "{}{} ({}; by chance {})", cell(row, "recall", ".2f", MAIN),
            limits(row, "recall_low", "recall_high", ".2f", MAIN), row["variant"],
            cell(row, "recall_random", ".2f", MAIN),
        )
        for _, row in found.iterrows()
    ]  # fmt: skip
    told = listed(shares) if len(shares) <= _NAMED else said("from {} to {}", shares[0], shares[-1])
    own = case.rows[case.rows["variant"] == case.reference].iloc[0]
    yield said(
        "Of the {} heads that are positive after {} data, the other models have {}.",
        cell(own, "heads", ".0f", MAIN), case.reference, told,
    )  # fmt: skip


def _chosen(correlations: pd.DataFrame) -> pd.DataFrame:
    return correlations[
        (correlations["set"] == "positive")
        & (correlations["measure"] == "recall")
        & correlations["method"].isin(["spearman", "within"])
        & correlations["r"].notna()
    ]


def _correlation(correlations: pd.DataFrame, metric: str, alpha: float) -> Iterator[Markup]:
    for _, row in _chosen(correlations).iterrows():
        verdict = "goes with" if row["p"] < alpha else "is not shown to go with"
        few = 2 / math.factorial(int(row["n"])) > alpha  # the exact p of a perfect order
        yield said(
            "This share {} {} (Spearman ρ = {}{}, p {}, over {} points, one for each variant{}: a "
            "picture, no proof).", verdict, metric, cell(row, "r", ".2f", _CORRELATIONS),
            limits(row, "low", "high", ".2f", _CORRELATIONS), cell(row, "p", "p", _CORRELATIONS),
            cell(row, "n", ".0f", _CORRELATIONS),
            ", too few for any order to be significant" if few else "",
        )  # fmt: skip


def _everywhere(correlations: pd.DataFrame, alpha: float) -> Iterator[Markup]:
    for _, row in _chosen(correlations).iterrows():
        verdict = "goes with" if row["p"] < alpha else "is not shown to go with"
        yield said(
            "Within all {} pairs of model and task together it {} the score (ρ = {}{}, p {}, over "
            "{} points).", cell(row, "groups", ".0f", _CORRELATIONS), verdict,
            cell(row, "r", ".2f", _CORRELATIONS), limits(row, "low", "high", ".2f", _CORRELATIONS),
            cell(row, "p", "p", _CORRELATIONS), cell(row, "n", ".0f", _CORRELATIONS),
        )  # fmt: skip


def _probe(reliability: pd.DataFrame, reference: str) -> Iterator[Markup]:
    own = reliability[reliability["variant"] == reference]
    if own.empty:
        return
    parts = []
    for measure, words in (("cosine", "by cosine"), ("spearman", "by rank (Spearman)")):
        seen = enough(own[~own["predicted"].astype(bool)], measure=measure, agreement=AGREEMENT)
        more = enough(own, measure=measure, agreement=AGREEMENT)
        if more is None:
            parts.append(said("{} not at any size looked at", words))
            continue
        about = "" if seen is not None else "about "
        beside = "" if seen is not None else " (predicted)"
        size = _size(own[own["measure"] == measure], more if seen is None else seen)
        parts.append(said("{} from {}{} on{}", words, about, size, beside))
    yield said(
        "Head scores from some probe examples agree with those from as many others at {}, after {} "
        "data: {}.", AGREEMENT, reference, listed(parts),
    )  # fmt: skip


def _size(rows: pd.DataFrame, examples: int) -> Markup:
    """A number of examples, cited from the row where the agreement is reached."""
    reached = rows[(rows["examples"] == examples) & (rows["value"] >= AGREEMENT)]
    return cell(reached.iloc[0], "examples", ".0f", _RELIABILITY)


def _masking(rows: pd.DataFrame, metric: str, alpha: float) -> Iterator[Markup]:
    masks = rows[(rows["action"] == "mask") & (rows["chosen"] == "top")]
    for (kind, during), way in masks.groupby(["kind", "during"], sort=False):
        controlled = (way["against"] == "random").any()
        told = way[way["against"] == ("random" if controlled else "plain")]
        count = min(told["k"].unique(), key=lambda k: (abs(k - _MASKED), k))
        told = told[told["k"] == count]
        fewest = told.loc[told["heads"].idxmin()]
        some = (
            "" if fewest["heads"] == count
            else said(
                ", {} where no more have a score above 0,",
                cell(fewest, "heads", ".0f", _INTERVENTIONS),
            )
        )  # fmt: skip
        yield said(
            "Masking the top {} heads{} ({} mask, {}) changes {}, against {}, by {}.",
            cell(fewest, "k", ".0f", _INTERVENTIONS), some, kind, during, metric,
            "as many random heads" if controlled else "no mask", _effects(told, alpha),
        )  # fmt: skip


def _patching(rows: pd.DataFrame, metric: str, alpha: float) -> Iterator[Markup]:
    patches = rows[(rows["action"] == "patch") & (rows["chosen"] != "random")]
    keys = ["chosen", "source", "positions"]
    for (chosen, source, place), part in patches.groupby(keys, sort=False):
        both = chosen == "intersection"
        heads = "that both models have" if both else f"that only the model of {source} data has"
        where = "at the last position of each step" if place == "last" else "at every position"
        done = part[part["heads"] > 0]
        if done.empty:
            yield said("There are no heads {}: nothing was patched in from {} data.", heads, source)
            continue
        without = list(dict.fromkeys(part["variant"][part["heads"] == 0]))
        lacking = said("; {} has no such head", listed(without)) if without else ""
        yield said(
            "Outputs of heads {}, patched in from {} data {}, change {} by {}{}{}.", heads, source,
            where, metric, _effects(done[done["against"] == "plain"], alpha),
            _beside_random(done[done["against"] == "random"], alpha), lacking,
        )  # fmt: skip


def _beside_random(rows: pd.DataFrame, alpha: float) -> str:
    if rows.empty:
        return ""
    better = rows[(rows["p_adjusted"] < alpha) & (rows["difference"] > 0)]
    if better.empty:
        return "; never significantly more than random heads"
    return said("; significantly more than random heads for {}", listed(list(better["variant"])))


def _effects(rows: pd.DataFrame, alpha: float) -> Markup:
    """Differences of variants with their intervals and adjusted p; of many, the range."""
    effects = rows.sort_values("difference")
    if len(effects) <= _NAMED:
        return listed([_effect(row) for _, row in effects.iterrows()])
    significant = int((effects["p_adjusted"] < alpha).sum())
    return said(
        "{} to {}; significantly for {} of {} models", _effect(effects.iloc[0]),
        _effect(effects.iloc[-1]), derived(significant, "rows whose p_adjusted is below alpha"),
        derived(len(effects), "rows"),
    )  # fmt: skip


def _effect(row: pd.Series) -> Markup:
    p = (
        "" if pd.isna(row["p_adjusted"])
        else said(", p {}", cell(row, "p_adjusted", "p", _INTERVENTIONS))
    )  # fmt: skip
    return said(
        "{}{} ({}{})", cell(row, "difference", "+z.2f", _INTERVENTIONS),
        limits(row, "difference_low", "difference_high", "+z.2f", _INTERVENTIONS),
        row["variant"], p,
    )  # fmt: skip
