"""Greedy answers of batches of prompts: the one place where models generate.

`generate` reads the prompts itself, or goes on from a cache that holds all but their last token
(`prefill`): conditions that differ in the decode steps only share that cache (`rewound`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.cache_utils import DynamicLayer

from needlework.attention.intercept import causal_lm
from needlework.rendering.prompt import Rendered
from needlework.rendering.styles import style_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.cache_utils import Cache

StoppedBy = Literal["end", "newline", "limit"]


class Batch(NamedTuple):
    """Prompts that are answered together, padded on the left so that their answers start together.

    `ids` and `mask` are (B, W) on the model's device; `mask` is 0 where a token is padding.
    """

    shown: list[Rendered]
    ids: Tensor
    mask: Tensor


class Answer(NamedTuple):
    """The text of an answer, and what ended it."""

    text: str
    stopped_by: StoppedBy


def batches(
    shown: Sequence[Rendered], tokenizer: PreTrainedTokenizerBase, size: int, device: Any
) -> Iterator[Batch]:
    """Batches of up to `size`, shortest prompts first, so that little of a batch is padding.

    The order given is not kept; `batch.shown` says which prompts a batch holds.
    """
    ordered = sorted(shown, key=lambda each: len(each.prompt))
    for start in range(0, len(ordered), size):
        chunk = ordered[start : start + size]
        widest = max(len(each.prompt) for each in chunk)
        ids = torch.full((len(chunk), widest), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, each in enumerate(chunk):
            ids[row, widest - len(each.prompt) :] = torch.tensor(each.prompt)
            mask[row, widest - len(each.prompt) :] = 1
        yield Batch(chunk, ids.to(device), mask.to(device))


def prefill(model: PreTrainedModel, batch: Batch) -> Cache:
    """Read all but the last token of the prompts; the cache that holds their keys and values."""
    mask = batch.mask[:, :-1]
    cache = DynamicCache(config=causal_lm(model).config)
    with torch.no_grad():
        model(
            input_ids=batch.ids[:, :-1],
            attention_mask=mask,
            # Positions count from a prompt's own first token; of padding they do not matter.
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return cache


@contextmanager
def rewound(cache: Cache) -> Iterator[None]:
    """Whatever is generated from `cache` within is forgotten after it."""
    length = cache.get_seq_length()
    # A layer that forgets, a sliding window's, cannot be cut back: it is put back.
    kept = {
        index: copy.deepcopy(layer)
        for index, layer in enumerate(cache.layers)
        if type(layer) is not DynamicLayer
    }
    try:
        yield
    finally:
        for index, layer in enumerate(cache.layers):
            if index in kept:
                cache.layers[index] = kept[index]
            else:
                layer.crop(length - layer.get_seq_length())


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    max_new_tokens: int,
    *,
    cache: Cache | None = None,
) -> list[list[int]]:
    """The tokens of each answer, each the most likely one after those before it.

    The model's own generation settings (penalties, sampling, forced tokens) are set aside, all but
    its end tokens.

    Args:
        model: base model, with an adapter or without.
        tokenizer: its tokenizer.
        batch: the prompts.
        max_new_tokens: tokens after which an answer is cut.
        cache: holds the keys of the prompts but for their last token, as `prefill` gives it; it
            grows by the answers. None: the prompts are read here, in one forward pass.

    Returns:
        One list per prompt, cut after the token that ended the answer: an end token or, where the
        style stops at a line, the token that holds the line's end.
    """
    ends = end_tokens(model, tokenizer)
    own = causal_lm(model)
    settings, own.generation_config = own.generation_config, GenerationConfig()
    try:
        made = model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            past_key_values=cache,
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=sorted(ends),
                pad_token_id=tokenizer.pad_token_id,
            ),
            stopping_criteria=StoppingCriteriaList([_LineEnds(tokenizer, batch.shown)]),
        )[:, batch.ids.shape[1] :]
    finally:
        own.generation_config = settings
    return [
        _cut(tokens, each, tokenizer, ends)
        for tokens, each in zip(made.tolist(), batch.shown, strict=True)
    ]


def end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer: the model's own, and the one that training closes with."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *([own] if isinstance(own, int) else own or ())}


def answer_of(
    tokens: Sequence[int], shown: Rendered, tokenizer: PreTrainedTokenizerBase, ends: set[int]
) -> Answer:
    """The answer that `generate` gave as `tokens`, up to the line's end where the style says so."""
    ended = _ended_by(tokens[-1], shown, tokenizer, ends) if tokens else "limit"
    text = tokenizer.decode(tokens[:-1] if ended == "end" else tokens, skip_special_tokens=True)
    if ended == "newline":
        text = text.partition("\n")[0]
    return Answer(text.strip(), ended)


def content_length(
    tokens: Sequence[int], shown: Rendered, tokenizer: PreTrainedTokenizerBase, ends: set[int]
) -> int:
    """How many of `tokens` are the answer itself, without the one that ended it.

    At least 1 where there are tokens, so that an empty answer still has a step to look at.
    """
    if not tokens:
        return 0
    ended = _ended_by(tokens[-1], shown, tokenizer, ends) != "limit"
    return max(1, len(tokens) - ended)


def _cut(
    tokens: list[int], shown: Rendered, tokenizer: PreTrainedTokenizerBase, ends: set[int]
) -> list[int]:
    for count, token in enumerate(tokens, start=1):
        if _ended_by(token, shown, tokenizer, ends) != "limit":
            return tokens[:count]
    return tokens


def _ended_by(
    token: int, shown: Rendered, tokenizer: PreTrainedTokenizerBase, ends: set[int]
) -> StoppedBy:
    """What a token ends its answer by; "limit": nothing, if it is the last one."""
    if token in ends:
        return "end"
    if style_of(shown.example).stop == "line" and "\n" in tokenizer.decode([token]):
        return "newline"
    return "limit"


class _LineEnds(StoppingCriteria):  # type: ignore[misc]
    """Ends the answers whose style stops at a line, each at the first token that ends one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, shown: Sequence[Rendered]) -> None:
        self._tokenizer = tokenizer
        self._at_line = [style_of(each.example).stop == "line" for each in shown]

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        done = [
            at_line and "\n" in self._tokenizer.decode([token])
            for token, at_line in zip(input_ids[:, -1].tolist(), self._at_line, strict=True)
        ]
        return torch.tensor(done, device=input_ids.device)
