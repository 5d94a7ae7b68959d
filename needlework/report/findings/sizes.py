"""How large a test, and how many trainings, would decide what a study left open."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from needlework.report.findings.cases import MAIN, Case, significant, within_seeds
from needlework.report.wording import cell, derived, said

_COMPARISONS = "statistics/comparisons.csv"
# 0.975 and 0.8 quantiles of the normal distribution, added: a difference of so many of its standard
# errors is seen with 80 % power at 0.05, two-sided.
_POWER = 1.959964 + 0.841621
# A larger test costs more than a difference is worth that only it can show. Ours.
_MOST = 20_000


def larger_test(case: Case, comparisons: pd.DataFrame) -> Iterator[Markup]:
    """How many test examples would show the gain over no tuning, and the lead over the next best.

    What can be detected falls with the root of the number of examples, so that a difference takes
    n (detectable / difference)^2 of them.

    Args:
        case: the model and task; it has synthetic data.
        comparisons: `comparisons.csv`, the rows of this model and task.
    """
    best = case.synthetic.iloc[0]
    if pd.isna(best["detectable"]):
        return
    if best["untuned_difference"] > 0 and not significant(best, "untuned", case.alpha):
        yield from _gain(case, best)
    if len(case.synthetic) > 1 and not significant(case.synthetic.iloc[1], "best", case.alpha):
        yield from _lead(case, comparisons)


def _gain(case: Case, best: pd.Series) -> Iterator[Markup]:
    needed = _needed(best["n"], best["untuned_difference"], best["detectable"])
    seen = cell(best, "untuned_difference", "+z.2f", MAIN)
    if needed is None:
        yield said(
            "A gain of {} is within reach of this test: a larger one, or fewer variants to compare "
            "it with, may show it.", seen,
        )  # fmt: skip
    else:
        yield said(
            "A gain of {}, if it is real, {} (now {} of them show {} or more): raise "
            "<code>tasks.{}.test</code>.", seen, _takes(needed), cell(best, "n", ".0f", MAIN),
            cell(best, "detectable", ".2f", MAIN), case.task,
        )  # fmt: skip


def _lead(case: Case, comparisons: pd.DataFrame) -> Iterator[Markup]:
    best, rival = case.synthetic["variant"].iloc[:2]
    pair = comparisons["variant_a"].isin([best, rival]) & comparisons["variant_b"].isin(
        [best, rival]
    )
    decisive = (comparisons["condition"] == "plain") & (comparisons["metric"] == case.metrics[0])
    row = comparisons[pair & decisive].iloc[0]
    needed = _needed(row["n"], row["difference"], row["detectable"])
    if needed is not None:
        yield said(
            "To tell {} from {}, if {} is their true difference, {}.", best, rival,
            cell(row, "difference", "+z.2f", _COMPARISONS), _takes(needed),
        )  # fmt: skip


def _needed(n: float, difference: float, detectable: float) -> float | None:
    """How many examples show a difference; None where those there are can."""
    if not abs(difference) < detectable:
        return None
    return n * (detectable / difference) ** 2 if difference else math.inf


def _takes(needed: float) -> Markup:
    how = "n * (detectable / difference) ** 2"
    if needed > _MOST:
        return said("takes more than {} test examples", derived(_MOST, f"{how} is above it"))
    return said(
        "takes about {} test examples to be seen four times out of five", derived(needed, how)
    )


def more_seeds(case: Case) -> Iterator[Markup]:
    """How many training seeds it takes, where the study has one or their spread hides a gain."""
    best = case.synthetic.iloc[0]
    if best["seeds"] < 2:
        yield said(
            "Train with three seeds or more (<code>training_seeds: [0, 1, 2]</code>) before "
            "publishing: it is the only way to see what a single training is worth."
        )
    elif significant(best, "untuned", case.alpha) and within_seeds(best, "untuned"):
        spread, gain = best["untuned_seed_spread"], best["untuned_difference"]
        number = math.ceil((_POWER * spread / gain) ** 2)
        yield said(
            "About {} training seeds would show whether the difference of {} is more than that of "
            "single trainings, {}.", derived(number, "(2.8 * seed_spread / difference) ** 2"),
            cell(best, "untuned_difference", "+z.2f", MAIN),
            cell(best, "untuned_seed_spread", ".3f", MAIN),
        )  # fmt: skip
