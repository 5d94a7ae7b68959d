"""What each variant scores over its training seeds, and where it ranks among the synthetic ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from needlework.evaluation.answer_scores import Floats
from needlework.layout import holds_real
from needlework.statistics import PairedBootstrap

VARIANT_COLUMNS = [
    "model", "task", "variant", "condition", "metric", "mean", "low", "high", "bca_low",
    "bca_high", "seeds", "seed_sd", "seed_low", "seed_high", "rank", "rank_low", "rank_high",
    "best", "n", "n_clusters",
]  # fmt: skip
UNTUNED = "untuned"


class Systems(NamedTuple):
    """The variants of one model, task and condition by one metric.

    Attributes:
        names: the variants, in the study's order.
        values: scores averaged over the training seeds, shape (items, variants).
        seeds: the mean of each single run of each variant.
        bootstrap: the resamples of these values, perhaps beside others.
        first: column of the first variant in the bootstrap; the others follow.
    """

    names: list[str]
    values: Floats
    seeds: list[list[float]]
    bootstrap: PairedBootstrap
    first: int

    def mean(self, name: str) -> float:
        """The mean score of a variant."""
        return float(self.bootstrap.means[self.first + self.names.index(name)])


def averaged(values: Floats, variants: Sequence[str]) -> tuple[list[str], Floats]:
    """The variants in order, and the mean of the runs of each, shape (items, variants).

    Args:
        values: scores, shape (items, runs).
        variants: the variant of each run.
    """
    names = list(dict.fromkeys(variants))
    columns = [values[:, [v == name for v in variants]].mean(axis=1) for name in names]
    return names, np.stack(columns, axis=1)


def synthetic_variants(names: Sequence[str], controls: Collection[str]) -> list[str]:
    """The variants that hold no real data, each once: not the untuned model, and no control."""
    return [
        name
        for name in dict.fromkeys(names)
        if name != UNTUNED and name not in controls and not holds_real(name)
    ]


def variant_rows(systems: Systems, synthetic: Sequence[str], level: float) -> list[dict[str, Any]]:
    """The rows of `variants.csv`, without model, task, condition and metric.

    The spread over seeds is that of the single runs' means: standard deviation (ddof 1), lowest and
    highest. Ranks are among `synthetic`, where these are two or more.
    """
    bootstrap = systems.bootstrap
    ranks = _ranks(systems, synthetic)
    rows = []
    for column, (name, seeds) in enumerate(
        zip(systems.names, systems.seeds, strict=True), systems.first
    ):
        bca_low, bca_high = bootstrap.bca(column, level)
        rows.append(
            {"variant": name}
            | bootstrap.interval(column, level)._asdict()
            | {"bca_low": bca_low, "bca_high": bca_high}
            | {"seeds": len(seeds), "seed_low": min(seeds), "seed_high": max(seeds)}
            | ({"seed_sd": float(np.std(seeds, ddof=1))} if len(seeds) > 1 else {})
            | ranks.get(name, {})
            | {"n": bootstrap.n, "n_clusters": bootstrap.n_clusters}
        )
    return rows


def _ranks(systems: Systems, synthetic: Sequence[str]) -> dict[str, dict[str, float]]:
    if len(synthetic) < 2:
        return {}
    columns = [systems.first + systems.names.index(name) for name in synthetic]
    found = systems.bootstrap.ranks(columns)
    return {
        name: {"rank": rank, "rank_low": low, "rank_high": high, "best": best}
        for name, rank, low, high, best in zip(synthetic, *found, strict=True)
    }
