"""The names of a study's conditions, known beforehand, are those of the conditions made later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.heads.score_file import HeadScores, Instance, Layer
from needlework.interventions.conditions import (
    mask_conditions,
    mask_names,
    patch_conditions,
    patch_names,
)
from needlework.interventions.selection import HeadSet

_LAYERS, _HEADS = 6, 8


def _scores(seed: int, positive: float = 0.4) -> HeadScores:
    random = np.random.default_rng(seed)
    drawn = random.random((3, _LAYERS, _HEADS))
    shown = drawn * (random.random((_LAYERS, _HEADS)) < positive)
    return HeadScores(
        metadata={"probe": {"kind": "copy", "role": "answer", "instances": "all"}},
        layers=[Layer(attention="full", heads=_HEADS, kv_heads=2)] * _LAYERS,
        instances=[
            Instance(id=str(i), cluster=str(i), generated="", correct=True) for i in range(3)
        ],
        measures={"copy/answer": shown},
        failures={},
    )


def _some(*values: str) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


@given(
    top=st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True),
    kinds=_some("zero", "uniform", "mean"),
    during=_some("prefill", "decoding", "both"),
    controls=st.lists(st.sampled_from(["random", "lowest"]), unique=True),
    draws=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_masks_have_the_names_foretold(
    top: list[int], kinds: list[Any], during: list[Any], controls: list[Any], draws: int, seed: int
) -> None:
    made = mask_conditions(
        _scores(seed), top=top, kinds=kinds, during=during, controls=controls, draws=draws,
        layer_matched=True, seed=0, origin={"from": "here"},
    )  # fmt: skip
    names = mask_names(top=top, kinds=kinds, during=during, controls=controls, draws=draws)
    assert [mask.name for mask in made] == names
    assert len(set(names)) == len(names)
    for mask in made:
        assert mask.origin["from"] == "here"
        assert mask.origin["kind"] == "copy"


@given(
    sets=_some("intersection", "complement", "random"),
    positions=_some("last", "all"),
    draws=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_patches_have_the_names_foretold(
    sets: list[str], positions: list[Any], draws: int, seed: int
) -> None:
    made = patch_conditions(
        _scores(seed), _scores(seed + 1), source_name="real", heads=HeadSet(), sets=sets,
        positions=positions, draws=draws, layer_matched=True, equal_sizes=True, seed=0, origin={},
    )  # fmt: skip
    assert [p.name for p in made] == patch_names(sets=sets, positions=positions, draws=draws)
    assert {patch.source for patch in made} == {"real"}


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_the_same_heads_are_masked_by_every_kind(kind: str) -> None:
    made = mask_conditions(
        _scores(1), top=[3, 6], kinds=["uniform", kind], during=["decoding", "both"],
        controls=["random", "lowest"], draws=2, layer_matched=True, seed=0, origin={},
    )  # fmt: skip
    by_choice: dict[Any, set[tuple[str, ...]]] = {}
    for mask in made:
        key = (mask.chosen, mask.wanted, mask.draw)
        by_choice.setdefault(key, set()).add(tuple(mask.heads))
    assert all(len(heads) == 1 for heads in by_choice.values())
    assert len(by_choice) == 2 * 4
