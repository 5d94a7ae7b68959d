"""Table of how the retrieval heads of every two runs of a model resemble each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from needlework.heads.compare import measures, random_measures
from needlework.heads.score_file import existing_heads, read_scores
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


class _Probe(NamedTuple):
    """The scores of one run, as far as they are compared."""

    path: Path
    run: Run
    settings: dict[str, Any]  # what was scored, and which instances count
    there: NDArray[np.bool_]  # (layers, heads)
    instances: tuple[tuple[str, str], ...]  # id and cluster of all, counted or not, sorted
    clusters: Integers  # of the n that count: the place of its cluster among all clusters, sorted
    values: Floats  # (n, heads that exist)
    mean: Floats  # (heads that exist,)


def similarity_table(
    paths: Sequence[Path],
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
        paths: files that `write_scores` wrote, each in the folder of its run. Kind, role and the
            instances that count are those of each file's `metadata["probe"]`.
        reference: the variant that is b in its pairs with others, "real" where a study has it. In
            all other pairs b is the earlier of `paths`.
        top_count: k of the top-k sets.
        resamples: number of resamples.
        level: level of the intervals.
        seed: seed of the draws.

    Raises:
        ValueError: two files of one run; two files of one model with other heads, or whose probes
            differ in a setting (kind, role, instances, answers and the rest, but for the batch); a
            model without the reference; `level` is not between 0 and 1; fewer than 2 resamples.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1, such as 0.95")
    if resamples < 2:
        raise ValueError(f"resamples is {resamples}; a spread takes at least 2 (1,000 is usual)")
    probes = [_read(Path(path)) for path in paths]
    rows = []
    for model in dict.fromkeys(probe.run.model for probe in probes):
        own = [probe for probe in probes if probe.run.model == model]
        _check(own, reference)
        a, b = _pairs([probe.run for probe in own], reference)
        errors = _errors(own, top_count, a, b, resamples, seed)
        z = stats.norm.ppf((1 + level) / 2)
        rows += _rows(own, top_count, a, b, {key: z * error for key, error in errors.items()})
    return pd.DataFrame(rows, columns=_COLUMNS)


def _read(path: Path) -> _Probe:
    scores = read_scores(path)
    there = existing_heads(scores.layers)
    places = {c: k for k, c in enumerate(sorted({i.cluster for i in scores.instances}))}
    settings = scores.metadata["probe"]
    return _Probe(
        path=path,
        run=Run.of(path),
        settings={key: value for key, value in settings.items() if key != "batch"},
        there=there,
        instances=tuple(sorted((i.id, i.cluster) for i in scores.instances)),
        clusters=np.array([places[cluster] for cluster in scores.clusters()], dtype=np.intp),
        values=scores.of()[:, there],
        mean=scores.mean()[there],
    )


def _check(probes: list[_Probe], reference: str) -> None:
    first = probes[0]
    for k, probe in enumerate(probes):
        keys = sorted(first.settings.keys() | probe.settings.keys())
        pairs = {key: (first.settings.get(key), probe.settings.get(key)) for key in keys}
        unlike = [f"{key} {pair}" for key, pair in pairs.items() if pair[0] != pair[1]]
        if unlike:
            raise ValueError(
                f"the probes of {first.path} and {probe.path} differ in {', '.join(unlike)}; score "
                "both with the same settings to compare them"
            )
        if not np.array_equal(first.there, probe.there):
            raise ValueError(
                f"{first.path} has {first.there.sum()} heads and {probe.path} has "
                f"{probe.there.sum()}, or not in the same layers; these are not runs of one model"
            )
        for other in probes[:k]:
            if other.run == probe.run:
                raise ValueError(f"{other.path} and {probe.path} are of one run; give one of them")
    variants = sorted({probe.run.variant for probe in probes})
    if reference not in variants:
        raise ValueError(
            f"no probe of the variant {reference!r} for {first.run.model}, only of {variants}"
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
    probes: list[_Probe], top_count: int, a: Integers, b: Integers, resamples: int, seed: int
) -> dict[tuple[str, str], Floats]:
    """Standard deviation of every measure over the resamples, (pairs,); NaN where none exists."""
    resampled: dict[tuple[str, str], list[NDArray[np.float32]]] = {}
    for means in _resampled_means(probes, resamples, seed):
        for key, found in measures(means, top_count).items():
            resampled.setdefault(key, []).append(found[:, a, b].astype(np.float32))
    varies = np.array([len(np.unique(probe.clusters)) > 1 for probe in probes])
    errors = {}
    for key, parts in resampled.items():
        found = np.concatenate(parts)
        usable = varies[a] & varies[b] & ((~np.isnan(found)).sum(axis=0) > 1)
        errors[key] = np.full(len(a), np.nan)
        errors[key][usable] = np.nanstd(found[:, usable], axis=0, ddof=1, dtype=np.float64)
    return errors


def _resampled_means(probes: list[_Probe], resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks of (rows, runs, heads), `resamples` rows in all."""
    weights = {probe.instances: _weights(probe.instances, resamples, seed) for probe in probes}
    step = max(1, _CHUNK // (len(probes) * len(probes[0].mean)))
    for start in range(0, resamples, step):
        means = []
        for probe in probes:
            drawn = weights[probe.instances][start : start + step, probe.clusters]
            with np.errstate(invalid="ignore"):  # NaN where none of the instances that count is
                means.append(drawn @ probe.values / drawn.sum(axis=1, keepdims=True))
        yield np.stack(means, axis=1).round(_DIGITS)


def _weights(instances: tuple[tuple[str, str], ...], resamples: int, seed: int) -> Floats:
    """How often each resample draws each cluster of a probe, (resamples, clusters).

    Another probe has another stream of draws, so that probes are independent.
    """
    n_clusters = max(1, len({cluster for _, cluster in instances}))
    stream = derived_seed(seed, "similarity", instances)
    return np.concatenate(list(cluster_weights(n_clusters, resamples, stream)))


def _rows(
    probes: list[_Probe],
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
