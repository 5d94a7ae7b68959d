"""What is allocated and what is kept while rows are read: rows x length, never length squared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from needlework.attention.intercept import Call, intercept
from needlework.attention.reading import attention_rows, reading
from tests.attention.families import FAMILIES, SMALL, built, eagerly, padded, peaked, tokens

LENGTH = 2048
BLOCK = 1 << 24  # weights in 64 MB of float32


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any operation within it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return found


def _long(family: str) -> Any:
    """A family's model for long inputs, of one layer that sees everything."""
    config = FAMILIES[family].config()
    config.max_position_embeddings = LENGTH
    config.num_hidden_layers, config.layer_types = 1, ["full_attention"]
    return peaked(config)


def test_one_pass_allocates_rows_and_never_a_map() -> None:
    model, ids = _long("llama"), tokens(1, LENGTH)
    with Largest() as largest:
        attention_rows(model, ids, rows=4, reduce=lambda rows, offset: (rows.argmax(-1),))
    # The widest of a layer's activations, or 4 rows of 6 heads.
    assert largest.bytes <= LENGTH * 4 * SMALL["intermediate_size"]
    with Largest() as plain, eagerly(model), torch.no_grad():
        model(ids, use_cache=False)
    assert plain.bytes >= LENGTH * LENGTH * 6 * 4  # what is measured would be seen


@pytest.mark.parametrize("family", ["gemma2", "gpt-oss"])
def test_soft_caps_and_sinks_are_computed_in_blocks(family: str) -> None:
    model, ids = _long(family), tokens(1, LENGTH)
    assert LENGTH * LENGTH * 6 > 1.3 * BLOCK  # more than a block
    with Largest() as largest:
        attention_rows(model, ids, rows=4, reduce=lambda rows, offset: (rows.argmax(-1),))
    columns = LENGTH + 1 if family == "gpt-oss" else LENGTH  # a sink is one more
    assert largest.bytes <= BLOCK * 4 * columns / LENGTH


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def test_one_pass_keeps_no_layers_queries_and_keys() -> None:
    model, (ids, mask) = built("llama"), padded(2, 30, 5, 0)
    before: list[StorageWeakRef] = []
    alive: list[bool] = []

    def watch(call: Call) -> None:
        alive.extend(not each.expired() for each in before)
        before[:] = [_storage(call.query), _storage(call.key), _storage(call.value)]

    with intercept(model, read=watch):
        attention_rows(model, ids, rows=3, reduce=lambda rows, offset: (rows.sum(-1),),
                       attention_mask=mask)  # fmt: skip
    assert len(alive) == 6
    assert not any(alive)


@pytest.mark.parametrize("family", ["llama", "qwen3-some-windows", "gemma2"])
def test_generation_keeps_neither_queries_nor_masks_of_the_prompt(family: str) -> None:
    model, (ids, mask) = built(family), padded(2, 30, 5, 0)
    windows = [layer and layer.window for layer in FAMILIES[family].layers]
    queries: list[StorageWeakRef] = []
    masks: list[StorageWeakRef] = []
    forgotten: list[StorageWeakRef] = []
    kept: dict[str, int] = {"queries": 0, "masks": 0, "keys": 0, "steps": 0}

    def watch(call: Call) -> None:
        kept["queries"] += sum(not each.expired() for each in queries)
        if call.query.shape[2] > 1:
            queries[:] = [_storage(call.query)]
            assert call.mask is not None
            masks.append(_storage(call.mask))
            if windows[call.layer]:
                forgotten.append(_storage(call.key))
        else:
            kept["masks"] += sum(not each.expired() for each in masks)
            kept["steps"] += 1
            if call.seen > 30:  # until then the cache itself keeps a part of them
                kept["keys"] += sum(not each.expired() for each in forgotten)

    with (
        reading(model, lambda rows, offset: (rows.sum(-1),)) as found,
        intercept(model, read=watch),
    ):
        model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False,
                       eos_token_id=None)  # fmt: skip
    assert kept == {"queries": 0, "masks": 0, "keys": 0, "steps": 9}
    assert found.layers[0][0].shape == (2, 6, 4)


def test_generation_keeps_the_cache_no_longer_than_the_reading() -> None:
    model = built("llama")
    cache = hf.DynamicCache()
    with reading(model, lambda rows, offset: (rows.sum(-1),)) as found:
        model.generate(tokens(1, 9), past_key_values=cache, max_new_tokens=3, do_sample=False)
    keys = [_storage(layer.keys) for layer in cache.layers]
    del cache
    assert all(each.expired() for each in keys)
    assert len(found.layers) == 3
