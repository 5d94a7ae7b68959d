"""Which variants are compared with which, and how sure each difference is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from needlework.evaluation.answer_scores import Floats
from needlework.evaluation.variant_table import UNTUNED, Systems
from needlework.statistics import (
    benjamini_hochberg,
    detectable_difference,
    holm,
    seed_spread,
    sign_flip,
)

COMPARISON_COLUMNS = [
    "model", "task", "condition", "metric", "variant_a", "variant_b", "contrast", "difference",
    "low", "high", "bca_low", "bca_high", "p", "p_adjusted", "p_sign_flip", "n", "n_clusters",
    "detectable", "seeds", "seed_spread",
]  # fmt: skip
_EXPLORATORY = "other"


class Contrast(NamedTuple):
    """A comparison of the variant `a` with the variant `b`, and what it is made for."""

    kind: str
    a: str
    b: str


def contrasts(
    names: Sequence[str],
    means: Mapping[str, float],
    *,
    reference: str,
    synthetic: Sequence[str],
) -> list[Contrast]:
    """Each pair of variants once, as the first of these that it is.

    `untuned`: a trained variant or control against the untuned model; `reference`: against the
    reference; `best`: a synthetic variant against the synthetic one with the highest mean (of
    equals the first); `other`: the later of two against the earlier. The first three are planned.

    Args:
        names: all variants and controls, in the study's order.
        means: their means.
        reference: the variant that the others are measured against; it may be absent.
        synthetic: the synthetic variants among them.
    """
    # The noise of averaging must not decide between equals.
    best = max(synthetic, key=lambda name: round(means[name], 12), default="")
    yardsticks = {"untuned": (UNTUNED, names), "reference": (reference, names),
                  "best": (best, synthetic)}  # fmt: skip
    found: dict[frozenset[str], Contrast] = {}
    for kind, (b, others) in yardsticks.items():
        for a in others:
            if b in names and a != b:
                found.setdefault(frozenset((a, b)), Contrast(kind, a, b))
    for b, a in combinations(names, 2):
        found.setdefault(frozenset((a, b)), Contrast(_EXPLORATORY, a, b))
    return list(found.values())


def comparison_rows(
    metrics: Mapping[str, Systems],
    clusters: Sequence[str],
    *,
    reference: str,
    synthetic: Sequence[str],
    level: float,
    permutations: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The rows of `comparisons.csv` for one model, task and condition, without these.

    The larger of both p values, of the bootstrap and of sign flips, is adjusted: that of the
    bootstrap is too small where clusters are few. Those of planned contrasts are adjusted by Holm,
    the others by Benjamini and Hochberg, within one metric. `seeds` is the smaller number of
    training seeds of the two; the spread over them (`statistics.seed_spread`) is beside the
    difference, and no part of its interval.
    """
    rows: list[dict[str, Any]] = []
    differences: list[Floats] = []
    for metric, systems in metrics.items():
        means = {name: systems.mean(name) for name in systems.names}
        chosen = contrasts(systems.names, means, reference=reference, synthetic=synthetic)
        compared = [_compared(systems, contrast, level) for contrast in chosen]
        rows += [{"metric": metric} | row for row in compared]
        columns = {name: systems.values[:, i] for i, name in enumerate(systems.names)}
        differences += [columns[a] - columns[b] for _, a, b in chosen]
    if not rows:
        return []
    together = np.stack(differences, axis=1)
    flipped = sign_flip(together, clusters, permutations=permutations, seed=seed)
    for row, p, smallest in zip(rows, flipped, detectable(together, clusters), strict=True):
        row |= {"p_sign_flip": float(p), "detectable": smallest}
    for metric in metrics:
        _adjust([row for row in rows if row["metric"] == metric])
    return rows


def _compared(systems: Systems, contrast: Contrast, level: float) -> dict[str, Any]:
    bootstrap = systems.bootstrap
    a, b = (systems.names.index(name) for name in (contrast.a, contrast.b))
    found = bootstrap.difference(systems.first + a, systems.first + b, level)
    seeds = [
        None if name == UNTUNED else systems.seeds[i]
        for i, name in ((a, contrast.a), (b, contrast.b))
    ]
    return (
        {"variant_a": contrast.a, "variant_b": contrast.b, "contrast": contrast.kind}
        | found._asdict()
        | {"n": bootstrap.n, "n_clusters": bootstrap.n_clusters}
        | {"seeds": min(len(each) for each in seeds if each is not None)}
        | {"seed_spread": seed_spread(*seeds)}
    )


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Add p_adjusted to the rows of one metric."""
    for exploratory, adjust in ((False, holm), (True, benjamini_hochberg)):
        family = [row for row in rows if (row["contrast"] == _EXPLORATORY) == exploratory]
        cautious = [max(row["p"], row["p_sign_flip"]) for row in family]
        for row, adjusted in zip(family, adjust(cautious), strict=True):
            row["p_adjusted"] = adjusted


def detectable(differences: Floats, clusters: Sequence[str]) -> list[float]:
    """The smallest true difference that each contrast would show (`detectable_difference`).

    From the clusters' mean differences, which are independent where items are not. NaN with a
    single cluster, which has no spread.

    Args:
        differences: of two systems each, shape (items, contrasts).
        clusters: the label of each item's cluster.
    """
    means = pd.DataFrame(differences).groupby(np.array(clusters)).mean().to_numpy()
    if len(means) < 2:
        return [math.nan] * means.shape[1]
    return [detectable_difference(column) for column in means.T]
