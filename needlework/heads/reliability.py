"""How many probe examples it takes until a model's head scores hardly depend on which they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from needlework.heads.compare import measures
from needlework.heads.run_scores import RunScores

Floats = NDArray[np.float64]

_COLUMNS = [
    "model", "task", "variant", "seed",
    "measure", "examples", "value", "low", "high", "predicted",
]  # fmt: skip
_PREDICTED = ("cosine", "spearman")
_DIGITS = 6  # as HeadScores.mean: rounding noise decides no tie


def reliability_table(
    runs: Sequence[RunScores], *, top_count: int, draws: int = 200, seed: int
) -> pd.DataFrame:
    """`reliability.csv`: how far the scores from some examples agree with those from others.

    The instances that count are dealt into two halves, whole clusters at a time, and the mean
    scores of the first `examples` instances of one half are compared with those of the other: by
    cosine, by Spearman's correlation, and by the overlap of the top k (2 * shared / heads of both,
    which is shared / k where both have k). `value` is the mean over draws in which the measure is
    defined, `low` and `high` are their 2.5th and 97.5th percentiles.

    What larger probes, up to four times this one, would give is `predicted`. By the formula of
    Spearman (1910) and Brown (1910), r' = f r / (1 + (f - 1) r) with f times as many examples, the
    odds r / (1 - r) grow f-fold. That holds for the cosine, where noise adds its variance / n to
    the squared norm and nothing to the product, but says too much of ranks, where the many heads
    with low scores are settled last. So the odds grow by f to the power that they were measured to
    have between a quarter and the whole of the largest halves, at most 1. The overlap has no such
    law.

    Args:
        runs: whose scores, from `read_run`.
        top_count: k of the top-k set.
        draws: how often the instances are dealt.
        seed: seed of the draws.

    Returns:
        A row per run, measure and number of examples. Examples grow by the root of 2 up to half of
        the instances; where these cannot be halved, the one number is 0 and the value NaN.
    """
    rows = []
    for each in runs:
        clusters = tuple(instance.cluster for instance in each.counted)
        found = _agreement(each.values, clusters, top_count, draws, seed)
        rows += [each.run._asdict() | row for row in found]
    return pd.DataFrame(rows, columns=_COLUMNS)


def enough(table: pd.DataFrame, *, measure: str = "spearman", agreement: float = 0.9) -> int | None:
    """The number of examples at which every run of a table reaches an agreement.

    Args:
        table: rows of `reliability_table`, of the runs that are asked about. Without the predicted
            ones, what was not measured is not claimed.
        measure: which agreement.
        agreement: the least value.

    Returns:
        The least number of examples of the run that takes the most; None if a run never reaches
        the agreement, or there is none.
    """
    rows = table[table["measure"] == measure]
    needed = [
        run.loc[run["value"] >= agreement, "examples"].min()
        for _, run in rows.groupby(["model", "task", "variant", "seed"])
    ]
    return None if not needed or np.isnan(needed).any() else int(max(needed))


def _agreement(
    values: Floats, clusters: tuple[str, ...], top_count: int, draws: int, seed: int
) -> list[dict[str, Any]]:
    places = _dealt(clusters, draws, seed)
    half = int((places < len(clusters)).sum(axis=2).min())
    steps = {round(half * 2 ** (-k / 2)) for k in range(2 * half.bit_length())} - {0}
    rows: list[dict[str, Any]] = []
    agreement: dict[tuple[str, int], Floats] = {}
    active = values.any(axis=0)
    for examples in sorted(steps or {0}):
        with np.errstate(invalid="ignore"):  # nothing, of no example
            means = (places < examples).astype(np.float64) @ values[:, active] / examples
        found = measures(means.round(_DIGITS), top_count, zeros=int((~active).sum()))
        shared = found["top", "jaccard"][:, 0, 1]
        for measure, drawn in {
            "cosine": found["scores", "cosine"][:, 0, 1],
            "spearman": found["scores", "spearman"][:, 0, 1],
            "top_overlap": 2 * shared / (1 + shared),  # from Jaccard, shared / either
        }.items():
            agreement[measure, examples] = _summary(drawn)
            rows.append(_row(measure, examples, agreement[measure, examples], predicted=False))
    larger = [round(half * 2 ** (k / 2)) for k in range(1, 7)] if half else []
    for measure, examples in itertools.product(_PREDICTED, larger):
        known, quarter = agreement[measure, half], max(1, round(half / 4))
        exponent = _exponent(agreement[measure, quarter][0], known[0], half / quarter)
        value = _predicted(known, (examples / half) ** exponent)
        rows.append(_row(measure, examples, value, predicted=True))
    return rows


@lru_cache(maxsize=4)  # runs of one task are dealt alike
def _dealt(clusters: tuple[str, ...], draws: int, seed: int) -> NDArray[np.intp]:
    """The place of each instance in either half, (draws, 2, n); n where it is in the other.

    Clusters come in random order, each to the half that is smaller then.
    """
    members: dict[str, list[int]] = {}
    for instance, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(instance)
    groups = [members[cluster] for cluster in sorted(members)]
    random = np.random.default_rng(seed)
    places = np.full((draws, 2, len(clusters)), len(clusters))
    for dealt in places:
        sizes = [0, 0]
        for k in random.permutation(len(groups)):
            half = int(sizes[1] < sizes[0])
            size = len(groups[k])
            dealt[half, random.permutation(groups[k])] = sizes[half] + np.arange(size)
            sizes[half] += size
    return places


def _summary(drawn: Floats) -> Floats:
    """Mean and limits over the draws in which there is a number."""
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return np.full(3, np.nan)
    return np.array([defined.mean(), *np.quantile(defined, [0.025, 0.975])])


def _exponent(smaller: float, larger: float, factor: float) -> float:
    """How the odds of agreement, r / (1 - r), grow with `factor` times as many examples."""
    with np.errstate(all="ignore"):
        odds = np.array([smaller, larger]) / (1 - np.array([smaller, larger]))
        slope = np.log(odds[1] / odds[0]) / np.log(factor)
    return float(np.clip(slope, 0, 1)) if np.isfinite(slope) else 1.0


def _predicted(agreement: Floats, growth: float) -> Floats:
    """The agreement of which the odds are `growth` times as large; chance, below 0, stays 0."""
    known = np.maximum(agreement, 0)
    return np.asarray(growth * known / (1 + (growth - 1) * known))


def _row(measure: str, examples: int, value: Floats, *, predicted: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"measure": measure, "examples": examples, "predicted": predicted}
    return row | dict(zip(("value", "low", "high"), value.tolist(), strict=True))
