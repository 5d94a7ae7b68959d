"""Attention rows against transformers' own eager attention, on tiny random decoders.

The weights of the queries and keys are large, so that the rows are peaked: near-uniform rows would
agree with almost any mistake in scale, mask or head order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor

from needlework.attention.reading import attention_rows

_SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**_SMALL),
    "llama-one-kv-head": lambda: hf.LlamaConfig(**_SMALL | {"num_key_value_heads": 1}),
    "granite-own-scale": lambda: hf.GraniteConfig(**_SMALL, attention_multiplier=0.1),
    "mistral-window": lambda: hf.MistralConfig(**_SMALL, sliding_window=7),
    "qwen3": lambda: hf.Qwen3Config(**_SMALL, head_dim=16),
    "qwen3-window-in-some-layers": lambda: hf.Qwen3Config(
        **_SMALL, head_dim=16, use_sliding_window=True, sliding_window=7, max_window_layers=1
    ),
}


def _peaked(config: Any, implementation: str = "sdpa") -> Any:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(
        config, attn_implementation=implementation, dtype=torch.float32
    ).eval()
    for name, weight in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weight.data *= 20
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.data *= 3
    return model


def _tokens(count: int, seed: int = 1) -> Tensor:
    return torch.randint(2, 97, (1, count), generator=torch.Generator().manual_seed(seed))


def _eager(model: Any, ids: Tensor) -> list[Tensor]:
    """The full maps of transformers' own eager attention, (heads, length, length) per layer."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(ids, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation(before)
    return [layer[0] for layer in maps]


_MODEL = _peaked(FAMILIES["llama"]())


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return _peaked(FAMILIES[request.param]())


# --- The rows are those of eager attention -----------------------------------------------------


@pytest.mark.parametrize("rows", [1, 5, 30])
def test_rows_equal_eager_attention(model: Any, rows: int) -> None:
    ids = _tokens(30)
    ours = attention_rows(model, ids, rows=rows, reduce=lambda found: found)
    theirs = _eager(model, ids)
    assert len(ours) == len(theirs) == 3
    assert max(layer.max() for layer in theirs) > 0.9  # peaked, as the comparison needs
    for mine, eager in zip(ours, theirs, strict=True):
        assert mine.shape == (6, rows, 30)
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, eager[:, -rows:], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kept", "rows"), [(29, 1), (22, 8), (22, 3), (1, 29)])
def test_rows_after_a_cropped_cache_equal_eager_attention(model: Any, kept: int, rows: int) -> None:
    ids = _tokens(30)
    cache = hf.DynamicCache()
    with torch.no_grad():
        model(ids, past_key_values=cache, use_cache=True)
    cache.crop(kept - 30)
    ours = attention_rows(model, ids[:, kept:], rows=rows, reduce=lambda found: found, cache=cache)
    for mine, eager in zip(ours, _eager(model, ids), strict=True):
        torch.testing.assert_close(mine, eager[:, -rows:], rtol=0, atol=1e-5)
    assert cache.get_seq_length() == 30  # it has grown by what was passed


@given(length=st.integers(1, 24), data=st.data())
@settings(max_examples=10, deadline=None)
def test_rows_are_causal_distributions(length: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, length))
    ids = _tokens(length, seed=data.draw(st.integers(0, 1000)))
    for found in attention_rows(_MODEL, ids, rows=rows, reduce=lambda found: found):
        torch.testing.assert_close(found.sum(-1), torch.ones(6, rows), rtol=0, atol=1e-5)
        positions = torch.arange(length - rows, length)[:, None]
        assert not found[:, torch.arange(length)[None] > positions].any()


def test_bfloat16_rows_are_computed_in_float32() -> None:
    model = _peaked(FAMILIES["llama"]()).to(torch.bfloat16)
    (first, *_) = attention_rows(model, _tokens(20), rows=4, reduce=lambda found: found)
    assert first.dtype == torch.float32
    torch.testing.assert_close(first.sum(-1), torch.ones(6, 4), rtol=0, atol=1e-5)


