"""Tiny decoders of many families with random weights, and their eager attention to compare with.

Queries and keys are large, so that the rows are peaked: near-uniform rows would agree with almost
any mistake in scale, mask or head order. The windows are shorter than the inputs.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import pad

hf.utils.logging.set_verbosity_error()

SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
_WIDE = SMALL | {"head_dim": 16}
_FULL, _SLIDING = "full_attention", "sliding_attention"


class Shape(NamedTuple):
    """What a layer's heads are expected to be."""

    heads: int
    kv_heads: int
    value_width: int
    window: int | None


class Family(NamedTuple):
    config: Callable[[], Any]
    layers: Sequence[Shape | None]  # None: a layer without attention heads


_GROUPED, _GROUPED_WIDE = Shape(6, 2, 8, None), Shape(6, 2, 16, None)
_WINDOW = Shape(6, 2, 16, 7)

FAMILIES: dict[str, Family] = {
    "llama": Family(lambda: hf.LlamaConfig(**SMALL), [_GROUPED] * 3),
    "llama-one-kv-head": Family(
        lambda: hf.LlamaConfig(**SMALL | {"num_key_value_heads": 1}), [Shape(6, 1, 8, None)] * 3
    ),
    "granite": Family(lambda: hf.GraniteConfig(**SMALL, attention_multiplier=0.1), [_GROUPED] * 3),
    "mistral": Family(
        lambda: hf.MistralConfig(**SMALL, sliding_window=7), [Shape(6, 2, 8, 7)] * 3
    ),
    "qwen2": Family(lambda: hf.Qwen2Config(**SMALL), [_GROUPED] * 3),
    "qwen3": Family(lambda: hf.Qwen3Config(**_WIDE), [_GROUPED_WIDE] * 3),
    "qwen3-some-windows": Family(
        lambda: hf.Qwen3Config(
            **_WIDE, use_sliding_window=True, sliding_window=7, max_window_layers=1
        ),
        [_GROUPED_WIDE, _WINDOW, _WINDOW],
    ),
    "gemma2": Family(
        lambda: hf.Gemma2Config(**_WIDE, attn_logit_softcapping=5.0, sliding_window=7),
        [_WINDOW, _GROUPED_WIDE, _WINDOW],
    ),
    "gemma3": Family(
        lambda: hf.Gemma3TextConfig(
            **_WIDE, sliding_window=7, layer_types=[_SLIDING, _SLIDING, _FULL]
        ),
        [_WINDOW, _WINDOW, _GROUPED_WIDE],
    ),
    "gpt-oss": Family(
        lambda: hf.GptOssConfig(
            **_WIDE, sliding_window=7, num_local_experts=2, num_experts_per_tok=1
        ),
        [_WINDOW, _GROUPED_WIDE, _WINDOW],
    ),
    "deepseek-v3": Family(
        lambda: hf.DeepseekV3Config(
            **SMALL | {"num_key_value_heads": 6}, moe_intermediate_size=16, n_routed_experts=4,
            n_group=2, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1,
            kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=12,
        ),
        [Shape(6, 6, 12, None)] * 3,
    ),
    "qwen3-next": Family(
        lambda: hf.Qwen3NextConfig(
            **_WIDE, num_experts=4, moe_intermediate_size=16, shared_expert_intermediate_size=16,
            num_experts_per_tok=2, linear_num_key_heads=2, linear_num_value_heads=2,
            layer_types=["linear_attention", _FULL, _FULL],
        ),
        [None, _GROUPED_WIDE, _GROUPED_WIDE],
    ),
    "lfm2": Family(
        lambda: hf.Lfm2Config(**SMALL, layer_types=["conv", _FULL, "conv"]), [None, _GROUPED, None]
    ),
    "phi3": Family(lambda: hf.Phi3Config(**SMALL), [_GROUPED] * 3),
    "olmo2": Family(lambda: hf.Olmo2Config(**SMALL), [_GROUPED] * 3),
    "gpt2": Family(
        lambda: hf.GPT2Config(
            vocab_size=97, n_embd=48, n_layer=3, n_head=6, n_positions=256,
            bos_token_id=0, eos_token_id=1, pad_token_id=1,
        ),
        [Shape(6, 6, 8, None)] * 3,
    ),
    "llama4": Family(
        lambda: hf.Llama4TextConfig(
            **_WIDE, attention_chunk_size=7, intermediate_size_mlp=64, num_local_experts=2,
            layer_types=["chunked_attention", _FULL, "chunked_attention"],
        ),
        [_GROUPED_WIDE] * 3,
    ),
}  # fmt: skip

