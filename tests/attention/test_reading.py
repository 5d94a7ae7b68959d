"""Attention rows of one pass against transformers' own eager attention, family by family."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.attention.intercept import Call, intercept
from needlework.attention.reading import attention_rows
from tests.attention.families import (
    EAGER,
    FAMILIES,
    assert_same_rows,
    built,
    eager,
    padded,
    placed,
    positions,
    tokens,
    whole,
    with_adapters,
)

every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
def test_rows_and_logits_equal_those_of_eager_attention(family: str) -> None:
    model, ids = built(family), tokens(1, 30)
    maps, output = eager(model, family, ids)
    assert max(layer.max() for layer in maps.values()) > 0.95  # peaked, as the comparison needs
    for rows in (1, 5, 30):
        found = attention_rows(model, ids, rows=rows, reduce=whole)
        assert len(found.layers) == len(FAMILIES[family].layers)
        torch.testing.assert_close(found.logits, output.logits[:, -rows:], rtol=0, atol=1e-5)
        for index, layer in enumerate(found.layers):
            assert (layer is None) == (index not in maps)
            if layer is not None:
                assert layer[0].shape == (1, 6, rows, 30)
                assert_same_rows(layer[0], maps[index][:, :, -rows:])


@every_family
def test_rows_in_a_padded_batch_equal_eager_attention_in_it_and_those_alone(family: str) -> None:
    model = built(family)
    ids, mask = padded(3, 30, 11, 0, 4)
    found = attention_rows(model, ids, rows=8, reduce=whole, attention_mask=mask)
    maps, output = eager(model, family, ids, attention_mask=mask, **positions(mask))
    torch.testing.assert_close(found.logits, output.logits[:, -8:], rtol=0, atol=1e-5)
    for index, map_ in maps.items():
        layer = found.layers[index]
        assert layer is not None
        assert_same_rows(layer[0], map_[:, :, -8:])
        assert not layer[0][0, :, :, :11].any()
    alone = attention_rows(model, ids[:1, 11:], rows=8, reduce=whole)
    for index in maps:
        torch.testing.assert_close(
            found.layers[index][0][:1, :, :, 11:], alone.layers[index][0], rtol=0, atol=1e-4
        )


@every_family
def test_rows_under_adapters_equal_eager_attention_under_them(family: str) -> None:
    tuned, ids = with_adapters(family, "a", "b"), tokens(1, 20)
    seen = []
    for name in ("a", "b", "a"):
        tuned.set_adapter(name)
        found = attention_rows(tuned, ids, rows=6, reduce=whole)
        maps, output = eager(tuned, family, ids)
        torch.testing.assert_close(found.logits, output.logits[:, -6:], rtol=0, atol=1e-5)
        for index, map_ in maps.items():
            assert_same_rows(found.layers[index][0], map_[:, :, -6:])
        seen.append(found.layers[max(maps)][0])
    assert torch.equal(seen[0], seen[2])
    assert (seen[0] - seen[1]).abs().max() > 0.1
    inside = attention_rows(tuned.get_base_model(), ids, rows=6, reduce=whole)
    assert torch.equal(inside.layers[max(maps)][0], seen[2])
    with tuned.disable_adapter():
        off = attention_rows(tuned, ids, rows=6, reduce=whole)
    plain = attention_rows(built(family), ids, rows=6, reduce=whole)
    assert torch.equal(off.layers[max(maps)][0], plain.layers[max(maps)][0])


@every_family
@pytest.mark.parametrize("width", [1, 4])
def test_rows_read_chunk_by_chunk_equal_eager_attention(family: str, width: int) -> None:
    """A sliding window's cache has forgotten keys by then: the columns do not begin at 0."""
    model = built(family)
    ids, mask = padded(2, 26, 5, 0)
    maps, _ = eager(model, family, ids, attention_mask=mask, **positions(mask))
    cache = hf.DynamicCache(config=model.config)
    attention_rows(model, ids[:, :18], rows=1, reduce=whole,
                   attention_mask=mask[:, :18], cache=cache)  # fmt: skip
    for end in range(18 + width, 27, width):
        found = attention_rows(
            model, ids[:, end - width : end], rows=width, reduce=placed(26),
            attention_mask=mask[:, :end], cache=cache,
        )  # fmt: skip
        assert cache.get_seq_length() == end  # it has grown by what was passed
        for index, map_ in maps.items():
            assert_same_rows(found.layers[index][0], map_[:, :, end - width : end])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt-oss", "qwen3-some-windows"])
