"""The conditions of a study's masks and patches: their names beforehand, their heads afterwards.

The names follow from the study alone, so that a workflow knows its files before a head is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from needlework.heads.score_file import HeadScores
from needlework.interventions.record import Intervention
from needlework.interventions.selection import HeadSet, masks, patches


def mask_names(
    *, top: Sequence[int], kinds: Sequence[Any], during: Sequence[Any], controls: Sequence[str],
    draws: int,
) -> list[str]:  # fmt: skip
    """The conditions of a mask sweep, in the order that `mask_conditions` makes them."""
    return [
        Intervention(
            action="mask", chosen=chosen, heads=[], wanted=size, draw=draw, kind=kind, during=when
        ).name
        for kind in kinds
        for when in during
        for size in top
        for chosen, draw in _chosen("top", controls, draws)
    ]


def mask_conditions(
    scores: HeadScores, *, top: Sequence[int], kinds: Sequence[Any], during: Sequence[Any],
    controls: Sequence[Any], draws: int, layer_matched: bool, seed: int, origin: dict[str, Any],
) -> list[Intervention]:  # fmt: skip
    """The masks of a sweep over sizes, kinds and rows, with the controls asked for.

    Args:
        scores: the run's own.
        top: how many heads to mask.
        kinds: what masking does.
        during: at which rows.
        controls: of "random" and "lowest".
        draws: random sets per size.
        layer_matched: whether random sets have as many heads in each layer as the top ones.
        seed: of the draws.
        origin: where the scores are from; the measure is added.
    """
    return [
        mask
        for kind in kinds
        for when in during
        for mask in masks(
            scores.mean(), sizes=top, kind=kind, during=when, seed=seed,
            draws=draws, controls=controls, layer_matched=layer_matched,
            origin=origin | _measure(scores),
        )
    ]  # fmt: skip


def patch_names(*, sets: Sequence[str], positions: Sequence[Any], draws: int) -> list[str]:
    """The conditions of a study's patches, in the order that `patch_conditions` makes them."""
    return [
        Intervention(
            action="patch", chosen=chosen, heads=[], draw=draw, positions=where, source="source"
        ).name
        for where in positions
        for chosen, draw in _chosen(None, sets, draws)
    ]


def patch_conditions(
    source: HeadScores, target: HeadScores, *, source_name: str, heads: HeadSet,
    sets: Sequence[str], positions: Sequence[Any], draws: int, layer_matched: bool,
    equal_sizes: bool, seed: int, origin: dict[str, Any],
) -> list[Intervention]:  # fmt: skip
    """The patches of one run from another, for the sets and positions asked for.

    Args:
        source: scores of the run that gives outputs.
        target: scores of the run that is patched.
        source_name: variant of the source.
        heads: which heads count as a run's.
        sets: of "intersection", "complement" and "random".
        positions: where outputs are put in.
        draws: random sets.
        layer_matched: whether random sets have as many heads in each layer as the intersection.
        equal_sizes: whether intersection and complement are cut to the smaller of the two.
        seed: of the draws.
        origin: where the scores are from; the measure is added.
    """
    return [
        patch
        for where in positions
        for patch in patches(
            source.mean(), target.mean(), source_name=source_name, positions=where, heads=heads,
            draws=draws if "random" in sets else 0, seed=seed, equal_sizes=equal_sizes,
            layer_matched=layer_matched, origin=origin | _measure(source),
        )
        if patch.chosen in sets
    ]  # fmt: skip


def _chosen(first: Any, others: Sequence[str], draws: int) -> list[tuple[Any, int | None]]:
    """What chooses heads, in the order of `selection`, random once for every draw."""
    order = (first, "intersection", "complement", "random", "lowest")
    return [
        (chosen, draw)
        for chosen in order
        if chosen is not None and chosen in (first, *others)
        for draw in (range(draws) if chosen == "random" else [None])
    ]


def _measure(scores: HeadScores) -> dict[str, Any]:
    return {key: scores.metadata["probe"][key] for key in ("kind", "role", "instances")}
