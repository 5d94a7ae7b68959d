"""Rows of attention against plain Python and float64 numpy, and in blocks of bounded size."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from needlework.attention.rows import (
    Terms,
    attend_in_blocks,
    row_blocks,
    softmax_rows,
    visible_keys,
)

CPU = torch.device("cpu")
BLOCK = 1 << 24  # weights in 64 MB of float32


@given(
    first=st.integers(0, 30),
    rows=st.integers(1, 8),
    offset=st.integers(0, 30),
    length=st.integers(1, 40),
    window=st.none() | st.integers(1, 12),
    known=st.none()
    | st.lists(st.lists(st.booleans(), min_size=45, max_size=45), min_size=1, max_size=3),
)  # fmt: skip
def test_visible_keys_are_those_of_the_definition(
    first: int, rows: int, offset: int, length: int, window: int | None,
    known: list[list[bool]] | None,
) -> None:  # fmt: skip
    """A key is seen if it is not later, not padding, and one of the window's last positions."""
    padding = None if known is None else torch.tensor(known, dtype=torch.long)
    found = visible_keys(first, rows, offset, length, window, padding, CPU)
    assert found.dtype == torch.bool
    for sequence in range(1 if known is None else len(known)):
        for i in range(rows):
            for j in range(length):
                row, key = first + i, offset + j
                expected = key <= row and (window is None or row - key < window)
                if known is not None:
                    # A static cache has room beyond the positions there are.
                    expected = expected and key < 45 and known[sequence][key]
                assert bool(found[sequence, 0, i, j]) == expected
    assert found.shape == (1 if known is None else len(known), 1, rows, length)


def exact(
    query: Any, key: Any, visible: Any, terms: Terms, heads: int
) -> NDArray[np.float64]:  # fmt: skip
    """The definition, a head and a row at a time, in float64."""
    found = np.zeros((query.shape[0], heads, query.shape[2], key.shape[2]))
    for b, h, m in np.ndindex(*found.shape[:3]):
        group = h // (heads // key.shape[1])
        logits = np.array([
            float(np.dot(query[b, h, m], key[b, group, n])) * terms.scale
            for n in range(key.shape[2])
        ])  # fmt: skip
        if terms.softcap is not None:
            logits = terms.softcap * np.tanh(logits / terms.softcap)
        seen = np.broadcast_to(visible, (query.shape[0], 1, *visible.shape[2:]))[b, 0, m]
        weights = np.where(seen, np.exp(logits), 0.0)
        sink = 0.0 if terms.sinks is None else np.exp(float(terms.sinks[h]))
        found[b, h, m] = weights / (weights.sum() + sink)
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Any, Any, Terms, int]:
    groups, share = draw(st.sampled_from([(1, 1), (1, 4), (2, 3), (3, 1), (2, 2)]))
    batch, rows, length, width = draw(
        st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 5))
    )
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    query = random.normal(size=(batch, groups * share, rows, width))
    key = random.normal(size=(batch, groups, length, width))
    visible = random.random((draw(st.sampled_from([1, batch])), 1, rows, length)) < 0.7
    visible[..., 0] = True
    terms = Terms(
        scale=draw(st.floats(0.1, 3.0)),
        softcap=draw(st.none() | st.floats(0.5, 30.0)),
        sinks=draw(st.none() | st.just(torch.from_numpy(random.normal(size=groups * share)))),
    )
    return query, key, visible, terms, groups * share


@given(case=cases())
@settings(max_examples=60)
def test_softmax_rows_are_those_of_the_definition(case: tuple[Any, Any, Any, Terms, int]) -> None:
    query, key, visible, terms, heads = case
    given_query = torch.tensor(query, dtype=torch.float32)
    before = given_query.clone()
    found = softmax_rows(
        given_query, torch.tensor(key, dtype=torch.float32), torch.tensor(visible), terms
    )
    assert found.dtype == torch.float32
    assert found.shape == (*query.shape[:3], key.shape[2])
    np.testing.assert_allclose(found.numpy(), exact(query, key, visible, terms, heads), atol=2e-6)
    assert torch.equal(given_query, before)