@pytest.mark.parametrize(("kept", "rows"), [(29, 1), (22, 8), (22, 3), (1, 29)])
def test_rows_after_a_cropped_cache_equal_eager_attention(
    family: str, kept: int, rows: int
) -> None:
    model, ids = built(family), tokens(2, 30)
    maps, _ = eager(model, family, ids)
    cache = hf.DynamicCache()  # not told of windows: it keeps all keys
    with torch.no_grad():
        model(ids, past_key_values=cache, use_cache=True)
    cache.crop(kept - 30)
    found = attention_rows(model, ids[:, kept:], rows=rows, reduce=whole, cache=cache)
    for index, map_ in maps.items():
        assert_same_rows(found.layers[index][0], map_[:, :, -rows:])


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma2", "gpt-oss"])
def test_rows_of_bfloat16_weights_are_computed_in_float32(family: str) -> None:
    model = copy.deepcopy(built(family)).to(torch.bfloat16)
    calls: list[Call] = []
    with intercept(model, read=calls.append):
        found = attention_rows(model, tokens(1, 40), rows=4, reduce=whole)
    for call, layer in zip(calls, found.layers, strict=True):
        assert layer is not None
        assert call.query.dtype == torch.bfloat16
        assert layer[0].dtype == torch.float32
        key = call.key.double().repeat_interleave(3, dim=1)
        logits = call.query[:, :, -4:].double() @ key.transpose(-1, -2) * call.terms.scale
        if family == "gemma2":
            logits = 5 * torch.tanh(logits / 5)
        row, column = torch.arange(36, 40)[:, None], torch.arange(40)
        window = FAMILIES[family].layers[call.layer].window or 40
        logits[:, :, (column > row) | (column <= row - window)] = -torch.inf
        weights = logits.exp()
        total = weights.sum(-1, keepdim=True)
        if family == "gpt-oss":
            total = total + call.module.sinks.double().exp().view(1, 6, 1, 1)
        torch.testing.assert_close(layer[0].double(), weights / total, rtol=0, atol=2e-5)


def test_what_reduce_returns_comes_back_joined_along_the_rows() -> None:
    model, ids = built("llama"), tokens(2, 20)
    found = attention_rows(
        model, ids, rows=4, reduce=lambda rows, offset: (rows.argmax(-1), rows[..., :3])
    )
    maps, _ = eager(model, "llama", ids)
    for index, map_ in maps.items():
        top, some = found.layers[index]
        assert torch.equal(top, map_[:, :, -4:].argmax(-1))
        torch.testing.assert_close(some, map_[:, :, -4:, :3], rtol=0, atol=1e-5)


def test_rows_that_are_reduced_block_by_block_come_back_in_order() -> None:
    """One row of 6 heads over 40,000 keys is 240,000 weights; blocks hold 70 such rows."""
    config = FAMILIES["llama-one-kv-head"].config()
    config.num_hidden_layers, config.max_position_embeddings = 1, 40_000
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    sizes = []

    def last_keys(rows: torch.Tensor, offset: int) -> tuple[torch.Tensor, ...]:
        sizes.append(rows.shape[2])
        return (rows[..., -100:],)

    ids = tokens(1, 40_000)
    cache = hf.DynamicCache()
    keys, values = torch.randn(2, 1, 1, 39_900, 8)  # noise, because a real prompt takes minutes
    cache.update(keys, values, 0)
    found = attention_rows(model, ids[:, -100:], rows=100, reduce=last_keys, cache=cache)
    assert len(sizes) > 1
    assert sum(sizes) == 100
    (rows,) = found.layers[0]
    assert rows.shape == (1, 6, 100, 100)
    assert (rows > 0).equal(torch.ones(100, 100, dtype=torch.bool).tril().expand(1, 6, -1, -1))


@given(length=st.integers(1, 24), data=st.data())
@settings(max_examples=15)
def test_rows_are_causal_distributions(length: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, length))
    family = data.draw(st.sampled_from(["llama", "mistral", "gpt-oss"]))
    ids = tokens(1, length, seed=data.draw(st.integers(0, 1000)))
    at = torch.arange(length - rows, length)[:, None]
    for index, layer in enumerate(
        attention_rows(built(family), ids, rows=rows, reduce=whole).layers
    ):
        assert layer is not None
        total = layer[0].sum(-1)
        if family == "gpt-oss":
            assert total.max() < 1 + 1e-5  # the sink has the rest
        else:
            torch.testing.assert_close(total, torch.ones(1, 6, rows), rtol=0, atol=1e-5)
        window = FAMILIES[family].layers[index].window or length
        column = torch.arange(length)
        assert not layer[0][..., (column > at) | (column <= at - window)].any()


@pytest.mark.parametrize("rows", [0, -1, 10])
def test_rows_that_are_not_there_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match=f"{rows} rows of 9 positions"):
        attention_rows(built("llama"), tokens(1, 9), rows=rows, reduce=whole)


def test_the_families_are_loaded_as_a_user_loads_them() -> None:
    loaded = {family: built(family).config._attn_implementation for family in FAMILIES}
    assert {family for family, backend in loaded.items() if backend == "eager"} == EAGER
    assert set(loaded.values()) == {"eager", "sdpa"}
