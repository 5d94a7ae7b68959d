"""Rows of post-softmax attention in float32, and attention outputs a block of rows at a time.

Memory grows with rows x length. Softmax in float32, because bfloat16 makes ties that an argmax
would decide by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Attention weights held at a time: 64 MB of float32, whatever the length.
_BLOCK = 1 << 24


class Terms(NamedTuple):
    """What a layer does to its logits besides masking them.

    logits = scale * q k^T; then softcap * tanh(logits / softcap) where there is a soft-cap
    (Gemma 2); then each head's learned sink is one more column of the softmax (gpt-oss), so that
    a row sums to less than 1. `sinks` is (heads,).
    """

    scale: float
    softcap: float | None
    sinks: Tensor | None


def visible_keys(
    first: int,
    rows: int,
    offset: int,
    length: int,
    window: int | None,
    padding: Tensor | None,
    device: torch.device,
) -> Tensor:
    """Which keys the rows at positions first, first + 1, ... see: (B or 1, 1, rows, length), bool.

    Args:
        first: position of the first row.
        rows: how many rows.
        offset: position of the first key.
        length: how many keys.
        window: a row sees that many positions, itself included; None: all before it.
        padding: (B, positions), 0 where a position is padding; None: nowhere.
        device: where the result is wanted.
    """
    row = torch.arange(first, first + rows, device=device)[:, None]
    column = torch.arange(offset, offset + length, device=device)[None]
    seen = column <= row
    if window is not None:
        seen = seen & (column > row - window)
    seen = seen[None, None]
    if padding is not None:
        known = padding[:, offset : offset + length].to(device).bool()
        known = torch.nn.functional.pad(known, (0, length - known.shape[1]))
        seen = seen & known[:, None, None]
    return seen


def softmax_rows(query: Tensor, key: Tensor, visible: Tensor, terms: Terms) -> Tensor:
    """Post-softmax attention of some rows, float32.

    Args:
        query: (B, H, M, d), the rows.
        key: (B, G, N, d), un-repeated: head h uses the keys of group h // (H / G).
        visible: (B or 1, 1, M, N), bool.
        terms: what else the layer does to its logits.

    Returns:
        (B, H, M, N). A row that sees nothing is NaN.
    """
    batch, heads, rows, width = query.shape
    groups, length = key.shape[1:3]
    grouped = query.float().reshape(batch, groups, heads // groups * rows, width)
    logits = (grouped @ key.float().transpose(-1, -2)).view(batch, heads, rows, length)
    logits *= terms.scale
    if terms.softcap is not None:
        logits = terms.softcap * torch.tanh(logits / terms.softcap)
    logits.masked_fill_(~visible, -torch.inf)
    if terms.sinks is None:
        return logits.softmax(-1)
    sinks = terms.sinks.float().view(1, heads, 1, 1).expand(batch, heads, rows, 1)
    return torch.cat([logits, sinks], dim=-1).softmax(-1)[..., :-1]


def row_blocks(batch: int, heads: int, rows: int, length: int) -> Iterator[slice]:
    """Slices of the rows, each of a bounded number of weights."""
    step = max(1, _BLOCK // (batch * heads * length))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def attend_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, visible: Callable[[slice], Tensor], terms: Terms
) -> Tensor:
    """Attention outputs where no stock backend knows the terms, a block of rows at a time.

    Args:
        query: (B, H, Q, d).
        key: (B, G, N, d).
        value: (B, G, N, v).
        visible: says which keys a block of rows sees, (B or 1, 1, rows, N).
        terms: the layer's.

    Returns:
        (B, Q, H, v), of the query's type, as transformers' attention functions return it.
    """
    batch, heads, rows, _ = query.shape
    groups, length, width = value.shape[1:]
    output = query.new_empty(batch, rows, heads, width)
    for block in row_blocks(batch, heads, rows, length):
        weights = softmax_rows(query[:, :, block], key, visible(block), terms).to(value.dtype)
        grouped = weights.view(batch, groups, -1, length) @ value
        output[:, block] = grouped.view(batch, heads, -1, width).transpose(1, 2)
    return output.nan_to_num_(0.0)  # rows of padding see nothing; what they give is never used
