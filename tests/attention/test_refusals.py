"""What cannot be intercepted, or read rightly, is refused with the layer or the model named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from transformers import AttentionInterface

from needlework.attention.intercept import intercept
from tests.attention.families import SMALL, built, hooks, logits, tokens


@pytest.mark.parametrize("name", ["position_bias", "indices", "block_indices"])
def test_terms_that_rows_would_miss_are_refused(name: str) -> None:
    model = built("llama")
    message = rf"layer 0 \(LlamaAttention\) uses '{name}', which is not supported"
    with intercept(model), pytest.raises(ValueError, match=message):
        logits(model, tokens(1, 4), **{name: torch.zeros(1)})
    assert model.config._attn_implementation == "sdpa"


def _small(kind: Callable[..., Any], **more: Any) -> Any:
    return hf.AutoModelForCausalLM.from_config(kind(**SMALL | more)).eval()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (hf.BertConfig, r"layer 0 \(BertSelfAttention\) sees positions after its own"),
        (hf.DiffLlamaConfig, r"layer 0 \(DiffLlamaAttention\) computes attention more than once"),
        (hf.StableLmConfig, "StableLmForCausalLM has no layer with attention heads"),
        (hf.BloomConfig, "BloomForCausalLM does not let its attention be set"),
    ],
    ids=["not causal", "twice a layer", "arguments are not handed on", "no interface"],
)
def test_models_whose_rows_would_be_wrong_are_refused(
    config: Callable[..., Any], message: str
) -> None:
    model = _small(config)
    implementation, before = model.config._attn_implementation, hooks(model)
    with pytest.raises(ValueError, match=message), intercept(model):
        logits(model, tokens(1, 4))
    assert model.config._attn_implementation == implementation
    assert hooks(model) == before


def test_layers_without_a_number_of_their_own_are_refused() -> None:
    config = hf.Zamba2Config(
        **SMALL, layers_block_type=["mamba", "hybrid", "mamba"], mamba_ngroups=1, n_mamba_heads=6,
        num_mem_blocks=1, attention_head_dim=16,
    )  # fmt: skip
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    message = r"layer -1 \(Zamba2Attention\) has no number of its own"
    with intercept(model), pytest.raises(ValueError, match=message):
        logits(model, tokens(1, 4))


def test_a_backend_that_cannot_be_intercepted_is_refused() -> None:
    model = _small(hf.LlamaConfig)
    model.set_attn_implementation("flex_attention")
    with (
        pytest.raises(ValueError, match="'flex_attention' cannot be intercepted; load the model"),
        intercept(model),
    ):
        pass
    assert model.config._attn_implementation == "flex_attention"
    AttentionInterface.register("without_mask", lambda *arguments, **keywords: None)
    model.set_attn_implementation("without_mask")
    with pytest.raises(ValueError, match="'without_mask' cannot be"), intercept(model):
        pass
