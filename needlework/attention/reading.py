"""Read the attention rows that produce an answer, in one pass or while a model generates.

In one pass, each layer's rows are computed and reduced when it is reached, so that nothing of the
order of length^2, and no layer's keys, are kept. While a model generates with a cache, only the
queries are kept, step by step; the rows are computed at the end from the cache's keys, all steps
at once, so that generation is as fast as without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from needlework.attention.intercept import Call, causal_lm, intercept
from needlework.attention.rows import Terms, row_blocks, softmax_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

Reduce = Callable[[Tensor, int], tuple[Tensor, ...]]
"""Rows (B, H, m, N), float32, and the position of their first column, to tensors (B, H, m, ...).

Rows come in blocks; what is returned of them is joined along m."""


class Reading:
    """What `reduce` returned at each layer, its rows in the order they were read.

    Attributes:
        layers: by layer, tensors (B, H, M, ...); a layer without attention heads is missing.
    """

    def __init__(self, reduce: Reduce, rows: int) -> None:
        self.layers: dict[int, tuple[Tensor, ...]] = {}
        self._reduce = reduce
        self._rows = rows
        self._waiting: dict[int, list[_Waiting]] = {}
        self._last: dict[int, _Keys] = {}

    def look(self, call: Call) -> None:
        """Take the last rows of one call; compute them now, or when the keys are complete."""
        waiting = self._waiting.setdefault(call.layer, [])
        # The keys of the calls before are a beginning of this call's, unless a window slid on or
        # another sequence began.
        if waiting and (
            call.offset or waiting[-1].cache is not call.cache or waiting[-1].end != call.seen
        ):
            self._finish(call.layer)
        self._last[call.layer] = _Keys(call.key, call.offset, call.terms)
        batch, _, count, _ = call.query.shape
        block = slice(max(0, count - self._rows), count)
        query, visible = call.query[:, :, block], call.visible(block).expand(batch, -1, -1, -1)
        if call.cache is not None:  # a slice would keep the queries and the mask of a whole prompt
            query, visible = query.clone(), visible.clone()
        waiting.append(_Waiting(query, visible, call.cache, call.seen + count))
        if call.cache is None:
            self._finish(call.layer)

    def finish(self) -> None:
        """Compute what is waiting."""
        for layer in self._waiting:
            self._finish(layer)

    def _finish(self, layer: int) -> None:
        waiting = self._waiting[layer]
        if not waiting:
            return
        last = self._last.pop(layer)
        length = last.key.shape[2]
        query = torch.cat([each.query for each in waiting], dim=2)
        visible = torch.cat([pad(each.visible, (0, length - each.visible.shape[3]))
                             for each in waiting], dim=2)  # fmt: skip
        waiting.clear()
        batch, heads, rows, _ = query.shape
        parts = [
            self._reduce(
                softmax_rows(query[:, :, block], last.key, visible[:, :, block], last.terms),
                last.offset,
            )
            for block in row_blocks(batch, heads, rows, length)
        ]
        done = [self.layers[layer]] if layer in self.layers else []
        self.layers[layer] = tuple(
            torch.cat(tensors, dim=2) for tensors in zip(*done, *parts, strict=True)
        )


class _Keys(NamedTuple):
    """The keys of a layer's last call. The call itself would keep the queries of a whole prompt."""

    key: Tensor
    offset: int
    terms: Terms


class _Waiting(NamedTuple):
    """Rows whose keys are not complete yet, which keys they see, and the position after them."""

    query: Tensor
    visible: Tensor
    cache: Cache | None
    end: int


@contextmanager
def reading(model: PreTrainedModel, reduce: Reduce, *, rows: int = 1) -> Iterator[Reading]:
    """Within it, the last `rows` attention rows of every forward pass are read and reduced.

    In `generate` with 1 row: the row of the prompt's last position, which produces the first
    answer token, and those of every further token. The results are complete when the context ends.
    Beam search moves keys between the sequences of a batch, so it must not be used.

    Raises:
        ValueError: a layer's attention is not supported; the message names the layer.
    """
    found = Reading(reduce, rows)
    with intercept(model, read=found.look):
        yield found
        with torch.no_grad():
            found.finish()


class Pass(NamedTuple):
    """What one forward pass gave: the reduced rows by layer, and the logits at the rows."""

    layers: list[tuple[Tensor, ...] | None]
    logits: Tensor


def attention_rows(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    rows: int,
    reduce: Reduce,
    attention_mask: Tensor | None = None,
    cache: Cache | None = None,
) -> Pass:
    """Run `model` once and reduce the attention rows of the last `rows` positions, layer by layer.

    Args:
        model: any decoder that uses transformers' attention interface, with or without adapter.
        input_ids: (B, Q) tokens; with a cache, those that follow the cached ones.
        rows: how many rows, counted from the end; at most Q.
        reduce: what is kept of a layer's rows.
        attention_mask: (B, cached + Q), 0 where a token is padding; None: no padding.
        cache: keys and values of the tokens before `input_ids`; it grows by them.

    Returns:
        One entry per layer, None for a layer without attention heads; logits (B, rows, vocabulary).

    Raises:
        ValueError: `rows` is not between 1 and Q, or a layer's attention is not supported.
    """
    if not 0 < rows <= input_ids.shape[1]:
        raise ValueError(f"{rows} rows of {input_ids.shape[1]} positions were asked for")
    base = causal_lm(model)
    positions = {}
    if attention_mask is not None:
        # As generate counts them: from a sequence's own first token.
        counted = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        positions = {"position_ids": counted[:, -input_ids.shape[1] :]}
    with reading(model, reduce, rows=rows) as found, torch.no_grad():
        output = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=rows,
            **positions,
        )
    layers = base.config.get_text_config().num_hidden_layers
    return Pass([found.layers.get(layer) for layer in range(layers)], output.logits)
