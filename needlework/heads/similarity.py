"""Table of how the retrieval heads of every two runs of a model resemble each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from needlework.heads.compare import measures, random_measures
from needlework.heads.run_scores import RunScores, check_comparable
from needlework.heads.sets import indicators
from needlework.layout import Run
from needlework.provenance import derived_seed
from needlework.statistics import cluster_weights

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

_COLUMNS = [
    "model", "task_a", "variant_a", "seed_a", "task_b", "variant_b", "seed_b", "set", "measure",
    "value", "low", "high", "random", "random_layer",
    "heads_a", "heads_b", "shared", "n_a", "n_b",
]  # fmt: skip
# Resampled scores held at a time: a few buffers of 16 MB instead of resamples x runs x heads.
_CHUNK = 2_000_000
_DIGITS = 6  # as HeadScores.mean: rounding noise decides neither a tie nor a threshold


def similarity_table(
    runs: Sequence[RunScores],
    *,
    reference: str,
    top_count: int,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int,
) -> pd.DataFrame:
    """`head_similarity.csv`: every two runs of one model by sets of heads and by all scores.

    The sets are all positive heads, those above Wu's threshold of 0.1, and the top k. `low` and
    `high` are value -/+ z * (standard deviation over resamples), within what is possible: the
    standard interval of Efron and Tibshirani (1986, Statistical Science 1, 54-75). Clusters of
    probe instances are resampled; runs that were probed on the same instances share the draws,
    others are drawn independently. Resamples that leave a measure undefined (an empty set) are left
    out. Limits are NaN where the value is, and where the instances of a run that count are of one
    cluster.

    Percentiles of the resamples would not do. A resample holds about 63 % of the clusters, so that
    a head that copied in one of them only is not positive in more than a third of the resamples,
    and noise enters twice: resampled sets are smaller, cosines and correlations lower than those
    of the sample, often all of them. The limits are about the value that a probe of this size gives
    on average; a larger one finds more positive heads, and higher correlations.

    `random` and `random_layer` are the expected values for random heads: sets of the same sizes
    (or the same scores, permuted) over all heads, and within each layer.

    Args:
        runs: of one model or several, from `read_run`.
        reference: the variant that is b in its pairs with others, "real" where a study has it. In
            all other pairs b is the earlier of `runs`.
        top_count: k of the top-k sets.
        resamples: number of resamples.
        level: level of the intervals.
        seed: seed of the draws.

    Raises:
        ValueError: runs of one model that `check_comparable` refuses; a model without the
            reference; `level` is not between 0 and 1; fewer than 2 resamples.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, such as 0.95")
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}; a spread takes at least 2 (1,000 is usual)")
    rows = []
    for model in dict.fromkeys(each.run.model for each in runs):
        own = [each for each in runs if each.run.model == model]
        _check(own, reference)
        a, b = _pairs([probe.run for probe in own], reference)
        errors = _errors(own, top_count, a, b, resamples, seed)
        z = stats.norm.ppf((1 + level) / 2)
        rows += _rows(own, top_count, a, b, {key: z * error for key, error in errors.items()})
    return pd.DataFrame(rows, columns=_COLUMNS)


def _check(runs: list[RunScores], reference: str) -> None:
    check_comparable(runs)
    variants = sorted({each.run.variant for each in runs})
    if reference not in variants:
        raise ValueError(
            f"no probe of the variant {reference!r} for {runs[0].run.model}, only of {variants}"
        )


def _pairs(runs: list[Run], reference: str) -> tuple[Integers, Integers]:
    """The places of the runs a and of the runs b of all pairs."""
    pairs = [
        (i, k) if runs[k].variant == reference != runs[i].variant else (k, i)
        for i, k in itertools.combinations(range(len(runs)), 2)
    ]
    a, b = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return a, b


