"""See and change what a model's attention layers are given, while a stock backend computes.

A function registered with transformers' attention interface and mask interface stands before the
backend that the model was loaded with. Within `intercept` it is called at every layer of every
forward pass, inside `generate` too; without it, it only passes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from needlework.attention.rows import Terms, attend_in_blocks, visible_keys

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

# The argument of a model's forward pass that carries the intercepts to its layers.
ARGUMENT = "attention_intercepts"

# Arguments that change a layer's attention in ways that rows computed here would miss.
_UNSUPPORTED = ("position_bias", "indices", "block_indices")

# Ours by the stock backend's name. They must not have "flash" in them: transformers would then look
# for a kernel of that name.
_NAMES: dict[str, str] = {}


class Call(NamedTuple):
    """What one attention layer was given in one forward pass.

    query is (B, H, Q, d) after rotation, key (B, G, N, d) and value (B, G, N, v) un-repeated, with
    what the cache holds. `seen` counts the positions before this pass. `mask` is what the backend
    takes: 4-D, 2-D (padding only) or None. `padding` is (B, seen + Q), or None. `cache` is the
    cache that keeps `key` and will not write over it, or None.
    """

    layer: int
    module: Any
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    padding: Tensor | None
    seen: int
    cache: Cache | None
    window: int | None
    terms: Terms

    @property
    def offset(self) -> int:
        """Position of the first key: a sliding window's cache has forgotten those before it."""
        return max(0, self.seen + self.query.shape[2] - self.key.shape[2])

    def visible(self, block: slice) -> Tensor:
        """Which keys a block of this pass's rows sees: (B or 1, 1, rows, N), bool."""
        length = self.key.shape[2]
        if self.mask is not None and self.mask.ndim == 4:
            chosen = self.mask[:, :, block, :length]
            return chosen if chosen.dtype == torch.bool else chosen >= 0
        return visible_keys(
            self.seen + block.start, block.stop - block.start, self.offset, length,
            self.window, self.padding, self.key.device,
        )  # fmt: skip


class _Intercept(NamedTuple):
    edit: Callable[[Call], Tensor] | None
    read: Callable[[Call], None] | None


class _Pass(NamedTuple):
    """What the intercepts need to know of one forward pass of the whole model."""

    intercepts: tuple[_Intercept, ...]
    padding: Tensor | None
    seen: int
    cache: Cache | None
    reached: set[int]  # layers whose attention was computed


