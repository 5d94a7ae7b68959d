"""The head scores of one run as far as runs are compared: those of the measure that counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from needlework.heads.score_file import Instance, existing_heads, read_scores
from needlework.layout import Run


class RunScores(NamedTuple):
    """The scores of a run by the kind and role of its probe, on the instances that count.

    Attributes:
        path: the file they are from.
        run: whose they are.
        settings: how its heads were scored.
        there: (layers, heads), where there is a head.
        instances: id and cluster of all, counted or not, sorted.
        counted: the n that count.
        values: (n, heads that exist).
        mean: (heads that exist,), all NaN where n is 0.
    """

    path: Path
    run: Run
    settings: dict[str, Any]
    there: NDArray[np.bool_]
    instances: tuple[tuple[str, str], ...]
    counted: list[Instance]
    values: NDArray[np.float64]
    mean: NDArray[np.float64]


def read_run(path: Path) -> RunScores:
    """The scores in a file that `write_scores` wrote to the folder of a run.

    Raises:
        ValueError: the file is not whole, or its path does not say whose it is.
    """
    scores = read_scores(path, counted_only=True)
    there = existing_heads(scores.layers)
    # How many examples are answered together changes no score.
    settings = {k: v for k, v in scores.metadata["probe"].items() if k != "batch"}
    return RunScores(
        path=path,
        run=Run.of(path),
        settings=settings,
        there=there,
        instances=tuple(sorted((i.id, i.cluster) for i in scores.instances)),
        counted=scores.counted(),
        values=scores.of()[:, there],
        mean=scores.mean()[there],
    )


def check_comparable(runs: Sequence[RunScores]) -> None:
    """Nothing, where the runs of one model can be compared.

    Raises:
        ValueError: two runs are one, have other heads, or were probed with other settings (kind,
            role, instances, answers and the rest).
    """
    first = runs[0]
    for k, each in enumerate(runs):
        keys = sorted(first.settings.keys() | each.settings.keys())
        pairs = {key: (first.settings.get(key), each.settings.get(key)) for key in keys}
        unlike = [f"{key} {pair}" for key, pair in pairs.items() if pair[0] != pair[1]]
        if unlike:
            raise ValueError(
                f"the probes of {first.path} and {each.path} differ in {', '.join(unlike)}; score "
                "both with the same settings to compare them"
            )
        if not np.array_equal(first.there, each.there):
            raise ValueError(
                f"{first.path} has {first.there.sum()} heads and {each.path} has "
                f"{each.there.sum()}, or not in the same layers; these are not runs of one model"
            )
        for other in runs[:k]:
            if other.run == each.run:
                raise ValueError(f"{other.path} and {each.path} are of one run; give one of them")
