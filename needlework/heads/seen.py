"""Attention rows of a batch of answers, reduced to what the scores of heads are computed from.

Per row and head: the position of the highest attention, and for each role of needles the attention
on its positions, in all and among the row's top k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad


class Seen(NamedTuple):
    """What the heads of all layers saw at the rows of one instance, R roles.

    Attributes:
        top: (L, H, M), position of the highest attention in the prompt and answer; -1 where there
            is no head.
        mass: (L, H, M, R), attention on the positions of a role's needles; NaN where there is no
            head.
        topk: (L, H, M, R), attention on those of them that are among the row's k highest, k being
            their number.
    """

    top: NDArray[np.int64]
    mass: NDArray[np.float64]
    topk: NDArray[np.float64]

    def rows(self, first: int, count: int) -> Seen:
        """Some of the rows."""
        block = slice(first, first + count)
        return Seen(self.top[:, :, block], self.mass[:, :, block], self.topk[:, :, block])


def reduction(
    targets: Sequence[Sequence[set[int]]], device: torch.device
) -> Callable[[Tensor, int], tuple[Tensor, ...]]:
    """What `attention.reading` keeps of rows (B, H, m, N): their top, mass and topk.

    Args:
        targets: per instance and role, the positions in the batch, padding counted.
        device: where the rows are.
    """
    counts = torch.tensor([[len(positions) for positions in each] for each in targets])
    width = 1 + max((max(positions) for each in targets for positions in each if positions),
                    default=0)  # fmt: skip
    marked = torch.zeros(*counts.shape, width)
    for instance, each in enumerate(targets):
        for role, positions in enumerate(each):
            marked[instance, role, sorted(positions)] = 1
    marked, counts = marked.to(device), counts.to(device)

    def reduce(rows: Tensor, offset: int) -> tuple[Tensor, ...]:
        length = rows.shape[-1]
        here = marked[:, :, offset : offset + length]
        here = pad(here, (0, length - here.shape[-1]))
        mass = torch.einsum("bhmn,brn->bhmr", rows, here)
        largest = min(int(counts.max()), length)
        values, places = rows.topk(max(1, largest), dim=-1)
        ranks = torch.arange(values.shape[-1], device=rows.device)
        found = []
        for role in range(here.shape[1]):
            hit = here[:, role, None, None].expand(*rows.shape).gather(-1, places)
            within = ranks < counts[:, role, None, None, None]
            found.append((values * hit * within).sum(-1))
        top = places[..., 0] + offset
        return top, mass, torch.stack(found, dim=-1)

    return reduce


def per_instance(layers: Sequence[tuple[Tensor, ...] | None], padding: Sequence[int]) -> list[Seen]:
    """The reduced rows of all layers, instance by instance, positions counted without padding."""
    known = [layer for layer in layers if layer is not None]
    heads = max(layer[0].shape[1] for layer in known)
    batch, _, rows, roles = known[0][1].shape
    top = np.full((batch, len(layers), heads, rows), -1, dtype=np.int64)
    mass = np.full((batch, len(layers), heads, rows, roles), np.nan)
    topk = mass.copy()
    for index, layer in enumerate(layers):
        if layer is not None:
            count = layer[0].shape[1]
            for array, tensor in zip((top, mass, topk), layer, strict=True):
                array[:, index, :count] = tensor.cpu().numpy()
    there = top >= 0
    return [
        Seen(np.where(there[i], top[i] - padding[i], -1), mass[i], topk[i]) for i in range(batch)
    ]
