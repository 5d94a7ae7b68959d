"""The intercept: outputs stay, edits reach them, nothing is left behind, the rest is refused."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import flash_attention_mask

from needlework.attention.intercept import Call, backend, causal_lm, intercept
from needlework.attention.reading import attention_rows, reading
from tests.attention.families import (
    EAGER,
    FAMILIES,
    assert_same_rows,
    built,
    eager,
    hooks,
    logits,
    padded,
    peaked,
    placed,
    positions,
    tokens,
    whole,
    with_adapters,
)

# --- What a model puts out is what it puts out without -------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_the_same_within(family: str) -> None:
    model, (ids, mask) = built(family), padded(2, 24, 5, 0)
    cases: list[dict[str, Any]] = [{}, {"attention_mask": mask, **positions(mask)}]
    for keywords in cases:
        before = logits(model, ids, **keywords)
        with intercept(model, read=lambda call: None):
            within = logits(model, ids, **keywords)
        assert torch.equal(logits(model, ids, **keywords), before)
        if family in EAGER:  # padding puts out something else than eager attention's average
            real = mask.bool() if keywords else torch.ones_like(mask).bool()
            torch.testing.assert_close(within[real], before[real], rtol=0, atol=1e-5)
        else:
            assert torch.equal(within, before)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_nothing_is_left_behind(family: str) -> None:
    model, ids = built(family), tokens(1, 9)
    implementation, before = model.config._attn_implementation, hooks(model)
    seen: list[Call] = []
    with intercept(model, read=seen.append):
        assert model.config._attn_implementation != implementation
        with intercept(model, read=seen.append):
            logits(model, ids)
        assert len(seen) == 6
        logits(model, ids)
        assert len(seen) == 9
    logits(model, ids)
    assert len(seen) == 9
    assert model.config._attn_implementation == implementation
    assert hooks(model) == before


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_nothing_is_left_behind_after_an_error(family: str) -> None:
    def fail(rows: Tensor, offset: int) -> tuple[Tensor, ...]:
        raise ZeroDivisionError("in reduce")

    model, ids = built(family), tokens(1, 9)
    implementation, hooked = model.config._attn_implementation, hooks(model)
    before = logits(model, ids)
    with pytest.raises(ZeroDivisionError, match="in reduce"), reading(model, whole):
        attention_rows(model, ids, rows=2, reduce=fail)
    assert model.config._attn_implementation == implementation
    assert hooks(model) == hooked
    assert torch.equal(logits(model, ids), before)


def test_nothing_is_left_behind_under_an_adapter() -> None:
    tuned, ids = with_adapters("llama", "a", "b"), tokens(1, 9)
    base = tuned.get_base_model()
    hooked, before = hooks(tuned), logits(tuned, ids)
    seen: list[Call] = []
    with intercept(tuned, read=seen.append):
        with intercept(base, read=seen.append):
            assert torch.equal(logits(tuned, ids), before)
        tuned.set_adapter("b")
        assert not torch.equal(logits(base, ids), before)
    tuned.set_adapter("a")
    assert len(seen) == 9
    assert base.config._attn_implementation == "sdpa"
    assert hooks(tuned) == hooked
    assert torch.equal(logits(tuned, ids), before)


def test_two_models_at_once_do_not_meet() -> None:
    one, other, ids = built("llama"), built("qwen3"), tokens(1, 9)
    seen: list[Call] = []
    with intercept(one, read=seen.append), intercept(other, edit=lambda call: call.query * 0):
        logits(one, ids)
        logits(other, ids)
    assert {type(call.module).__name__ for call in seen} == {"LlamaAttention"}
    assert other.config._attn_implementation == one.config._attn_implementation == "sdpa"


def test_the_model_itself_is_found_with_and_without_adapters() -> None:
    tuned = with_adapters("llama", "a")
    base = tuned.get_base_model()
    assert causal_lm(tuned) is base
    assert causal_lm(base) is base
    assert type(base).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize(("family", "computes"), [("llama", "sdpa"), ("gemma2", "sdpa")])
def test_the_backend_is_named_within_and_without(family: str, computes: str) -> None:
    model = built(family)
    assert backend(model) == computes
    with intercept(model):
        assert backend(model) == computes


# --- What a call holds ---------------------------------------------------------------------------


def test_a_call_says_where_it_stands() -> None:
    model, ids = built("qwen3-some-windows"), tokens(2, 12)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[0, :3] = 0
    calls: list[Call] = []
    cache = hf.DynamicCache(config=model.config)
    with intercept(model, read=calls.append):
        logits(model, ids[:, :10], attention_mask=mask[:, :10], past_key_values=cache,
               use_cache=True)  # fmt: skip
        logits(model, ids[:, 10:], attention_mask=mask, past_key_values=cache, use_cache=True)
    assert [call.layer for call in calls] == [0, 1, 2] * 2
    assert [call.seen for call in calls] == [0] * 3 + [10] * 3
    assert [call.key.shape[2] for call in calls] == [10] * 3 + [12, 8, 8]
    assert [call.offset for call in calls] == [0] * 3 + [0, 4, 4]
    assert [call.window for call in calls] == [None, 7, 7] * 2
    assert all(call.cache is cache for call in calls)
    assert all(call.padding is not None and call.padding.shape[1] == end
               for call, end in zip(calls, [10] * 3 + [12] * 3, strict=True))  # fmt: skip
    assert calls[0].query.shape == (2, 6, 10, 16)
    assert calls[0].key.shape == calls[0].value.shape == (2, 2, 10, 16)
    assert calls[0].module is model.model.layers[0].self_attn
    assert calls[0].terms == (0.25, None, None)


def test_masks_and_caches_are_found_by_position_too() -> None:
    model, (ids, mask) = built("gpt-oss"), padded(2, 12, 3, 0)
    cache = hf.DynamicCache(config=model.config)
    with torch.no_grad(), reading(model, placed(12), rows=2) as found:
        model(ids[:, :8], mask[:, :8], None, cache)
        model(ids[:, 8:], mask, None, cache)
    maps, _ = eager(model, "gpt-oss", ids, attention_mask=mask)
    for index, map_ in maps.items():
        assert_same_rows(found.layers[index][0], map_[:, :, [6, 7, 10, 11]])


def test_a_layer_without_a_scale_of_its_own_has_the_usual_one() -> None:
    model, ids = copy.deepcopy(built("llama")), tokens(1, 12)
    maps, _ = eager(model, "llama", ids)
    for layer in model.model.layers:
        layer.self_attn.scaling = None  # sdpa then takes 1 / sqrt(width), as this model had it
    found = attention_rows(model, ids, rows=12, reduce=whole)
    for index, map_ in maps.items():
        assert_same_rows(found.layers[index][0], map_)


@pytest.mark.parametrize("family", ["gemma2", "gpt-oss", "llama"])
def test_a_pass_around_the_models_forward_is_computed_but_not_seen(family: str) -> None:
    """As where something inside runs the decoder by itself, with a cache."""
    model, ids = built(family), tokens(1, 16)
    seen: list[Call] = []
    with torch.no_grad():
        expected = model.model(ids, use_cache=False).last_hidden_state
        cache = hf.DynamicCache(config=model.config)
        with intercept(model, read=seen.append):
            found = [
                model.model(part, past_key_values=cache, use_cache=True).last_hidden_state
                for part in ids.split([10, 4, 1, 1], dim=1)
            ]
    assert not seen
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=0, atol=1e-4)


# --- Edits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "qwen3-next"])
def test_a_query_of_zeros_attends_alike_to_all_it_sees(family: str) -> None:
    model, ids = built(family), tokens(1, 20)
    target = next(i for i, shape in enumerate(FAMILIES[family].layers) if shape is not None)

    def blank(call: Call) -> Tensor:
        if call.layer != target:
            return call.query
        query = call.query.clone()
        query[:, 4] = 0
        return query

    plain = attention_rows(model, ids, rows=3, reduce=whole)
    with intercept(model, edit=blank):
        found = attention_rows(model, ids, rows=3, reduce=whole)
    (rows,), (before,) = found.layers[target], plain.layers[target]
    shape = FAMILIES[family].layers[target]
    assert shape is not None
    for i, row in enumerate(range(17, 20)):
        seen = min(row + 1, shape.window or 20)
        expected = torch.zeros(20)
        expected[row + 1 - seen : row + 1] = 1 / seen
        torch.testing.assert_close(rows[0, 4, i], expected, rtol=0, atol=1e-6)
    others = [0, 1, 2, 3, 5]
    assert torch.equal(rows[:, others], before[:, others])
    assert (found.logits - plain.logits).abs().max() > 1e-3


def test_all_edits_come_before_any_reading_whatever_the_nesting() -> None:
    model, ids = built("llama"), tokens(1, 9)
    outer: list[Tensor] = []
    inner: list[Tensor] = []
    plain: list[Tensor] = []

    def doubled(call: Call) -> Tensor:
        return call.query * 2

    def shifted(call: Call) -> Tensor:
        return call.query + 1

    with intercept(model, read=lambda call: plain.append(call.query)):
        before = logits(model, ids)
    with (
        intercept(model, edit=doubled, read=lambda call: outer.append(call.query)),
        intercept(model, edit=shifted, read=lambda call: inner.append(call.query)),
    ):
        within = logits(model, ids)
    assert torch.equal(outer[0], plain[0] * 2 + 1)
    assert torch.equal(inner[0], outer[0])
    assert (within - before).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt-oss"])
def test_what_is_read_is_what_the_output_came_from(family: str) -> None:
    """Half of every query is half of the scale."""
    model, ids = built(family), tokens(1, 16)
    with reading(model, whole, rows=16) as outside, intercept(model, edit=lambda c: c.query * 0.5):
        halved = logits(model, ids)
    other = copy.deepcopy(model)
    for layer in other.model.layers:
        layer.self_attn.scaling *= 0.5
    maps, output = eager(other, family, ids)
    torch.testing.assert_close(halved, output.logits, rtol=0, atol=1e-5)
    for index, map_ in maps.items():
        assert_same_rows(outside.layers[index][0], map_)


def test_edits_reach_every_step_of_generation() -> None:
    model, ids = built("llama"), tokens(1, 9)
    steps: list[int] = []

    def blank(call: Call) -> Tensor:
        if call.layer == 0:
            steps.append(call.query.shape[2])
        return torch.zeros_like(call.query)

    asked: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    with intercept(model, edit=blank):
        edited = model.generate(ids, **asked)
    assert steps == [9, 1, 1, 1]
    assert not torch.equal(edited, model.generate(ids, **asked))


# --- Other backends ------------------------------------------------------------------------------


def _padding_backend(names: list[str]) -> str:
    """A stock backend like flash attention: its mask is the padding, or None, and no more."""

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
        scaling: float, sliding_window: int | None = None, **keywords: Any,
    ) -> tuple[Tensor, None]:  # fmt: skip
        names.append(module.config._attn_implementation)
        share = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
        count, length = query.shape[2], key.shape[2]
        row = torch.arange(length - count, length)[:, None]
        column = torch.arange(length)
        seen = (column <= row) & (column > row - (sliding_window or math.inf))
        seen = seen.expand(len(query), 1, -1, -1)
        if attention_mask is not None:
            seen = seen & attention_mask[:, None, None, -length:].bool()
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, scale=scaling
        )
        assert module.is_causal
        assert not module.training
        return found.transpose(1, 2), None

    AttentionInterface.register("padding_only", attention)
    AttentionMaskInterface.register("padding_only", flash_attention_mask)
    return "padding_only"


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3-some-windows"])
def test_a_backend_whose_mask_is_the_padding_sees_its_own_name(family: str) -> None:
    names: list[str] = []
    model = peaked(FAMILIES[family].config())
    model.set_attn_implementation(_padding_backend(names))
    ids, mask = padded(3, 20, 8, 0, 3)
    asked: dict[str, Any] = {
        "attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "eos_token_id": None,
    }  # fmt: skip
    plain = model.generate(ids, **asked)
    with reading(model, placed(26)) as found:
        assert backend(model) == "padding_only"
        made = model.generate(ids, **asked)
    assert torch.equal(made, plain)
    assert set(names) == {"padding_only"}
    assert model.config._attn_implementation == "padding_only"
    full = torch.cat([mask, torch.ones(3, 5, dtype=torch.long)], dim=1)
    single = attention_rows(model, made[:, :-1], rows=6, reduce=placed(26), attention_mask=full)
    maps, _ = eager(model, family, made[:, :-1], attention_mask=full, **positions(full))
    for index, map_ in maps.items():
        expected = torch.nn.functional.pad(map_[:, :, -6:], (0, 1))
        assert_same_rows(found.layers[index][0], expected)
        assert_same_rows(single.layers[index][0], expected)