def _errors(
    probes: list[RunScores], top_count: int, a: Integers, b: Integers, resamples: int, seed: int
) -> dict[tuple[str, str], Floats]:
    """Standard deviation of every measure over the resamples, (pairs,); NaN where none exists."""
    resampled: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    active = np.any([probe.values.any(axis=0) for probe in probes], axis=0)
    for means in _resampled_means(probes, active, resamples, seed):
        for key, found in measures(means, top_count, zeros=int((~active).sum())).items():
            resampled.setdefault(key, []).append(found[:, a, b].astype(np.float32))
    varies = np.array([len({each.cluster for each in probe.counted}) > 1 for probe in probes])
    errors = {}
    for key, parts in resampled.items():
        found = np.concatenate(parts)
        usable = varies[a] & varies[b] & ((~np.isnan(found)).sum(axis=0) > 1)
        errors[key] = np.full(len(a), np.nan)
        errors[key][usable] = np.nanstd(found[:, usable], axis=0, ddof=1, dtype=np.float64)
    return errors


def _resampled_means(
    probes: list[RunScores], active: NDArray[np.bool_], resamples: int, seed: int
) -> Iterator[Floats]:
    """Blocks of (rows, runs, active heads), `resamples` rows in all."""
    weights = {probe.instances: _weights(probe.instances, resamples, seed) for probe in probes}
    clusters = [_clusters(probe) for probe in probes]
    values = [probe.values[:, active] for probe in probes]
    step = max(1, _CHUNK // (len(probes) * len(active)))
    for start in range(0, resamples, step):
        means = []
        for probe, own, scores in zip(probes, clusters, values, strict=True):
            drawn = weights[probe.instances][start : start + step, own]
            with np.errstate(invalid="ignore"):  # NaN where none of the instances that count is
                means.append(drawn @ scores / drawn.sum(axis=1, keepdims=True))
        yield np.stack(means, axis=1).round(_DIGITS)


def _clusters(probe: RunScores) -> Integers:
    """Of the instances that count, the place of the cluster among all clusters, sorted."""
    places = {c: k for k, c in enumerate(sorted({cluster for _, cluster in probe.instances}))}
    return np.array([places[each.cluster] for each in probe.counted], dtype=np.intp)


def _weights(instances: tuple[tuple[str, str], ...], resamples: int, seed: int) -> Floats:
    """How often each resample draws each cluster of a probe, (resamples, clusters).

    Another probe has another stream of draws, so that probes are independent.
    """
    n_clusters = max(1, len({cluster for _, cluster in instances}))
    stream = derived_seed(seed, "similarity", instances)
    return np.concatenate(list(cluster_weights(n_clusters, resamples, stream)))


def _rows(
    probes: list[RunScores],
    top_count: int,
    a: Integers,
    b: Integers,
    widths: dict[tuple[str, str], Floats],
) -> list[dict[str, Any]]:
    means = np.stack([probe.mean for probe in probes])
    layers = np.nonzero(probes[0].there)[0]
    anywhere = random_measures(means, top_count, np.zeros_like(layers))
    in_layer = random_measures(means, top_count, layers)
    shared = {name: sets @ sets.T for name, sets in indicators(means, top_count).items()}
    found = measures(means, top_count)
    rows = []
    for pair, (i, k) in enumerate(zip(a, b, strict=True)):
        for key in found:
            row: dict[str, Any] = {"model": probes[i].run.model, "set": key[0], "measure": key[1]}
            for side, probe in (("a", probes[i]), ("b", probes[k])):
                row |= {f"{name}_{side}": part for name, part in probe.run._asdict().items()}
                row[f"n_{side}"] = len(probe.values)
            value, width = found[key][i, k], widths[key][pair]
            least = 0 if key[0] in shared else -1
            row |= {"value": value, "low": max(value - width, least), "high": min(value + width, 1)}
            row |= {"random": anywhere[key][i, k], "random_layer": in_layer[key][i, k]}
            if key[0] in shared:
                sizes = shared[key[0]]
                row |= {"heads_a": sizes[i, i], "heads_b": sizes[k, k], "shared": sizes[i, k]}
            rows.append(row)
    return rows
