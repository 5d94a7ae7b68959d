"""Attention rows reduced: against plain loops over numbers of which no two are equal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from needlework.heads.seen import per_instance, reduction

Targets = list[list[set[int]]]


class Case(NamedTuple):
    """Rows (B, H, m, N), the position of their first column, and positions by instance and role."""

    rows: NDArray[np.float32]
    offset: int
    targets: Targets


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    """Positions may lie before the first column, which a window has forgotten, or after the last.

    A row may see its first keys only: the others have no attention.
    """
    batch, heads, count = (draw(st.integers(1, most)) for most in (3, 2, 3))
    length, offset, roles = (
        draw(st.integers(1, 9)),
        draw(st.integers(0, 6)),
        draw(st.integers(1, 3)),
    )
    rows = np.zeros((batch, heads, count, length), dtype=np.float32)
    for row in rows.reshape(-1, length):
        visible = draw(st.integers(1, length))
        row[:visible] = draw(st.permutations(range(1, visible + 1)))
        row /= row.sum()
    places = st.sets(st.integers(0, offset + length + 3))
    targets = [[draw(places) for _ in range(roles)] for _ in range(batch)]
    return Case(rows, offset, targets)


@given(_cases())
def test_rows_are_reduced_as_plain_loops_do_it(case: Case) -> None:
    reduce = reduction(case.targets, torch.device("cpu"))
    top, mass, topk = (t.numpy() for t in reduce(torch.from_numpy(case.rows), case.offset))
    batch, heads, count, length = case.rows.shape
    assert top.shape == (batch, heads, count)
    assert mass.shape == topk.shape == (batch, heads, count, len(case.targets[0]))
    for i, h, m in np.ndindex(batch, heads, count):
        weights = {case.offset + n: float(case.rows[i, h, m, n]) for n in range(length)}
        order = sorted(weights, key=lambda position: -weights[position])
        assert top[i, h, m] == order[0]
        for role, needle in enumerate(case.targets[i]):
            on_needle = [weights.get(position, 0.0) for position in needle]
            highest = [weights[p] for p in order[: len(needle)] if p in needle]
            assert mass[i, h, m, role] == pytest.approx(sum(on_needle), abs=1e-6)
            assert topk[i, h, m, role] == pytest.approx(sum(highest), abs=1e-6)


def test_one_reduction_serves_rows_of_any_length_and_offset() -> None:
    reduce = reduction([[{1, 3}]], torch.device("cpu"))
    rows = torch.tensor([[[[0.1, 0.2, 0.3, 0.4]]]])
    assert [t.item() for t in reduce(rows, 0)] == pytest.approx([3, 0.6, 0.4])
    assert [t.item() for t in reduce(rows[..., :2], 0)] == pytest.approx([1, 0.2, 0.2])
    assert [t.item() for t in reduce(rows, 3)] == pytest.approx([6, 0.1, 0])
    assert [t.item() for t in reduce(rows, 9)] == pytest.approx([12, 0, 0])


@given(st.data())
def test_every_instance_gets_its_own_positions_without_padding(data: st.DataObject) -> None:
    """Layers may have fewer heads than others, or none."""
    batch, rows, roles = (data.draw(st.integers(1, 3)) for _ in range(3))
    heads = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any))
    padding = data.draw(st.lists(st.integers(0, 5), min_size=batch, max_size=batch))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    layers = []
    for count in heads:
        top = rng.integers(5, 30, size=(batch, count, rows))
        sums = [rng.random((batch, count, rows, roles), dtype=np.float32) for _ in range(2)]
        given = tuple(torch.from_numpy(array) for array in (top, *sums))
        layers.append(given if count else None)
    found = per_instance(layers, padding)
    assert len(found) == batch
    for i, seen in enumerate(found):
        assert seen.top.shape == (len(heads), max(heads), rows)
        assert seen.mass.shape == seen.topk.shape == (len(heads), max(heads), rows, roles)
        for index, (layer, count) in enumerate(zip(layers, heads, strict=True)):
            assert (seen.top[index, count:] == -1).all()
            assert np.isnan(seen.mass[index, count:]).all()
            assert np.isnan(seen.topk[index, count:]).all()
            if layer is not None:
                top, mass, topk = (tensor[i].numpy() for tensor in layer)
                np.testing.assert_array_equal(seen.top[index, :count], top - padding[i])
                np.testing.assert_array_equal(seen.mass[index, :count], mass)
                np.testing.assert_array_equal(seen.topk[index, :count], topk)


def test_some_rows_are_a_block_of_all() -> None:
    top = torch.arange(10).view(1, 1, 10)
    sums = torch.rand(1, 1, 10, 2)
    (seen,) = per_instance([(top, sums, 2 * sums)], [0])
    some = seen.rows(3, 4)
    assert some.top.tolist() == [[[3, 4, 5, 6]]]
    np.testing.assert_array_equal(some.mass, sums[0, None, :, 3:7])
    np.testing.assert_array_equal(some.topk, 2 * some.mass)
