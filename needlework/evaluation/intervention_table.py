"""What each intervention did to the answers, against plain answers and against random heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from needlework.evaluation.answer_scores import Floats, answer_scores
from needlework.evaluation.contrasts import detectable
from needlework.evaluation.predict import Row, read_predictions
from needlework.interventions.record import Intervention, read_intervention
from needlework.layout import Run
from needlework.statistics import Difference, PairedBootstrap, holm, sign_flip

INTERVENTION_COLUMNS = [
    "model", "task", "variant", "seed", "condition", "action", "chosen", "k", "heads", "draw",
    "kind", "during", "positions", "source", "metric", "mean", "low", "high", "against",
    "difference", "difference_low", "difference_high", "p", "p_adjusted", "p_sign_flip",
    "detectable", "n", "n_clusters",
]  # fmt: skip


class _System(NamedTuple):
    """A column of the scores: the plain answers, a condition, or the mean of some conditions."""

    record: Intervention | None
    columns: list[str]


def intervention_table(
    plain: Sequence[Path],
    intervened: Sequence[Path],
    records: Sequence[Path],
    *,
    resamples: int,
    level: float,
    seed: int,
) -> pd.DataFrame:
    """`interventions.csv`: each condition's mean, and its difference from others on the same items.

    A condition is compared with the plain answers and, where it is not random itself, with the mean
    over the random draws of the same k, kind and rows, or of the same positions. That mean has rows
    of its own, without a draw. The larger of both p values, of the bootstrap and of sign flips, is
    adjusted by Holm over all comparisons of one model, task and metric, but for those of single
    draws, which have none adjusted. Plain answers count where an item was intervened on.

    Args:
        plain: predictions of every run without intervention.
        intervened: predictions of runs under conditions, named as these.
        records: the conditions, in folders named as the runs'.
        resamples: resamples of the bootstrap over clusters, and most permutations of the sign-flip
            test.
        level: of the intervals.
        seed: of both.

    Raises:
        ValueError: predictions lack a record, a record its predictions, a run its plain answers;
            two conditions of a run answered different items, or items without plain answers.
    """
    baselines = {Run.of(path): path for path in plain}
    files = {(Run.of(path), path.stem): path for path in intervened}
    known = _records(records, files)
    rows: list[dict[str, Any]] = []
    for run in dict.fromkeys(run for run, _ in files):
        if run not in baselines:
            raise ValueError(f"{_folder(run)} has interventions and no plain predictions; add them")
        own = {name: path for (other, name), path in files.items() if other == run}
        systems = _systems({name: known[run, name] for name in own})
        rows += _of_run(run, systems, _aligned(baselines[run], own), resamples, level, seed)
    table = pd.DataFrame(rows, columns=INTERVENTION_COLUMNS)
    planned = table[table["against"].notna() & table["draw"].isna()]
    cautious = planned.assign(p=planned[["p", "p_sign_flip"]].max(axis=1))
    table["p_adjusted"] = cautious.groupby(["model", "task", "metric"])["p"].transform(
        lambda p: holm(list(p))
    )
    return table.astype(dict.fromkeys(("k", "heads", "draw"), "Int64"))


def _records(
    paths: Sequence[Path], files: Mapping[tuple[Run, str], Path]
) -> dict[tuple[Run, str], Intervention]:
    """The records by run and name, one for each file of predictions."""
    known = {
        (Run.of(path), each.name): each for path in paths for each in [read_intervention(path)]
    }
    for key in [*files, *known]:
        if (key in files) != (key in known):
            has, lacks = ("predictions", "record") if key in files else ("a record", "predictions")
            raise ValueError(
                f"{_folder(key[0])}: the condition {key[1]} has {has} and no {lacks}; give both "
                "or neither"
            )
    return known


def _folder(run: Run) -> str:
    return f"{run.model}/{run.task}/{run.variant}/seed{run.seed}"


def _systems(records: Mapping[str, Intervention]) -> dict[str, _System]:
    """What is compared, by name: the plain answers, each condition, the mean of random draws."""
    systems = {"plain": _System(None, ["plain"])}
    means: dict[str, _System] = {}
    for name, record in records.items():
        systems[name] = _System(record, [name])
        if record.draw is not None:
            mean = record.model_copy(update={"draw": None})
            means.setdefault(mean.name, _System(mean, [])).columns.append(name)
    return systems | means


def _aligned(plain: Path, conditions: Mapping[str, Path]) -> dict[str, list[Row]]:
    """The rows of the plain answers and of each condition, item by item the same."""
    first_path = next(iter(conditions.values()))
    tables = {name: _by_id(path) for name, path in conditions.items()}
    items = list(tables[next(iter(conditions))])
    for name, path in conditions.items():
        if different := sorted(set(tables[name]) ^ set(items)):
            raise ValueError(
                f"{path} and {first_path} hold different items, {', '.join(different[:3])}; remove "
                "both and run again"
            )
    baseline = _by_id(plain)
    if missing := [item for item in items if item not in baseline]:
        raise ValueError(
            f"{first_path} answers {len(missing)} items that {plain} does not, "
            f"{', '.join(missing[:3])}; remove both and run again"
        )
    tables = {"plain": baseline} | tables
    return {name: [table[item] for item in items] for name, table in tables.items()}


def _by_id(path: Path) -> dict[str, Row]:
    rows = read_predictions(path)
    by_id = {row["id"]: row for row in rows}
    if len(by_id) < len(rows):
        raise ValueError(f"{path} answers an item more than once; remove it and run again")
    return by_id


def _of_run(
    run: Run,
    systems: Mapping[str, _System],
    answers: Mapping[str, list[Row]],
    resamples: int,
    level: float,
    seed: int,
) -> list[dict[str, Any]]:
    """The rows of one run, p not adjusted yet."""
    clusters = [row["cluster"] for row in answers["plain"]]
    values = _values(run.task, systems, answers)
    # One bootstrap for all metrics: its draws take most of the time.
    both = PairedBootstrap(
        np.hstack(list(values.values())), clusters, resamples=resamples, seed=seed
    )
    rows: list[dict[str, Any]] = []
    differences: list[Floats] = []
    for place, (metric, scores) in enumerate(values.items()):
        column = {name: i for i, name in enumerate(systems, place * len(systems))}
        score = dict(zip(systems, scores.T, strict=True))
        for name, system in systems.items():
            row = run._asdict() | {"condition": name, "metric": metric} | _facts(system.record)
            row |= both.interval(column[name], level)._asdict()
            row |= {"n": both.n, "n_clusters": both.n_clusters}
            for against, other in _comparisons(system.record, systems):
                found = both.difference(column[name], column[other], level)
                rows.append(row | {"against": against} | _named(found))
                differences.append(score[name] - score[other])
            if system.record is None:
                rows.append(row)
    together = np.stack(differences, axis=1)
    flipped = sign_flip(together, clusters, permutations=resamples, seed=seed)
    compared = [row for row in rows if "against" in row]
    for row, p, smallest in zip(compared, flipped, detectable(together, clusters), strict=True):
        row |= {"p_sign_flip": float(p), "detectable": smallest}
    return rows


def _values(
    task: str, systems: Mapping[str, _System], answers: Mapping[str, list[Row]]
) -> dict[str, Floats]:
    """The scores of the systems by each metric, shape (items, systems)."""
    column = {name: i for i, name in enumerate(answers)}
    members = [[column[name] for name in system.columns] for system in systems.values()]
    return {
        metric: np.stack([scores[:, own].mean(axis=1) for own in members], axis=1)
        for metric, scores in answer_scores(task, list(answers.values())).items()
    }


def _named(found: Difference) -> dict[str, float]:
    """A difference in the table's columns: `low` and `high` are the mean's own."""
    return {
        "difference": found.difference,
        "difference_low": found.low,
        "difference_high": found.high,
        "p": found.p,
    }


def _facts(record: Intervention | None) -> dict[str, Any]:
    """The columns that say what was done."""
    if record is None:
        return {}
    keys = ("action", "chosen", "draw", "kind", "during", "positions", "source")
    facts = {key: getattr(record, key) for key in keys}
    return facts | {"k": record.wanted, "heads": len(record.heads)}


def _comparisons(
    record: Intervention | None, systems: Mapping[str, _System]
) -> list[tuple[str, str]]:
    """What a system is compared with: the word for it, and its name."""
    if record is None:
        return []
    control = record.model_copy(update={"chosen": "random", "draw": None}).name
    random = [("random", control)] if record.chosen != "random" and control in systems else []
    return [("plain", "plain"), *random]
