"""Attention rows read while a model generates, against eager decoding and against one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from needlework.attention.reading import Reading, attention_rows, reading
from tests.attention.families import (
    FAMILIES,
    assert_same_rows,
    built,
    eager,
    eagerly,
    padded,
    placed,
    positions,
    tokens,
    whole,
    with_adapters,
)

STEPS = 9
GREEDY: dict[str, Any] = {
    "max_new_tokens": STEPS, "do_sample": False, "eos_token_id": None, "pad_token_id": 1,
}  # fmt: skip


def eager_decoding(
    model: Any, ids: Tensor, mask: Tensor, there: list[int]
) -> tuple[Tensor, dict[int, Tensor]]:
    """Greedy tokens, and by layer the rows (B, H, STEPS, all) that produced them, one a step."""
    width = ids.shape[1] + STEPS
    cache = hf.DynamicCache(config=model.config)
    found: dict[int, list[Tensor]] = {index: [] for index in there}
    given = ids
    with eagerly(model), torch.no_grad():
        for _ in range(STEPS):
            count = given.shape[1]
            placing = {key: value[:, -count:] for key, value in positions(mask).items()}
            output = model(given, attention_mask=mask, past_key_values=cache, use_cache=True,
                           output_attentions=True, **placing)  # fmt: skip
            maps = [layer for layer in output.attentions if layer is not None]
            for index, layer in zip(there, maps, strict=True):
                (rows,) = placed(width)(layer[:, :, -1:], mask.shape[1] - layer.shape[-1])
                found[index].append(rows)
            given = output.logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, given], dim=1)
            mask = torch.cat([mask, torch.ones_like(given)], dim=1)
    return ids, {index: torch.cat(rows, dim=2) for index, rows in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_read_during_generation_and_in_one_pass_equal_eager_decoding(family: str) -> None:
    model = built(family)
    there = [index for index, shape in enumerate(FAMILIES[family].layers) if shape is not None]
    for ids, mask in (padded(1, 20, 0), padded(3, 20, 8, 0, 3)):
        plain = model.generate(ids, attention_mask=mask, **GREEDY)
        with reading(model, placed(20 + STEPS)) as found:
            made = model.generate(ids, attention_mask=mask, **GREEDY)
        assert torch.equal(made, plain)
        decoded, rows = eager_decoding(model, ids, mask, there)
        assert torch.equal(decoded, made)
        after = torch.ones(len(ids), STEPS - 1, dtype=torch.long)
        single = attention_rows(
            model, made[:, :-1], rows=STEPS, reduce=placed(20 + STEPS),
            attention_mask=torch.cat([mask, after], dim=1),
        )  # fmt: skip
        assert sorted(found.layers) == there
        for index in there:
            assert_same_rows(found.layers[index][0], rows[index])
            assert_same_rows(single.layers[index][0], rows[index])


def test_generation_under_an_adapter_is_read_as_it_is() -> None:
    tuned, (ids, mask) = with_adapters("llama", "a", "b"), padded(2, 20, 6, 0)
    texts = []
    for name in ("a", "b"):
        tuned.set_adapter(name)
        plain = tuned.generate(input_ids=ids, attention_mask=mask, **GREEDY)
        with reading(tuned, placed(29)) as found:
            made = tuned.generate(input_ids=ids, attention_mask=mask, **GREEDY)
        assert torch.equal(made, plain)
        full = torch.cat([mask, torch.ones(2, STEPS - 1, dtype=torch.long)], dim=1)
        maps, _ = eager(tuned, "llama", made[:, :-1], attention_mask=full, **positions(full))
        for index, map_ in maps.items():
            assert_same_rows(found.layers[index][0][..., :28], map_[:, :, -STEPS:])
        texts.append(made)
    assert not torch.equal(*texts)


@pytest.mark.parametrize("family", ["llama", "qwen3-some-windows", "gpt-oss"])
def test_rows_of_the_question_come_before_those_of_the_answer(family: str) -> None:
    model, (ids, mask) = built(family), padded(2, 20, 0, 5)
    with reading(model, placed(29), rows=6) as found:
        made = model.generate(ids, attention_mask=mask, **GREEDY)
    full = torch.cat([mask, torch.ones(2, STEPS - 1, dtype=torch.long)], dim=1)
    maps, _ = eager(model, family, made[:, :-1], attention_mask=full, **positions(full))
    for index, map_ in maps.items():
        assert found.layers[index][0].shape[2] == 6 - 1 + STEPS
        assert_same_rows(found.layers[index][0][..., :28], map_[:, :, -(6 - 1 + STEPS) :])


@pytest.mark.parametrize("family", ["llama", "qwen3-some-windows", "gemma2", "gpt-oss"])
def test_static_caches_write_over_keys_and_still_give_the_right_rows(family: str) -> None:
    """Two answers through one cache: the second is written over the first's keys."""
    model, width = built(family), 20 + STEPS
    cache = hf.StaticCache(config=model.config, max_cache_len=32)
    prompts = tokens(1, 20, seed=5), tokens(1, 20, seed=6)
    with reading(model, placed(40)) as found:
        made = []
        for prompt in prompts:
            cache.reset()
            made.append(model.generate(prompt, past_key_values=cache, **GREEDY))
    for number, text in enumerate(made):
        maps, _ = eager(model, family, text[:, :-1])
        for index, map_ in maps.items():
            rows = found.layers[index][0][:, :, number * STEPS : (number + 1) * STEPS]
            assert_same_rows(rows[..., : width - 1], map_[:, :, -STEPS:])
            assert not rows[..., width - 1 :].any()


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_sequences_follow_one_another_without_mixing(family: str) -> None:
    """Same length, same position, another sequence: its keys are not the first one's."""
    model = built(family)
    prompts, caches = (tokens(1, 12, seed=5), tokens(1, 13, seed=6)), []
    with torch.no_grad():
        for prompt in prompts:
            caches.append(hf.DynamicCache(config=model.config))
            model(prompt, past_key_values=caches[-1], use_cache=True)
        with reading(model, placed(16)) as found:
            # Each step begins at the position at which the other sequence's ended.
            for number, position in ((0, 12), (1, 13), (0, 13), (1, 14)):
                assert caches[number].get_seq_length() == position
                model(torch.tensor([[50]]), past_key_values=caches[number], use_cache=True)
    for number, prompt in enumerate(prompts):
        maps, _ = eager(model, family, torch.cat([prompt, torch.tensor([[50, 50]])], dim=1))
        for index, map_ in maps.items():
            rows = found.layers[index][0][:, :, number::2, : map_.shape[-1]]
            assert_same_rows(rows, map_[:, :, -2:])


