"""Attention rows at chosen query positions, in one forward pass, without full attention maps.

The only file that touches attention internals. A function registered with transformers' attention
interface lets the stock backend compute the output, and computes the wanted rows beside it in
float32: O(rows x length) memory per layer instead of O(length^2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

Reduce = Callable[[Tensor], Tensor]

_NAME = "needlework_rows"


class _Rows:
    """What one forward pass is asked for, and what its layers answered."""

    def __init__(self, count: int, reduce: Reduce) -> None:
        self.count = count
        self.reduce = reduce
        self.layers: dict[int, Tensor] = {}


def attention_rows(
    model: PreTrainedModel,
    input_ids: Tensor,
    *,
    rows: int,
    reduce: Reduce,
    cache: Cache | None = None,
) -> list[Tensor]:
    """Run `model` once and reduce the attention rows of the last `rows` positions, layer by layer.

    Args:
        model: any decoder that uses transformers' attention interface, with or without adapter.
        input_ids: (1, Q) tokens; with a cache, those that follow the cached ones.
        rows: how many rows, counted from the end; at most Q.
        reduce: called per layer with post-softmax rows of shape (heads, rows, length), float32;
            what it returns is kept.
        cache: keys and values of the tokens before `input_ids`; it grows by them.

    Returns:
        What `reduce` returned, one entry per layer, in layer order.

    Raises:
        ValueError: a layer has attention this function would get wrong (logit soft-cap, learned
            sinks), some layers have no attention, or a cache was cut to a sliding window.
    """
    if not 0 < rows <= input_ids.shape[1]:
        raise ValueError(f"{rows} rows of {input_ids.shape[1]} positions were asked for")
    if cache is not None and any(getattr(layer, "is_sliding", False) for layer in cache.layers):
        raise ValueError("a sliding-window cache has lost its first keys; pass the whole input")
    request = _Rows(rows, reduce)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        with torch.no_grad():
            model(
                input_ids=input_ids,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=1,
                attention_rows=request,
            )
    finally:
        model.set_attn_implementation(before)
    layers = model.config.get_text_config().num_hidden_layers
    if sorted(request.layers) != list(range(layers)):
        raise ValueError(
            f"{len(request.layers)} of {layers} layers gave attention rows; a model whose layers "
            "are not all softmax attention cannot be scored"
        )
    return [request.layers[layer] for layer in range(layers)]


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    attention_rows: _Rows | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if attention_rows is not None:
        for unsupported in ("softcap", "s_aux"):
            if kwargs.get(unsupported) is not None:
                raise ValueError(
                    f"layer {module.layer_idx} uses {unsupported!r} in its attention, which head "
                    "scoring does not support yet"
                )
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        rows = _softmax_rows(
            query[0, :, -attention_rows.count :], key[0], scale, kwargs.get("sliding_window")
        )
        attention_rows.layers[module.layer_idx] = attention_rows.reduce(rows)
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return output, None


def _softmax_rows(query: Tensor, key: Tensor, scale: float, window: int | None) -> Tensor:
    """softmax(q k^T) of the last rows. query (H, M, d), key (G, N, d), returns (H, M, N).

    In float32, because bfloat16 makes ties that an argmax would decide by chance.
    """
    heads, rows, _ = query.shape
    groups, length, _ = key.shape
    grouped = query.float().reshape(groups, heads // groups, rows, -1)
    scores = torch.einsum("ghmd,gnd->ghmn", grouped, key.float()).reshape(heads, rows, length)
    positions = torch.arange(length - rows, length, device=key.device)[:, None]
    columns = torch.arange(length, device=key.device)[None]
    hidden = columns > positions
    if window is not None:
        hidden = hidden | (columns <= positions - window)
    return (scores * scale).masked_fill(hidden, -torch.inf).softmax(-1)


AttentionInterface.register(_NAME, _attention)
# Without a mask function of the same name the mask is None, and padding or causality are lost.
AttentionMaskInterface.register(_NAME, sdpa_mask)