def test_what_reduce_returns_is_what_comes_back() -> None:
    ids = _tokens(20)
    tops = attention_rows(_MODEL, ids, rows=4, reduce=lambda found: found.argmax(-1))
    for top, eager in zip(tops, _eager(_MODEL, ids), strict=True):
        assert torch.equal(top, eager[:, -4:].argmax(-1))


def test_rows_under_an_adapter_equal_eager_attention_under_it() -> None:
    ids = _tokens(30)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(3)
    tuned = get_peft_model(_peaked(FAMILIES["llama"]()), config).eval()
    ours = attention_rows(tuned, ids, rows=6, reduce=lambda found: found)
    for mine, eager in zip(ours, _eager(tuned, ids), strict=True):
        torch.testing.assert_close(mine, eager[:, -6:], rtol=0, atol=1e-5)
    plain = attention_rows(_MODEL, ids, rows=6, reduce=lambda found: found)
    assert (plain[0] - ours[0]).abs().max() > 0.01


# --- The model is left as it was ---------------------------------------------------------------


def test_capturing_leaves_the_output_alone(model: Any) -> None:
    ids = _tokens(30)
    with torch.no_grad():
        expected = model(ids).logits[:, -1:]
    seen = []
    hook = model.register_forward_hook(lambda *call: seen.append(call[-1].logits))
    attention_rows(model, ids, rows=3, reduce=lambda found: found)
    hook.remove()
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits[:, -1:], expected, rtol=0, atol=0)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_implementation_is_put_back(implementation: str) -> None:
    model = _peaked(FAMILIES["llama"](), implementation)
    attention_rows(model, _tokens(9), rows=2, reduce=lambda found: found)
    assert model.config._attn_implementation == implementation


def test_the_implementation_is_put_back_after_an_error() -> None:
    def fail(rows: Tensor) -> Tensor:
        raise ZeroDivisionError("in reduce")

    model = _peaked(FAMILIES["llama"]())
    with torch.no_grad():
        before = model(_tokens(9)).logits
    with pytest.raises(ZeroDivisionError, match="in reduce"):
        attention_rows(model, _tokens(9), rows=2, reduce=fail)
    assert model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        assert torch.equal(model(_tokens(9)).logits, before)


def test_the_implementation_is_put_back_under_an_adapter() -> None:
    tuned = get_peft_model(_peaked(FAMILIES["llama"]()), LoraConfig(target_modules=["q_proj"]))
    attention_rows(tuned.eval(), _tokens(9), rows=2, reduce=lambda found: found)
    assert tuned.base_model.model.config._attn_implementation == "sdpa"


# --- What would be wrong is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (lambda: hf.Gemma2Config(**_SMALL, head_dim=16, attn_logit_softcapping=50.0), "softcap"),
        (lambda: hf.GptOssConfig(**_SMALL, head_dim=16, num_local_experts=2), "s_aux"),
    ],
)
def test_attention_that_is_more_than_a_softmax_is_refused(
    config: Callable[[], Any], reason: str
) -> None:
    model = hf.AutoModelForCausalLM.from_config(config(), attn_implementation="eager").eval()
    with pytest.raises(ValueError, match=f"layer 0 uses '{reason}'"):
        attention_rows(model, _tokens(9), rows=2, reduce=lambda found: found)
    assert model.config._attn_implementation == "eager"


def test_layers_without_attention_are_refused() -> None:
    config = hf.Lfm2Config(**_SMALL, layer_types=["conv", "full_attention", "conv"])
    model = hf.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ValueError, match="1 of 3 layers gave attention rows"):
        attention_rows(model, _tokens(9), rows=2, reduce=lambda found: found)


def test_a_cache_cut_to_a_window_is_refused() -> None:
    model = _peaked(FAMILIES["mistral-window"]())
    ids = _tokens(30)
    cache = hf.DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids[:, :-1], past_key_values=cache)
    with pytest.raises(ValueError, match="pass the whole input"):
        attention_rows(model, ids[:, -1:], rows=1, reduce=lambda found: found, cache=cache)


@pytest.mark.parametrize("rows", [0, -1, 10])
def test_rows_that_are_not_there_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=f"{rows} rows of 9 positions"):
        attention_rows(_MODEL, _tokens(9), rows=rows, reduce=lambda found: found)