def test_an_answer_that_is_taken_back_leaves_its_rows_as_they_were() -> None:
    model, prompt = built("llama"), tokens(1, 12)
    cache = hf.DynamicCache()
    with torch.no_grad(), reading(model, placed(16)) as found:
        model(prompt, past_key_values=cache, use_cache=True)
        for token in (50, 60):
            model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache.crop(-1)
    for layer, (rows,) in found.layers.items():
        for row, token in ((1, 50), (2, 60)):
            maps, _ = eager(model, "llama", torch.cat([prompt, torch.tensor([[token]])], dim=1))
            assert_same_rows(rows[:, :, row : row + 1, :13], maps[layer][:, :, -1:])


@pytest.mark.parametrize("family", ["llama", "qwen3-some-windows", "gpt-oss"])
def test_a_batch_read_in_chunks_needs_no_mask(family: str) -> None:
    model, ids = built(family), tokens(2, 24)
    cache = hf.DynamicCache(config=model.config)
    with torch.no_grad(), reading(model, placed(24), rows=3) as found:
        for start, end in ((0, 4), (4, 5), (5, 15), (15, 24)):
            model(ids[:, start:end], past_key_values=cache, use_cache=True)
    rows = [1, 2, 3, 4, 12, 13, 14, 21, 22, 23]
    maps, _ = eager(model, family, ids)
    for index, map_ in maps.items():
        assert_same_rows(found.layers[index][0], map_[:, :, rows])


def test_forward_passes_without_cache_are_read_one_by_one() -> None:
    model = built("llama")
    texts = tokens(1, 9, seed=2), tokens(1, 9, seed=3)
    with torch.no_grad(), reading(model, whole, rows=2) as found:
        for text in texts:
            model(text, use_cache=False)
    for number, text in enumerate(texts):
        maps, _ = eager(model, "llama", text)
        for index, map_ in maps.items():
            rows = found.layers[index][0][:, :, 2 * number : 2 * number + 2]
            assert_same_rows(rows, map_[:, :, -2:])


def test_one_model_is_read_twice_at_once() -> None:
    model, (ids, mask) = built("qwen3-some-windows"), padded(2, 20, 6, 0)
    readings: list[Reading] = []
    with reading(model, placed(29)) as outer, reading(model, placed(29), rows=4) as inner:
        model.generate(ids, attention_mask=mask, **GREEDY)
        readings += [outer, inner]
    with reading(model, placed(29), rows=4) as single:
        model.generate(ids, attention_mask=mask, **GREEDY)
    for index, (rows,) in single.layers.items():
        assert torch.equal(inner.layers[index][0], rows)
        torch.testing.assert_close(outer.layers[index][0], rows[:, :, 3:], rtol=0, atol=1e-6)
