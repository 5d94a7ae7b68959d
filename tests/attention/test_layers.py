"""The heads of each layer of every family, and the projection they meet at."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
import transformers as hf
from torch import Tensor

from needlework.attention.intercept import intercept
from needlework.attention.layers import attention_layers
from needlework.attention.reading import attention_rows, reading
from tests.attention.families import (
    FAMILIES,
    Shape,
    built,
    tokens,
    whole,
    with_adapters,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_heads_of_every_layer_are_found(family: str) -> None:
    expected = FAMILIES[family].layers
    for index, layer in enumerate(attention_layers(built(family))):
        if layer is None:
            assert expected[index] is None
        else:
            shape = Shape(layer.heads, layer.kv_heads, layer.value_width, layer.window)
            assert (layer.index, shape) == (index, expected[index])
    assert index == len(expected) - 1


# Qwen3-Next puts a gate before the projection, GPT-2's is no linear layer.
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"qwen3-next", "gpt2"}))
def test_the_projection_is_given_the_heads_one_after_another(family: str) -> None:
    model, ids = built(family), tokens(2, 9)
    layers = [layer for layer in attention_layers(model) if layer is not None]
    given: list[Tensor] = []
    values: list[Tensor] = []
    hooks = [
        layer.projection.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
        for layer in layers
    ]
    with intercept(model, read=lambda call: values.append(call.value)):
        found = attention_rows(model, ids, rows=9, reduce=whole).layers
    for hook in hooks:
        hook.remove()
    for layer, inputs, value in zip(layers, given, values, strict=True):
        (rows,) = found[layer.index]
        repeated = value.repeat_interleave(layer.heads // layer.kv_heads, dim=1)
        outputs = (rows @ repeated).transpose(1, 2).flatten(2)
        torch.testing.assert_close(inputs, outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "deepseek-v3", "lfm2"])
def test_the_projection_is_the_adapters_layer_where_one_wraps_it(family: str) -> None:
    tuned = with_adapters(family, "a")
    layers = [layer for layer in attention_layers(tuned) if layer is not None]
    assert len(layers) == sum(shape is not None for shape in FAMILIES[family].layers)
    for layer in layers:
        assert isinstance(layer.projection, peft.tuners.lora.Linear)
        assert layer.projection.in_features == layer.heads * layer.value_width


def test_a_layer_without_a_known_projection_says_so() -> None:
    layer = attention_layers(built("gpt2"))[1]
    assert layer is not None
    with pytest.raises(
        ValueError, match=r"layer 1 \(GPT2Attention\) has no output projection.* 48"
    ):
        _ = layer.projection


def test_a_projection_of_another_width_is_not_taken_for_it() -> None:
    layer = attention_layers(copy.deepcopy(built("llama")))[2]
    assert layer is not None
    layer.module.o_proj = torch.nn.Linear(24, 48)
    with pytest.raises(ValueError, match=r"layer 2.*input width 48"):
        _ = layer.projection


def test_looking_for_layers_is_not_read() -> None:
    model = built("llama")
    with reading(model, whole) as found:
        attention_layers(model)
        with torch.no_grad():
            model(tokens(1, 7), use_cache=False)
    assert [rows.shape for (rows,) in found.layers.values()] == [(1, 6, 1, 7)] * 3


def test_a_model_without_attention_heads_is_refused() -> None:
    config = hf.MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=2, state_size=4)
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ValueError, match="MambaForCausalLM has no layer with attention heads"):
        attention_layers(model)