# Loaded with eager attention, because sdpa knows no soft-caps and no sinks.
EAGER = {"gemma2", "gpt-oss"}

_PROJECTIONS = (
    "q_proj", "k_proj", "qkv_proj", "c_attn", "q_b_proj", "kv_b_proj", "kv_a_proj_with_mqa",
)  # fmt: skip
_NORMS = ("q_norm", "k_norm", "q_layernorm", "k_layernorm")


def peaked(config: Any, implementation: str | None = None) -> Any:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(
        config, attn_implementation=implementation, dtype=torch.float32
    ).eval()
    # A soft-cap flattens large logits into ties, and a sink takes all where none is large.
    gain = {"gemma2": 8, "gpt_oss": 8, "gpt2": 25}.get(config.model_type, 12)
    for name, weight in model.named_parameters():
        module, kind = name.split(".")[-2:]
        if module in _PROJECTIONS and kind == "weight":
            weight.data *= gain
        elif module in _NORMS:
            weight.data += 1.5
        elif kind in ("bias", "sinks"):
            weight.data.normal_()
    return model


@functools.cache
def built(family: str) -> Any:
    """The model of a family; no test may leave it changed."""
    return peaked(FAMILIES[family].config())


def with_adapters(family: str, *names: str) -> Any:
    """A copy of a family's model with adapters that change every linear layer; the first is on."""
    torch.manual_seed(3)
    config = LoraConfig(
        r=4, lora_alpha=2, target_modules="all-linear",
        exclude_modules=".*router" if family == "llama4" else None,
        init_lora_weights=False,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):  # of tied embeddings, which stay as they are
        tuned = get_peft_model(copy.deepcopy(built(family)), config, adapter_name=names[0])
        for name in names[1:]:
            tuned.add_adapter(name, config)
    return tuned.eval()


def tokens(batch: int, length: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 97, (batch, length), generator=torch.Generator().manual_seed(seed))


def padded(batch: int, length: int, *padding: int) -> tuple[Tensor, Tensor]:
    """Random tokens and their mask, each sequence with its number of padding tokens before it."""
    ids, mask = tokens(batch, length), torch.ones(batch, length, dtype=torch.long)
    for row, count in enumerate(padding):
        ids[row, :count], mask[row, :count] = 1, 0
    return ids, mask


def positions(mask: Tensor) -> dict[str, Tensor]:
    """The positions that `generate` gives the tokens of a padded batch."""
    return {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


def whole(rows: Tensor, offset: int) -> tuple[Tensor, ...]:
    """A reduction that keeps everything."""
    return (rows,)


def placed(width: int) -> Callable[[Tensor, int], tuple[Tensor, ...]]:
    """A reduction that keeps everything, at its positions among `width`."""
    return lambda rows, offset: (pad(rows, (offset, width - offset - rows.shape[-1])),)


@contextmanager
def eagerly(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def eager(model: Any, family: str, ids: Tensor, **keywords: Any) -> tuple[dict[int, Tensor], Any]:
    """The maps (B, H, Q, N) of transformers' own eager attention by layer, and the whole output."""
    with eagerly(model), torch.no_grad():
        output = model(ids, output_attentions=True, **{"use_cache": False} | keywords)
    maps = [layer for layer in output.attentions if layer is not None]
    there = [index for index, shape in enumerate(FAMILIES[family].layers) if shape is not None]
    return dict(zip(there, maps, strict=True)), output


def logits(model: Any, ids: Tensor, **keywords: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=ids, **{"use_cache": False} | keywords).logits
    return found


def hooks(model: Any) -> int:
    """How many hooks of forward passes a model and its modules have."""
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()
    )


def assert_same_rows(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5, with the same highest key where the second is not as high."""
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    first, second = theirs.topk(2, dim=-1).values.unbind(-1)
    clear = first - second > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal(ours.argmax(-1)[clear], theirs.argmax(-1)[clear])
