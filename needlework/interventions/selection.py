"""Which heads an intervention is done to: by their scores, and controls that are fair to them.

Scores are (L, H), NaN where there is no such head; such a place is never chosen. Every draw has a
seed of its own, so that another size or another draw moves no other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from needlework.heads.sets import Head, above, top
from needlework.interventions.record import (
    Chosen,
    During,
    Intervention,
    Kind,
    Positions,
    names,
)
from needlework.provenance import derived_seed

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class HeadSet:
    """Which heads count as a run's retrieval heads: those above a threshold, or the best of them.

    `HeadSet()` takes the positive ones, `HeadSet(threshold=0.1)` those of Wu et al.,
    `HeadSet(count=20)` the 20 highest positive ones.
    """

    threshold: float = 0.0
    count: int | None = None

    def of(self, scores: Scores) -> frozenset[Head]:
        """The heads of the set."""
        found = above(scores, self.threshold)
        return found if self.count is None else found & top(scores, self.count)


def masks(
    scores: Scores,
    *,
    sizes: Sequence[int],
    kind: Kind,
    during: During,
    draws: int,
    seed: int,
    controls: Collection[Literal["random", "lowest"]] = ("random", "lowest"),
    excluded: Iterable[Head] | None = None,
    layer_matched: bool = True,
    origin: Mapping[str, Any] | None = None,
) -> list[Intervention]:
    """Masks of the top heads of each size, with random draws and the lowest heads as controls.

    Where fewer heads than asked for have a positive score, `top` holds those there are, and its
    controls as many. The heads depend on neither `kind` nor `during`: those can be compared.

    Args:
        scores: (L, H), NaN where there is no head.
        sizes: how many heads to mask, one mask and its controls for each.
        kind: what masking does.
        during: at which rows.
        draws: random sets per size.
        seed: of the draws, and of ties among the lowest.
        controls: which controls to make.
        excluded: heads that no random set may hold, beside the top heads themselves; default: all
            with a positive score. Where that leaves fewer heads than the set needs, the pool is
            instead the lowest-scoring heads outside the top, twice as many as needed where there
            are so many; `origin` says so.
        layer_matched: each random set has as many heads in each layer as the top one; a layer with
            too few leaves the rest to the nearest layers, and `origin` says how many moved.
        origin: what to record of where the scores are from.

    Raises:
        ValueError: a size is no positive number or stands there twice, or a control cannot be
            filled with heads outside the top.
    """
    _check(scores)
    if min(sizes, default=1) < 1 or len(set(sizes)) < len(sizes):
        raise ValueError(f"sizes: got {list(sizes)}; expected different numbers from 1 up")
    avoided = above(scores) if excluded is None else frozenset(excluded)
    made = []
    for size in sizes:
        best = top(scores, size)
        notes = {**(origin or {}), "seed": seed}
        if len(best) < size:
            notes["note"] = f"{len(best)} of the {size} heads wanted have a positive score"
        choices = [_Choice("top", best)]
        if "random" in controls:
            choices += _random(
                scores, best, never=best, avoided=avoided, draws=draws, layer_matched=layer_matched,
                seed=derived_seed(seed, "mask", size),
            )  # fmt: skip
        if "lowest" in controls:
            rest = _ascending(scores, best, derived_seed(seed, "lowest"))
            _check_room(len(rest), len(best), best)
            choices.append(_Choice("lowest", rest[: len(best)]))
        made += [
            Intervention(
                action="mask", chosen=each.chosen, heads=names(each.heads), wanted=size,
                draw=each.draw, kind=kind, during=during, origin={**notes, **each.notes},
            )
            for each in choices
        ]  # fmt: skip
    return made


def patches(
    source: Scores,
    target: Scores,
    *,
    source_name: str,
    positions: Positions,
    draws: int,
    seed: int,
    heads: HeadSet | None = None,
    equal_sizes: bool = True,
    layer_matched: bool = True,
    origin: Mapping[str, Any] | None = None,
) -> list[Intervention]:
    """Patches of the heads both runs have, of those the target lacks, and of random ones.

    Args:
        source: (L, H), scores of the run that gives outputs (real data).
        target: (L, H), scores of the run that is patched.
        source_name: the source's variant.
        positions: where outputs are put in.
        draws: random sets, each of the size of the intersection, of heads in neither run's set.
            Where too few are in neither, the pool is instead the heads of the lowest source score
            outside the intersection and the complement that are patched, twice as many as needed
            where there are so many; `origin` says so.
        seed: of the draws.
        heads: which heads count, in both runs; default: those with a positive score.
        equal_sizes: cut intersection and complement to the smaller of the two, highest source score
            first, so that no difference is one of size (our choice). An empty one cuts nothing.
        layer_matched: as for `masks`, against the intersection.
        origin: what to record of where the scores are from.

    Raises:
        ValueError: the runs do not have the same heads, or a random set cannot be filled.
    """
    _check(source)
    if source.shape != target.shape or (np.isnan(source) != np.isnan(target)).any():
        raise ValueError(
            f"source scores {source.shape} and target scores {target.shape} are not of the same "
            "heads; only runs of one base model can be patched into each other"
        )
    rule = heads or HeadSet()
    wanted, found = rule.of(source), rule.of(target)
    shared, lacking = wanted & found, wanted - found
    notes: dict[str, Any] = {
        **(origin or {}), "seed": seed, "threshold": rule.threshold, "count": rule.count,
        "equal_sizes": equal_sizes, "intersection": len(shared), "complement": len(lacking),
    }  # fmt: skip
    if equal_sizes and shared and lacking:
        size = min(len(shared), len(lacking))
        shared, lacking = _highest(source, shared, size), _highest(source, lacking, size)

    drawn = _random(
        source, shared, never=shared | lacking, avoided=wanted | found, draws=draws,
        layer_matched=layer_matched, seed=derived_seed(seed, "patch"),
    )  # fmt: skip
    return [
        Intervention(
            action="patch", chosen=each.chosen, heads=names(each.heads), draw=each.draw,
            positions=positions, source=source_name, origin={**notes, **each.notes},
        )
        for each in (_Choice("intersection", shared), _Choice("complement", lacking), *drawn)
    ]  # fmt: skip


def _check(scores: Scores) -> None:
    if scores.ndim != 2:
        raise ValueError(f"got scores of shape {scores.shape}, expected (layers, heads)")


def _check_room(there: int, size: int, never: frozenset[Head]) -> None:
    if there < size:
        raise ValueError(
            f"a control of {size} heads is needed, and only {there} heads are outside the "
            f"{len(never)} it must not contain; choose fewer heads (a smaller size or count, or a "
            "higher threshold)"
        )


def _highest(scores: Scores, heads: frozenset[Head], count: int) -> frozenset[Head]:
    return frozenset(sorted(heads, key=lambda head: (-scores[head], head))[:count])


def _existing(scores: Scores) -> frozenset[Head]:
    return frozenset((int(layer), int(head)) for layer, head in np.argwhere(~np.isnan(scores)))


def _ascending(scores: Scores, outside: frozenset[Head], seed: int) -> list[Head]:
    """The heads outside a set, lowest score first; ties in a random order."""
    rest = sorted(_existing(scores) - outside)
    random.Random(seed).shuffle(rest)
    return sorted(rest, key=lambda head: float(scores[head]))


class _Choice(NamedTuple):
    """Heads that were chosen, and what there is to say of it."""

    chosen: Chosen
    heads: Collection[Head]
    draw: int | None = None
    more: Mapping[str, Any] = {}

    @property
    def notes(self) -> dict[str, Any]:
        """What goes into the record's origin."""
        empty = {} if self.heads else {"note": "no head qualifies: nothing is done"}
        return {**self.more, **empty}


