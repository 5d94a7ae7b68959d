"""What to do after a study, computed from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
from markupsafe import Markup

from needlework.heads.reliability import enough
from needlework.layout import holds_real, mixture_of
from needlework.report.findings.cases import MAIN, Case, established, gains, significant
from needlework.report.findings.reasons import AGREEMENT
from needlework.report.findings.sizes import larger_test, more_seeds
from needlework.report.wording import cell, derived, said

_SCORES = "statistics/scores.csv"


def advice(case: Case, tables: Mapping[str, pd.DataFrame]) -> list[Markup]:
    """Sentences on what to do next, each from numbers of the tables.

    Args:
        case: the model and task.
        tables: rows of this model and task: `comparisons`, `reliability` and `scores`.
    """
    if case.synthetic.empty:
        return [said("Add synthetic data to <code>variants</code>: docs/data.md has the kinds.")]
    best = case.synthetic.iloc[0]
    return [
        *(_use(case, best) if gains(best, case.alpha) else _nothing(case, best, tables["scores"])),
        *larger_test(case, tables["comparisons"]),
        *more_seeds(case),
        *_heads(case, best),
        *_probe(case, tables["reliability"]),
    ]


def _use(case: Case, best: pd.Series) -> Iterator[Markup]:
    yield said(
        "Train on {}, and make more of it: whether size helps is shown by a control with fewer "
        "<code>examples</code>.", best["variant"],
    )  # fmt: skip
    if not holds_real(case.reference) or len(mixture_of(best["variant"])) > 1:
        return
    behind = best["reference_difference"] < 0 and significant(best, "reference", case.alpha)
    mixture = f"{case.reference}:0.2+{best['variant']}:0.8"
    if behind and mixture not in set(case.rows["variant"]):
        yield said(
            "It is still behind {} data ({}): where there is a little of that, try the mixture "
            "<code>{}</code>.", case.reference,
            cell(best, "reference_difference", "+z.2f", MAIN), mixture,
        )  # fmt: skip


def _nothing(case: Case, best: pd.Series, scores: pd.DataFrame) -> Iterator[Markup]:
    """Where to look if no synthetic data is shown to help."""
    target = case.rows[case.rows["variant"] == case.reference]
    if holds_real(case.reference) and len(target):
        row = target.iloc[0]
        gain = cell(row, "untuned_difference", "+z.2f", MAIN)
        if gains(row, case.alpha):
            yield said(
                "Training on {} data does help ({}), so the training works, and what lacks is in "
                "the synthetic data: read its examples on this page, and add kinds that are closer "
                "to {} data.", case.reference, gain, case.reference,
            )  # fmt: skip
        else:
            yield said(
                "Training on {} data is not shown to help either ({}): look at the training first, "
                "its loss, <code>training.learning_rate</code>, <code>training.epochs</code> and "
                "the number of examples.", case.reference, gain,
            )  # fmt: skip
    plain = scores[(scores["condition"] == "plain") & (scores["metric"] == case.metrics[0])]
    cut = plain[plain["variant"] == best["variant"]].sort_values("cut").iloc[-1]
    if cut["cut"] > 0:
        yield said(
            "Of {} answers after {} {} were cut at the longest length: raise "
            "<code>evaluation.max_new_tokens</code>.", cell(cut, "n", ".0f", _SCORES),
            best["variant"], cell(cut, "cut", ".0f", _SCORES),
        )  # fmt: skip


def _heads(case: Case, best: pd.Series) -> Iterator[Markup]:
    """Whether the heads would have picked the same data."""
    known = case.synthetic[case.synthetic["recall"].notna()]
    if len(known) < 2 or pd.isna(best["recall"]):
        return
    top = known.loc[known["recall"].idxmax()]
    recall = cell(top, "recall", ".2f", MAIN)
    if top["recall"] == best["recall"]:
        yield said(
            "The recall of heads picks {}, too ({}). Other data can be looked at by its heads "
            "first, which takes a probe and no test.", best["variant"], recall,
        )  # fmt: skip
    else:
        trust = (
            "go by the score" if established(top, "best", case.alpha)
            else "keep both until a larger test decides"
        )  # fmt: skip
        yield said(
            "Heads and score disagree: {} has the highest recall ({}; {} has {}), so {}.",
            top["variant"], recall, best["variant"], cell(best, "recall", ".2f", MAIN), trust,
        )  # fmt: skip


def _probe(case: Case, reliability: pd.DataFrame) -> Iterator[Markup]:
    own = reliability[reliability["variant"] == case.reference]
    measured = own[~own["predicted"].astype(bool)]
    if own.empty or enough(measured, agreement=AGREEMENT) is not None:
        return
    wanted = enough(own, agreement=AGREEMENT)
    if wanted is None:
        yield said(
            "The probe is too small for its ranks of heads to settle: raise "
            "<code>tasks.{}.validation</code> several times.", case.task,
        )  # fmt: skip
    else:
        number = derived(wanted, "the size at which reliability.csv predicts an agreement of 0.9")
        yield said(
            "Ranks of heads settle from about {} probe examples on: raise "
            "<code>tasks.{}.validation</code> to that before reading single heads.",
            number, case.task,
        )  # fmt: skip