@contextmanager
def intercept(
    model: PreTrainedModel,
    *,
    edit: Callable[[Call], Tensor] | None = None,
    read: Callable[[Call], None] | None = None,
    alone: bool = False,
) -> Iterator[None]:
    """Within it, every forward pass of `model` calls `edit`, then `read`, at every layer.

    Where several are nested, all edit, the outer ones first, before any reads.

    Args:
        model: a decoder that uses transformers' attention interface, with or without adapter.
        edit: returns the query to use in place of the one it is shown.
        read: looks on; it sees the query that is used.
        alone: whether the intercepts around this one are left out within it.

    Raises:
        ValueError: the model's attention cannot be intercepted; within the context, a forward pass
            reaches no layer's attention, or a layer's is of a kind that is not supported; the
            message names it.
    """
    base = causal_lm(model)
    before = base.config._attn_implementation
    ours = before if before in _NAMES.values() else _name(before)
    mine = _Intercept(edit, read)
    parameters = inspect.signature(base.forward)

    def announce(
        module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        others = () if alone or ARGUMENT not in keywords else keywords[ARGUMENT].intercepts
        given = parameters.bind_partial(*arguments, **keywords).arguments
        cache, padding = given.get("past_key_values"), given.get("attention_mask")
        this = _Pass(
            intercepts=(*others, mine),
            padding=padding if isinstance(padding, Tensor) and padding.ndim == 2 else None,
            seen=0 if cache is None else int(cache.get_seq_length()),
            # A compileable cache writes over the keys it has given out.
            cache=None if cache is None or cache.is_compileable else cache,
            reached=set(),
        )
        return arguments, keywords | {ARGUMENT: this}

    def check(
        module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> None:
        if not keywords[ARGUMENT].reached:
            raise ValueError(
                f"{type(base).__name__} has no layer with attention heads that can be read or "
                "changed: none hands the arguments of its forward pass to transformers' attention "
                "interface"
            )

    before_pass = base.register_forward_pre_hook(announce, with_kwargs=True)
    after_pass = base.register_forward_hook(check, with_kwargs=True)
    try:
        base.set_attn_implementation(ours)
        if base.config._attn_implementation != ours:
            raise ValueError(
                f"{type(base).__name__} does not let its attention be set; heads of a model that "
                "does not use transformers' attention interface cannot be read or changed"
            )
        yield
    finally:
        before_pass.remove()
        after_pass.remove()
        base.set_attn_implementation(before)


def causal_lm(model: Any) -> Any:
    """The causal language model itself, under whatever adapters wrap it."""
    # Its peft_config does not tell a wrapper: the model within has that too.
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backend(model: PreTrainedModel) -> str:
    """The backend that computes a model's attention while it is intercepted."""
    chosen = str(causal_lm(model).config._attn_implementation)
    return {"eager": "sdpa", **{ours: stock for stock, ours in _NAMES.items()}}.get(chosen, chosen)


def _name(stock: str) -> str:
    """Our name for a stock backend, registered on first use."""
    # Eager attention builds whole maps. What it knows beyond sdpa, soft-caps and sinks, is
    # computed here in blocks of rows.
    stock = "sdpa" if stock == "eager" else stock
    known = stock in ALL_ATTENTION_FUNCTIONS and stock in ALL_MASK_ATTENTION_FUNCTIONS
    if not known or stock == "flex_attention":  # whose masks are no tensors
        raise ValueError(
            f"the attention backend {stock!r} cannot be intercepted; load the model with sdpa, "
            "eager or flash attention"
        )
    if stock not in _NAMES:
        name = f"needlework_{len(_NAMES)}"
        AttentionInterface.register(name, _before(stock))
        # Without a mask function of the same name the mask is None, and padding or causality are
        # lost.
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[stock])
        _NAMES[stock] = name
    return _NAMES[stock]


def _before(stock: str) -> Callable[..., tuple[Tensor, None]]:
    def attention(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **keywords: Any,
    ) -> tuple[Tensor, None]:
        this: _Pass | None = keywords.pop(ARGUMENT, None)
        call = _call(module, query, key, value, attention_mask, this, keywords)
        intercepts = this.intercepts if this else ()
        for each in intercepts:
            if each.edit is not None:
                call = call._replace(query=each.edit(call))
        for each in intercepts:
            if each.read is not None:
                each.read(call)
        if stock == "sdpa" and (call.terms.softcap is not None or call.terms.sinks is not None):
            return attend_in_blocks(call.query, key, value, call.visible, call.terms), None
        compute = ALL_ATTENTION_FUNCTIONS[stock]
        output, _ = compute(
            _Named(module, stock), call.query, key, value, attention_mask, **keywords
        )
        return output, None

    return attention


def _call(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    this: _Pass | None,
    keywords: dict[str, Any],
) -> Call:
    _refuse(module, query, mask, this, keywords)
    if this:
        this.reached.add(module.layer_idx)
    scale = keywords.get("scaling")
    return Call(
        layer=module.layer_idx,
        module=module,
        query=query,
        key=key,
        value=value,
        mask=mask,
        padding=this.padding if this else None,
        # A pass around the model's own forward is not announced: its last row sees the last key.
        seen=this.seen if this else key.shape[2] - query.shape[2],
        cache=this.cache if this else None,
        window=keywords.get("sliding_window"),
        terms=Terms(
            scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
            softcap=keywords.get("softcap"),
            sinks=keywords.get("s_aux"),
        ),
    )


def _refuse(
    module: Any, query: Tensor, mask: Tensor | None, this: _Pass | None, keywords: dict[str, Any]
) -> None:
    """Raise where rows computed here would not be those that the layer's output comes from."""
    reasons = [f"uses {name!r}" for name in _UNSUPPORTED if keywords.get(name) is not None]
    causal = keywords.get("is_causal")
    if causal is None:
        causal = getattr(module, "is_causal", True)
    if mask is None and query.shape[2] > 1 and not causal:
        reasons.append("sees positions after its own")
    if module.layer_idx < 0:
        reasons.append("has no number of its own")
    if this and module.layer_idx in this.reached:
        reasons.append("computes attention more than once in a forward pass")
    if reasons:
        raise ValueError(
            f"layer {module.layer_idx} ({type(module).__name__}) {reasons[0]}, which is not "
            "supported: rows computed without regard to it would be wrong"
        )


class _Named:
    """A module whose configuration names the stock backend: flash attention looks it up there."""

    def __init__(self, wrapped: Any, stock: str) -> None:
        self._wrapped = wrapped
        self._stock = stock

    def __getattr__(self, name: str) -> Any:
        if name == "config":
            return _Named(self._wrapped.config, self._stock)
        if name == "_attn_implementation":
            return self._stock
        return getattr(self._wrapped, name)