def test_softmax_rows_of_bfloat16_are_those_of_the_same_numbers_in_float32() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 4, 3, 8).bfloat16() * 3, torch.randn(1, 2, 50, 8).bfloat16() * 3
    visible, terms = torch.ones(1, 1, 3, 50, dtype=torch.bool), Terms(0.3, None, None)
    found = softmax_rows(query, key, visible, terms)
    assert torch.equal(found, softmax_rows(query.float(), key.float(), visible, terms))


def test_a_row_that_sees_nothing_is_nan_and_puts_out_zeros() -> None:
    query, key = torch.ones(1, 2, 1, 4), torch.ones(1, 1, 3, 4)
    visible, terms = torch.zeros(1, 1, 1, 3, dtype=torch.bool), Terms(1.0, None, None)
    assert softmax_rows(query, key, visible, terms).isnan().all()
    assert not attend_in_blocks(query, key, key, lambda block: visible[:, :, block], terms).any()


@given(
    batch=st.integers(1, 64), heads=st.integers(1, 128),
    rows=st.integers(1, 5000), length=st.integers(1, 2_000_000),
)  # fmt: skip
def test_blocks_cover_all_rows_once_and_are_bounded(
    batch: int, heads: int, rows: int, length: int
) -> None:
    blocks = list(row_blocks(batch, heads, rows, length))
    assert blocks[0].start == 0
    assert all(block.stop == after.start for block, after in pairwise(blocks))
    assert blocks[-1].stop == rows
    for block in blocks:
        count = block.stop - block.start
        assert count == 1 or count * batch * heads * length <= BLOCK
    # No smaller than they have to be: a block of few rows is slow.
    assert all((block.stop - block.start + 1) * batch * heads * length > BLOCK
               for block in blocks[:-1])  # fmt: skip


@given(case=cases(), width=st.integers(1, 6))
def test_outputs_are_the_values_weighted(
    case: tuple[Any, Any, Any, Terms, int], width: int
) -> None:
    query, key, visible, terms, heads = case
    value = np.random.default_rng(width).normal(size=(*key.shape[:3], width))
    found = attend_in_blocks(
        torch.tensor(query, dtype=torch.float32), torch.tensor(key, dtype=torch.float32),
        torch.tensor(value, dtype=torch.float32), lambda block: torch.tensor(visible)[:, :, block],
        terms,
    )  # fmt: skip
    weights = exact(query, key, visible, terms, heads)
    repeated = value.repeat(heads // key.shape[1], axis=1)
    expected = np.einsum("bhmn,bhnv->bmhv", weights, repeated)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_outputs_of_several_blocks_are_those_of_sdpa() -> None:
    """64 heads over 2,048 keys: blocks of 128 rows."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 2048, 4) for heads in (64, 16, 16))
    asked = []

    def visible(block: slice) -> torch.Tensor:
        asked.append(block)
        return visible_keys(block.start + 1748, block.stop - block.start, 0, 2048, None, None, CPU)

    found = attend_in_blocks(query[:, :, -300:], key, value, visible, Terms(0.5, None, None))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=0.5, enable_gqa=True
    )
    torch.testing.assert_close(found, expected.transpose(1, 2)[:, -300:], rtol=0, atol=1e-5)
    assert [(block.start, block.stop) for block in asked] == [(0, 128), (128, 256), (256, 300)]


def test_outputs_have_the_type_of_the_queries() -> None:
    query, key = torch.randn(1, 2, 3, 4).bfloat16(), torch.randn(1, 1, 3, 4).bfloat16()
    seen = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    found = attend_in_blocks(query, key, key, lambda block: seen[:, :, block], Terms(1, None, None))
    assert found.dtype == torch.bfloat16