def _random(
    scores: Scores,
    like: frozenset[Head],
    *,
    never: frozenset[Head],
    avoided: frozenset[Head],
    draws: int,
    layer_matched: bool,
    seed: int,
) -> list[_Choice]:
    """Random sets of the size of `like`, of no head of `never`.

    They hold none of `avoided` either, as long as there are enough others.
    """
    if not draws:
        return []
    pool, how = _pool(scores, len(like), never, avoided, derived_seed(seed, "pool"))
    groups: dict[int, list[Head]] = {}
    for head in pool:
        groups.setdefault(head[0] if layer_matched else 0, []).append(head)
    wanted = Counter(head[0] if layer_matched else 0 for head in like)
    quotas, moved = _quotas(wanted, {layer: len(heads) for layer, heads in groups.items()})
    how |= {"layer_matched": layer_matched, "moved": moved}
    choices = []
    for draw in range(draws):
        rng = random.Random(derived_seed(seed, draw))
        drawn = [
            head
            for layer, heads in sorted(groups.items())
            for head in rng.sample(heads, quotas.get(layer, 0))
        ]
        choices.append(_Choice("random", drawn, draw, how))
    return choices


def _pool(
    scores: Scores, size: int, never: frozenset[Head], avoided: frozenset[Head], seed: int
) -> tuple[list[Head], dict[str, Any]]:
    """The heads to draw from, and which those are."""
    outside = sorted(_existing(scores) - avoided - never)
    if len(outside) >= size:
        return outside, {"pool": "outside the excluded heads", "pool_size": len(outside)}
    rest = _ascending(scores, never, seed)
    _check_room(len(rest), size, never)
    rest = sorted(rest[: 2 * size])
    why = f"lowest scores, because only {len(outside)} heads are outside the excluded ones"
    return rest, {"pool": why, "pool_size": len(rest)}


def _quotas(wanted: Mapping[int, int], there: Mapping[int, int]) -> tuple[dict[int, int], int]:
    """How many heads to draw in each layer, and how many of them stand in for another layer's.

    What a layer lacks goes to the nearest layer with heads to spare, the lower of two as near.
    """
    quotas = {layer: min(count, there.get(layer, 0)) for layer, count in wanted.items()}
    moved = 0
    for layer, count in sorted(wanted.items()):
        lack = count - min(count, there.get(layer, 0))
        moved += lack
        for other in sorted(there, key=lambda other: (abs(other - layer), other)):
            taken = min(lack, there[other] - quotas.get(other, 0))
            quotas[other] = quotas.get(other, 0) + taken
            lack -= taken
    return quotas, moved
