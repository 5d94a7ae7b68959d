"""Table of the heads that score otherwise after a variant than after the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from needlework.heads.run_scores import RunScores, check_comparable
from needlework.progress import say
from needlework.statistics import benjamini_hochberg, sign_flip

_COLUMNS = [
    "model", "task", "variant", "layer", "head",
    "mean", "reference_mean", "difference", "p", "p_adjusted", "n", "n_clusters",
]  # fmt: skip
_DIGITS = 6  # as HeadScores.mean: rounding noise makes no head positive


def differences_table(
    runs: Sequence[RunScores], *, reference: str, permutations: int = 10_000, seed: int
) -> pd.DataFrame:
    """`head_differences.csv`: every variant's heads against those of the reference, one by one.

    A head's score on an instance is the mean over the training seeds of a variant; means are over
    the instances that count in every run of both. p is by flipping the signs of whole clusters of
    instances (`sign_flip`), `p_adjusted` by Benjamini and Hochberg over the heads of one model,
    task and variant: a map of heads is explored, not planned. A head has a row where its mean is
    above 0 after either.

    Args:
        runs: of one model or several, from `read_run`.
        reference: the variant that the others are held against, on the same task.
        permutations: number of random patterns of signs; the smallest p is 1 / (1 + permutations).
        seed: seed of the signs.

    Raises:
        ValueError: runs of one model and task that `check_comparable` refuses.
    """
    groups: dict[tuple[str, str], dict[str, list[RunScores]]] = {}
    for each in runs:
        variants = groups.setdefault((each.run.model, each.run.task), {})
        variants.setdefault(each.run.variant, []).append(each)
    tables = [pd.DataFrame(columns=_COLUMNS)]
    for (model, task), variants in groups.items():
        check_comparable([each for own in variants.values() for each in own])
        theirs = variants.pop(reference, None)
        if theirs is None:
            say(f"{model} on {task}: no scores after {reference}, so no differences from them")
            continue
        for variant, own in variants.items():
            table = _against(own, theirs, permutations, seed)
            tables.append(table.assign(model=model, task=task, variant=variant))
    found = [table for table in tables if len(table)] or tables
    return pd.concat(found, ignore_index=True)[_COLUMNS]


def _against(
    own: Sequence[RunScores], theirs: Sequence[RunScores], permutations: int, seed: int
) -> pd.DataFrame:
    """The rows of one variant, without its names."""
    places = [{each.id: k for k, each in enumerate(run.counted)} for run in (*own, *theirs)]
    shared = [each for each in own[0].counted if all(each.id in known for known in places)]
    if not shared:
        say(f"{own[0].path} and {theirs[0].path}: no instance counts in both, so no differences")
        return pd.DataFrame()
    picked = [
        run.values[[known[each.id] for each in shared]]
        for run, known in zip((*own, *theirs), places, strict=True)
    ]
    a, b = np.mean(picked[: len(own)], axis=0), np.mean(picked[len(own) :], axis=0)
    means = np.stack([a.mean(axis=0), b.mean(axis=0)]).round(_DIGITS)
    active = (means > 0).any(axis=0)
    if not active.any():
        return pd.DataFrame()
    clusters = [each.cluster for each in shared]
    p = sign_flip((a - b)[:, active], clusters, permutations=permutations, seed=seed)
    layers, heads = np.nonzero(own[0].there)
    return pd.DataFrame(
        {
            "layer": layers[active],
            "head": heads[active],
            "mean": means[0, active],
            "reference_mean": means[1, active],
            "difference": means[0, active] - means[1, active],
            "p": p,
            "p_adjusted": benjamini_hochberg(p.tolist()),
            "n": len(shared),
            "n_clusters": len(set(clusters)),
        }
    )
