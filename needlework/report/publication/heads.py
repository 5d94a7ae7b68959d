"""The heads of a study in a table for a paper: resemblance to real data, and what goes with it."""

from __future__ import annotations

import pandas as pd

from needlework.report.publication.typeset import RHO, Cell, Table, between, number
from needlework.report.tables.extracts import PAIR, decisive
from needlework.report.wording import metric_words
from needlework.study.sections import Study

_MEASURES = ("recall", "precision", "cosine")


def heads_tables(
    main: pd.DataFrame, correlations: pd.DataFrame, study: Study, reference: str
) -> list[Table]:
    """Recall, precision and cosine of every variant; and their correlation with the score.

    Args:
        main: `main_table.main_table`.
        correlations: `correlations.csv`.
        study: the study.
        reference: the variant whose heads the others are compared with.
    """
    scored = decisive(main, main)
    scored = scored[scored["heads"].notna()]
    return [_resemblance(scored, study, reference), _correlation(correlations, study)]


def _resemblance(rows: pd.DataFrame, study: Study, reference: str) -> Table:
    groups = [
        [
            [Cell(row["task"]), Cell(row["model"]), Cell(row["variant"]), Cell(number(row["mean"]))]
            + [Cell(number(row["heads"], ".0f"))]
            + [_measured(row, measure) for measure in _MEASURES]
            for _, row in part.iterrows()
        ]
        for _, part in rows.groupby(PAIR, sort=False)
    ]
    heads = [("Task", 1), ("Model", 1), ("Data", 1), ("Score", 1), ("Heads", 1)]
    heads += [(measure.capitalize(), 1) for measure in _MEASURES]
    caption = (
        f"Heads with a positive score after training on each data, against those of {reference} "
        f"data: recall and precision of the sets, cosine of all heads' scores "
        f"({study.probe.kind}, {study.probe.role}). Brackets: 95 % intervals, bootstrap over "
        f"clusters of the probe ({study.probe.resamples:,} resamples), with several seeds the "
        "widest; in parentheses what as many random heads, or shuffled scores, would give."
    )
    return Table(caption, "tab:heads", [heads], 3, groups)


def _measured(row: pd.Series, measure: str) -> Cell:
    if pd.isna(row[measure]):
        return Cell("–")
    limits = between(row[f"{measure}_low"], row[f"{measure}_high"])
    return Cell(number(row[measure]), beside=f"{limits} ({number(row[f'{measure}_random'])})")


def _correlation(correlations: pd.DataFrame, study: Study) -> Table:
    chosen = correlations[
        correlations["set"].isin(["positive", "scores"])
        & correlations["measure"].isin(_MEASURES)
        & correlations["method"].isin(["spearman", "within"])
    ]
    groups = [
        [
            [
                Cell(row["task"]), Cell(row["model"]), Cell(metric_words(row["metric"])),
                Cell(row["measure"]),
                Cell(number(row["r"]), beside=between(row["low"], row["high"])),
                Cell(_p(row["p"])), Cell(number(row["n"], ".0f")),
            ]
            for row in part.to_dict("records")
        ]
        for _, part in chosen.groupby(PAIR, sort=False)
    ]  # fmt: skip
    heads = [("Task", 1), ("Model", 1), ("Score", 1), ("Measure", 1), (f"Spearman's {RHO}", 1)]
    heads += [("p", 1), ("N", 1)]
    caption = (
        "Rank correlation, over training data, of the score with the resemblance of the heads, "
        f"with {100 * study.statistics.level:.0f} % intervals (bootstrap over the N points). "
        "“all”: within the pairs of model and task."
    )
    return Table(caption, "tab:correlations", [heads], 4, groups)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p, ".3f")
