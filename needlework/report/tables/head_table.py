"""The head scores of a study's runs as one table, and what a reader must know of the probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from needlework.heads.score_file import HeadScores, existing_heads, read_scores
from needlework.layout import Run
from needlework.report.tables.extracts import PAIR
from needlework.study.runs import scored_runs
from needlework.study.sections import Study


class Probed(NamedTuple):
    """How many examples of a run's probe were scored, how many of these count, and what failed."""

    run: Run
    scored: int
    counting: int
    failed: dict[str, int]


class Heads(NamedTuple):
    """What the score files say.

    Attributes:
        table: model, task, variant, layer, head, there (False where a layer has no such head), kind
            and role of the score, score (mean over examples, then over seeds), n (examples).
        probes: what came of the examples of every run's probe.
        notes: sentences on probe examples that could not be scored, and on layers that could not
            see the needle.
    """

    table: pd.DataFrame
    probes: list[Probed]
    notes: list[str]


def read_heads(results: Path, study: Study) -> Heads:
    """The probes of all runs of a study, from `results`/heads."""
    parts, probes, notes = [], [], Counter[str]()
    for run in scored_runs(study):
        folder = results / "heads" / run.model / run.task / run.variant / f"seed{run.seed}"
        scores = read_scores(folder / "validation.json", counted_only=True)
        failed = {reason: len(ids) for reason, ids in scores.failures.items()}
        probes.append(Probed(run, len(scores.instances), len(scores.of()), failed))
        probe = scores.metadata["probe"]
        where = {"model": run.model, "task": run.task, "variant": run.variant}
        kind = {"kind": probe["kind"], "role": probe["role"]}
        parts.append(_places(scores).assign(**where, **kind))
        notes.update(f"{run.model} on {run.task}: {note}" for note in _notes(scores))
    keys = [*PAIR, "variant", "layer", "head", "there", "kind", "role"]
    table = pd.concat(parts).groupby(keys, sort=False)[["score", "n"]].mean().reset_index()
    return Heads(table, probes, [_of_runs(note, count) for note, count in notes.items()])


def _places(scores: HeadScores) -> pd.DataFrame:
    mean, there = scores.mean(), existing_heads(scores.layers)
    layer, head = np.indices(mean.shape)
    return pd.DataFrame(
        {
            "layer": layer.ravel(), "head": head.ravel(), "there": there.ravel(),
            "score": mean.ravel(), "n": len(scores.of()),
        }
    )  # fmt: skip


def _notes(scores: HeadScores) -> Iterator[str]:
    for reason, ids in scores.failures.items():
        yield f"probe examples that could not be scored: {len(ids)} ({reason})"
    role = scores.metadata["probe"]["role"]
    blind = {i: n for i, layer in enumerate(scores.layers) if (n := layer.unseen.get(role, 0))}
    if blind:
        yield (
            f"in {len(blind)} of {len(scores.layers)} layers the window of attention hid the "
            f"needle of up to {max(blind.values())} of {len(scores.instances)} probe examples, so "
            "that a score of 0 there says nothing of the head"
        )


def _of_runs(note: str, count: int) -> str:
    return f"{note}." if count == 1 else f"{note} (in {count} runs)."
