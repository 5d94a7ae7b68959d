"""Masks and patches of a study in tables for a paper."""

from __future__ import annotations

import pandas as pd

from needlework.report.publication.typeset import (
    DAGGER,
    DOUBLE_DAGGER,
    Cell,
    Table,
    between,
    number,
)
from needlework.report.tables.extracts import PAIR
from needlework.study.sections import Study

_SETS = {"intersection": "Inter.", "complement": "Compl.", "random": "Random"}
_RUN = [*PAIR, "variant"]


def intervention_tables(interventions: pd.DataFrame, study: Study) -> list[Table]:
    """Scores after patches, as in Table 3 of Zhao et al., and after masks, as in their Figure 4.

    Args:
        interventions: `tables.interventions_over_seeds`.
        study: the study.
    """
    made = []
    if study.patching:
        made.append(_patches(interventions, study))
    if study.masking:
        made.append(_masks(interventions, study))
    return made


def _plain(interventions: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    rows = interventions[interventions["action"].isna()]
    return {tuple(row[_RUN]): row for _, row in rows.iterrows()}


def _patches(interventions: pd.DataFrame, study: Study) -> Table:
    plain, alpha = _plain(interventions), study.statistics.alpha
    rows = interventions[interventions["action"] == "patch"]
    groups: dict[tuple[str, ...], list[list[Cell]]] = {}
    for key, part in rows.groupby([*_RUN, "source", "positions"], sort=False):
        model, task, variant, source, positions = map(str, key)
        names = [task, model, variant, source, positions]
        original = plain[model, task, variant]
        cells = [_after(_one(part, chosen=name), part, alpha) for name in _SETS]
        groups.setdefault((model, task), []).append([*map(Cell, names), _score(original), *cells])
    heads = [("Task", 1), ("Model", 1), ("Data", 1), ("Source", 1), ("Positions", 1)]
    heads += [("Orig.", 1), *((name, 1) for name in _SETS.values())]
    caption = (
        "Scores with the outputs of heads of the source's model put into the model of each data: "
        "heads that both models have (Inter.), that only the source's has (Compl.), random ones, "
        f"as many, the mean over draws (Random). {_marks(study)}"
    )
    return Table(caption, "tab:patching", [heads], 5, _ordered(groups, study))


def _masks(interventions: pd.DataFrame, study: Study) -> Table:
    plain, alpha = _plain(interventions), study.statistics.alpha
    rows = interventions[interventions["action"] == "mask"]
    sets = [name for name in ("top", "random", "lowest") if name in set(rows["chosen"])]
    groups: dict[tuple[str, ...], list[list[Cell]]] = {}
    for key, part in rows.groupby([*_RUN, "kind", "during", "k"], sort=False):
        model, task, variant, kind, during = map(str, key[:5])
        names = [task, model, variant, f"{kind}, {during}", f"{key[5]:.0f}"]
        cells = [_after(_one(part, chosen=name), part, alpha) for name in sets]
        original = _score(plain[model, task, variant])
        groups.setdefault((model, task), []).append([*map(Cell, names), original, *cells])
    heads = [("Task", 1), ("Model", 1), ("Data", 1), ("Mask", 1), ("Heads", 1), ("Orig.", 1)]
    heads += [(name.capitalize(), 1) for name in sets]
    caption = (
        "Scores with heads masked: the highest-scoring (Top), and random ones, as many, the mean "
        f"over draws (Random). {_marks(study)}"
    )
    return Table(caption, "tab:masking", [heads], 5, _ordered(groups, study))


def _ordered(
    groups: dict[tuple[str, ...], list[list[Cell]]], study: Study
) -> list[list[list[Cell]]]:
    """The groups of rows of each model and task, in the order of the study."""
    pairs = [(model, task) for task in study.tasks.chosen() for model in study.models]
    return [groups[pair] for pair in pairs if pair in groups]


def _marks(study: Study) -> str:
    alpha, level = study.statistics.alpha, study.statistics.level
    seeds = len(study.training_seeds)
    over = f" Mean over {seeds} training seeds, the widest interval." if seeds > 1 else ""
    return (
        f"{DAGGER}: differs from the original; {DOUBLE_DAGGER}: differs from random heads (paired "
        f"bootstrap, two-sided, p < {alpha:g} after Holm"
        f"{', in every seed' if seeds > 1 else ''}). Brackets: {100 * level:.0f} % intervals.{over}"
    )


def _one(part: pd.DataFrame, chosen: str) -> pd.Series | None:
    rows = part[(part["chosen"] == chosen) & (part["against"] == "plain")]
    return rows.iloc[0] if len(rows) else None


def _after(row: pd.Series | None, part: pd.DataFrame, alpha: float) -> Cell:
    if row is None:
        return Cell("–")
    beside = part[(part["chosen"] == row["chosen"]) & (part["against"] == "random")]
    marks = DAGGER if row["p_adjusted"] < alpha else ""
    marks += DOUBLE_DAGGER if (beside["p_adjusted"] < alpha).any() else ""
    return _score(row)._replace(marks=marks)


def _score(row: pd.Series) -> Cell:
    return Cell(number(row["mean"]), beside=between(row["low"], row["high"]))
