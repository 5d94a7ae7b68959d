"""How sure the answer of a study is: chance, seeds, and what the test cannot show."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from needlework.report.findings.cases import MAIN, Case, established, significant, within_seeds
from needlework.report.wording import cell, limits, listed, metric_words, said

_VARIANTS = "statistics/variants.csv"
_NAMED = 4  # of more variants only the names are told


def certainty(case: Case, main: pd.DataFrame, variants: pd.DataFrame) -> list[Markup]:
    """Sentences on how sure it is that the highest synthetic data is the best, and that it helps.

    Args:
        case: the model and task.
        main: the main table.
        variants: `variants.csv`, the rows of this model and task.
    """
    if case.synthetic.empty:
        return []
    best = case.synthetic.iloc[0]
    plain = variants[(variants["condition"] == "plain") & (variants["variant"] == best["variant"])]
    own = plain[plain["metric"] == case.metrics[0]].iloc[0]
    return [
        *_against(best, "untuned", "no tuning", case.alpha),
        *_rivals(case, best),
        *_rank(best),
        *_against(best, "reference", f"{case.reference} data", case.alpha),
        *_seeds(best, own),
        *_test(best),
        *_chosen(case, best, main),
    ]


def _against(best: pd.Series, yardstick: str, words: str, alpha: float) -> Iterator[Markup]:
    if pd.isna(best[f"{yardstick}_difference"]):
        return
    if not significant(best, yardstick, alpha):
        verdict = "this test cannot tell them apart"
    elif within_seeds(best, yardstick):
        verdict = (
            "significant over test examples, but no larger than two single trainings differ, "
            "and so not established"
        )
    else:
        verdict = "more than chance explains"
    yield said(
        "{} against {}: {}; {}.", best["variant"], words, difference(best, yardstick), verdict
    )


def difference(row: pd.Series, yardstick: str) -> Markup:
    """A difference from a yardstick with its interval and its adjusted p, cited."""
    ends = (f"{yardstick}_low", f"{yardstick}_high")
    p = f"{yardstick}_p_adjusted"
    return said(
        "{}{}{}", cell(row, f"{yardstick}_difference", "+z.2f", MAIN),
        limits(row, *ends, "+z.2f", MAIN),
        "" if pd.isna(row[p]) else said(", p {} after Holm", cell(row, p, "p", MAIN)),
    )  # fmt: skip


def _rivals(case: Case, best: pd.Series) -> Iterator[Markup]:
    """Which other synthetic data is told apart from the best, and which is not."""
    others = case.synthetic.iloc[1:]
    others = others[others["best_difference"].notna()]
    apart = [established(row, "best", case.alpha) for _, row in others.iterrows()]
    beaten, rivals = others[apart], others[[not told for told in apart]]
    if len(beaten):
        yield said("It is told apart from {}.", _named(beaten))
    if len(rivals):
        yield said("It is not told apart from {}, which may be as good or better.", _named(rivals))


def _named(rows: pd.DataFrame) -> Markup:
    if len(rows) > _NAMED:
        return listed(list(rows["variant"]))
    return listed(
        [said("{} ({})", row["variant"], difference(row, "best")) for _, row in rows.iterrows()]
    )


def _rank(best: pd.Series) -> Iterator[Markup]:
    if pd.notna(best["best"]):
        yield said(
            "In {} of the resampled tests it is the best synthetic data; the limits of its rank "
            "are {} and {}.", cell(best, "best", ".0%", MAIN), cell(best, "rank_low", ".3g", MAIN),
            cell(best, "rank_high", ".3g", MAIN),
        )  # fmt: skip


def _seeds(best: pd.Series, own: pd.Series) -> Iterator[Markup]:
    if best["seeds"] < 2:
        yield said(
            "Each variant was trained once: what another training seed would change is not known, "
            "and no difference here is shown to be larger than that."
        )
        return
    spread = ""
    if pd.notna(best["untuned_seed_spread"]):
        spread = said(
            "; the standard deviation of what single trainings gain over no tuning is {}",
            cell(best, "untuned_seed_spread", ".3f", MAIN),
        )
    yield said(
        "{} was trained with {} seeds: from {} to {}, standard deviation {}{}.", best["variant"],
        cell(best, "seeds", ".0f", MAIN), cell(own, "seed_low", ".2f", _VARIANTS),
        cell(own, "seed_high", ".2f", _VARIANTS), cell(best, "seed_sd", ".3f", MAIN), spread,
    )  # fmt: skip


def _test(best: pd.Series) -> Iterator[Markup]:
    size = said(
        "{} test examples in {} clusters", cell(best, "n", ".0f", MAIN),
        cell(best, "n_clusters", ".0f", MAIN),
    )  # fmt: skip
    if not best["detectable"] > 0:  # one cluster, or the same difference in all
        yield said("The test has {}.", size)
        return
    yield said(
        "{} show a true difference of {} from no tuning four times out of five; a smaller one is "
        "mostly missed, so that “not told apart” does not mean “equal”.",
        size, cell(best, "detectable", ".2f", MAIN),
    )  # fmt: skip


def _chosen(case: Case, best: pd.Series, main: pd.DataFrame) -> Iterator[Markup]:
    if len(case.synthetic) < 2:
        return
    yield said(
        "The best is picked on the test that it is measured on, which makes its score look a "
        "little higher than it is."
    )
    names = case.synthetic["variant"]
    for metric in case.metrics[1:]:
        rows = main[
            (main["model"] == case.model) & (main["task"] == case.task)
            & (main["metric"] == metric) & main["variant"].isin(names)
        ]  # fmt: skip
        top = rows.loc[rows["mean"].idxmax()]
        if top["mean"] > rows["mean"][rows["variant"] == best["variant"]].iloc[0]:
            yield said(
                "By {} another would be the best: {} with {}.", metric_words(metric),
                top["variant"], cell(top, "mean", ".2f", MAIN),
            )  # fmt: skip
