"""Sentences on why: the heads a training set shares with real data, and what touching them does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from needlework.heads.reliability import enough
from needlework.report.tables import over_seeds
from needlework.report.wording import interval, listed, metric_words, p_words

_NAMED = 4  # more variants are not named one by one
_AGREEMENT = 0.9
# Zhao et al. (arXiv 2410.22316) mask the top ten heads.
_MASKED = 10


def reasons(
    tables: Mapping[str, pd.DataFrame], metric: str, *, reference: str, alpha: float
) -> list[str]:
    """What the tables say of heads, for one model and task.

    Args:
        tables: rows of that model and task; `heads` is what `tables.against_reference` gives.
        metric: the metric that decides.
        reference: the variant that the others are measured against.
        alpha: level below which an adjusted p value counts as significant.
    """
    said = [
        *_recall(tables["heads"], reference),
        *_correlation(tables["correlations"], metric, alpha),
        *_probe(tables["reliability"], reference),
    ]
    if "interventions" in tables:
        rows = tables["interventions"][tables["interventions"]["metric"] == metric]
        said += [*_masking(rows, metric, alpha), *_patching(rows, metric, alpha)]
    return said


def _recall(heads: pd.DataFrame, reference: str) -> Iterator[str]:
    found = heads[(heads["set"] == "positive") & (heads["measure"] == "recall")]
    if found.empty or found["value"].isna().any():
        yield "Too few heads have a positive score to compare them."
        return
    shares = [
        f"{run.value:.2f}{interval(run.low, run.high)} ({run.variant}; by chance {run.random:.2f})"
        for run in found.sort_values("value").itertuples()
    ]
    few = len(shares) <= _NAMED
    told = listed(shares) if few else f"from {shares[0]} to {shares[-1]}"
    yield (
        f"Of the {found['heads_b'].iloc[0]:.0f} heads that are positive after {reference} data, "
        f"{'the' if few else len(shares)} other models have {told}."
    )


def _correlation(correlations: pd.DataFrame, metric: str, alpha: float) -> Iterator[str]:
    chosen = correlations[
        (correlations["set"] == "positive")
        & (correlations["measure"] == "recall")
        & (correlations["method"] == "spearman")
    ]
    for row in chosen[chosen["r"].notna()].itertuples():
        verdict = "goes with" if row.p < alpha else "is not shown to go with"
        yield (
            f"This share {verdict} {metric_words(metric)} (Spearman ρ = "
            f"{row.r:.2f}{interval(row.low, row.high)}, {p_words(row.p)}, N = {row.n:.0f} models: "
            "a picture, no proof)."
        )


def _probe(reliability: pd.DataFrame, reference: str) -> Iterator[str]:
    own = reliability[reliability["variant"] == reference]
    parts = []
    for measure, words in (("cosine", "by cosine"), ("spearman", "by rank (Spearman)")):
        seen = enough(own[~own["predicted"].astype(bool)], measure=measure, agreement=_AGREEMENT)
        more = enough(own, measure=measure, agreement=_AGREEMENT)
        if seen is not None:
            parts.append(f"{words} from {seen} on")
        elif more is not None:
            parts.append(f"{words} from about {more} on (predicted)")
        else:
            parts.append(f"{words} not at any size looked at")
    yield (
        f"Head scores from some probe examples agree with those from as many others at "
        f"{_AGREEMENT}, after {reference} data: {listed(parts)}."
    )


def _masking(rows: pd.DataFrame, metric: str, alpha: float) -> Iterator[str]:
    masks = rows[(rows["action"] == "mask") & (rows["chosen"] == "top")]
    for (kind, during), way in masks.groupby(["kind", "during"], sort=False):
        controlled = (way["against"] == "random").any()
        told = way[way["against"] == ("random" if controlled else "plain")]
        count = min(told["k"].unique(), key=lambda k: (abs(k - _MASKED), k))
        told = told[told["k"] == count]
        fewest = told["heads"].min()
        some = "" if fewest == count else f", {fewest:.0f} where no more have a score above 0,"
        yield (
            f"Masking the top {count:.0f} heads{some} ({kind} mask, {during}) changes "
            f"{metric_words(metric)}, against "
            f"{'as many random heads' if controlled else 'no mask'}, by {_effects(told, alpha)}."
        )


def _patching(rows: pd.DataFrame, metric: str, alpha: float) -> Iterator[str]:
    patches = rows[(rows["action"] == "patch") & (rows["chosen"] != "random")]
    keys = ["chosen", "source", "positions"]
    for (chosen, source, place), part in patches.groupby(keys, sort=False):
        both = chosen == "intersection"
        heads = "that both models have" if both else f"that only the model of {source} data has"
        where = "at the last position of each step" if place == "last" else "at every position"
        done = part[part["heads"] > 0]
        if done.empty:
            yield f"There are no heads {heads}: nothing was patched in from {source} data."
            continue
        without = list(dict.fromkeys(part["variant"][part["heads"] == 0]))
        lacking = f"; {listed(without)} has no such head" if without else ""
        told = _effects(done[done["against"] == "plain"], alpha)
        beside = ""
        if len(random := done[done["against"] == "random"]):
            effects = _per_variant(random)
            better = (effects["p_adjusted"] < alpha) & (effects["difference"] > 0)
            beside = (
                f"; more than random heads, significantly, for {better.sum()} of {len(effects)}"
            )
        yield (
            f"Outputs of heads {heads}, patched in from {source} data {where}, change "
            f"{metric_words(metric)} by {told}{beside}{lacking}."
        )


def _per_variant(rows: pd.DataFrame) -> pd.DataFrame:
    numbers = ["difference", "difference_low", "difference_high", "p_adjusted"]
    return over_seeds(rows[["variant", *numbers]], ["variant"])


def _effects(rows: pd.DataFrame, alpha: float) -> str:
    """Differences of variants with their intervals and adjusted p; of many, the range."""
    effects = _per_variant(rows).sort_values("difference")
    if len(effects) <= _NAMED:
        return listed([_effect(run) for run in effects.itertuples()])
    significant = int((effects["p_adjusted"] < alpha).sum())
    ends = " to ".join(_effect(run) for run in effects.iloc[[0, -1]].itertuples())
    return f"{ends}; significantly for {significant} of {len(effects)} models"


def _effect(run: pd.Series) -> str:
    width = interval(run.difference_low, run.difference_high, "+.2f")
    p = "" if np.isnan(run.p_adjusted) else f", {p_words(run.p_adjusted)}"
    return f"{run.difference:+.2f}{width} ({run.variant}{p})"
