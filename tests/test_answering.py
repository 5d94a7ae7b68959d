"""Answers are greedy, ended as their style says, and the same from a cache that is shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from needlework.answering import (
    Answer,
    Batch,
    answer_of,
    batches,
    content_length,
    end_tokens,
    generate,
    prefill,
    rewound,
)
from needlework.corpora.corpus import Corpus
from needlework.rendering.prompt import Rendered, render

_NEW = 12
_SMALL = {
    "vocab_size": 258, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 0,
    "eos_token_id": 1, "pad_token_id": 1, "max_position_embeddings": 4096,
}  # fmt: skip
FAMILIES: dict[str, Callable[[], Any]] = {
    "full": lambda: LlamaConfig(**_SMALL),
    "windowed": lambda: MistralConfig(**_SMALL, sliding_window=64),
    "mixed": lambda: Qwen3Config(
        **_SMALL, use_sliding_window=True, sliding_window=64, max_window_layers=1
    ),
}


def _model(family: str) -> Any:
    """Peaked attention, so that an answer depends on where the tokens of its prompt stand."""
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_config(FAMILIES[family]()).eval()
    for name, weight in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            weight.data *= 20
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.data *= 3
    return model


def _adapted(model: Any) -> Any:
    torch.manual_seed(2)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config).eval()


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return _model(request.param)


@pytest.fixture(scope="module")
def shown(corpus: Corpus, tokenizer: Any) -> list[Rendered]:
    """Five prompts of different lengths, the longest first."""
    rendered = [render(example, tokenizer, 900) for example in corpus.test[:5]]
    cut = [each._replace(prompt=each.prompt[40 * i :]) for i, each in enumerate(rendered)]
    return sorted(cut, key=lambda each: -len(each.prompt))


@pytest.fixture(scope="module")
def batch(shown: list[Rendered], tokenizer: Any) -> Batch:
    (found,) = batches(shown, tokenizer, 5, "cpu")
    return found


def _reference(model: Any, prompt: list[int], ends: set[int]) -> list[int]:
    """Step by step, each time the whole sequence anew: no cache, no padding, no generate."""
    made: list[int] = []
    while len(made) < _NEW and not ends.intersection(made[-1:]):
        with torch.no_grad():
            made.append(int(model(torch.tensor([prompt + made])).logits[0, -1].argmax()))
    return made


# --- Batches -----------------------------------------------------------------------------------


def test_neighbours_in_length_share_a_batch_padded_on_the_left(
    shown: list[Rendered], tokenizer: Any
) -> None:
    found = list(batches(shown, tokenizer, 2, "cpu"))
    assert [len(batch.shown) for batch in found] == [2, 2, 1]
    assert [each for batch in found for each in batch.shown] == shown[::-1]
    for batch in found:
        assert batch.ids.shape == batch.mask.shape
        assert batch.ids.shape[1] == max(len(each.prompt) for each in batch.shown)
        for each, ids, mask in zip(batch.shown, batch.ids, batch.mask, strict=True):
            assert ids[mask == 1].tolist() == each.prompt
            assert mask.tolist() == sorted(mask.tolist())
            assert set(ids[mask == 0].tolist()) <= {tokenizer.pad_token_id}


# --- Greedy ------------------------------------------------------------------------------------


def test_answers_are_those_of_one_token_after_another(
    model: Any, batch: Batch, tokenizer: Any
) -> None:
    ends = end_tokens(model, tokenizer) | {tokenizer("\n")["input_ids"][0]}
    found = generate(model, tokenizer, batch, _NEW)
    assert found == [_reference(model, each.prompt, ends) for each in batch.shown]
    assert len({tuple(tokens) for tokens in found}) == len(found)  # each prompt has its own


@pytest.mark.parametrize("adapt", [lambda model: model, _adapted], ids=["base", "adapter"])
def test_a_models_own_settings_are_set_aside_and_kept(
    batch: Batch, tokenizer: Any, adapt: Callable[[Any], Any]
) -> None:
    model = adapt(_model("full"))
    plain = generate(model, tokenizer, batch, _NEW)
    base = model.get_base_model() if adapt is _adapted else model
    first = plain[0][0]
    own = GenerationConfig(
        do_sample=True, temperature=5.0, top_k=3, num_beams=2, repetition_penalty=50.0,
        no_repeat_ngram_size=1, bad_words_ids=[[first]], suppress_tokens=[first], max_length=3,
        min_new_tokens=_NEW, forced_eos_token_id=5, cache_implementation="static",
        eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    base.generation_config = own
    before = own.to_dict()
    assert generate(model, tokenizer, batch, _NEW) == plain
    assert base.generation_config is own
    assert model.generation_config.to_dict() == before


def test_the_settings_come_back_after_an_error(batch: Batch, tokenizer: Any) -> None:
    model = _model("full")
    own = model.generation_config
    wrong = batch._replace(mask=batch.mask[:, 1:])
    with pytest.raises((RuntimeError, ValueError)):
        generate(model, tokenizer, wrong, _NEW)
    assert model.generation_config is own


def test_an_adapter_answers_as_its_merged_model(batch: Batch, tokenizer: Any) -> None:
    model = _adapted(_model("full"))
    with model.disable_adapter():
        without = generate(model, tokenizer, batch, _NEW)
    found = generate(model, tokenizer, batch, _NEW)
    shared = generate(model, tokenizer, batch, _NEW, cache=prefill(model, batch))
    assert found == shared == generate(model.merge_and_unload(), tokenizer, batch, _NEW)
    assert found != without == generate(_model("full"), tokenizer, batch, _NEW)


# --- From a cache ------------------------------------------------------------------------------


def _state(cache: Any) -> list[Tensor]:
    return [tensor.clone() for layer in cache.layers for tensor in (layer.keys, layer.values)]


def test_a_cache_gives_the_same_answers_again_and_again(
    model: Any, batch: Batch, tokenizer: Any
) -> None:
    """Prompts of several windows, padded: what a window forgot must come back."""
    alone = generate(model, tokenizer, batch, _NEW)
    cache = prefill(model, batch)
    before, length = _state(cache), cache.get_seq_length()
    assert length == batch.ids.shape[1] - 1
    for tokens in (_NEW, 3, _NEW):
        with rewound(cache):
            found = generate(model, tokenizer, batch, tokens, cache=cache)
            assert cache.get_seq_length() > length
        assert found == [answer[:tokens] for answer in alone]
        assert cache.get_seq_length() == length
        assert all(map(torch.equal, _state(cache), before))


def test_a_cache_is_rewound_after_an_error(model: Any, batch: Batch, tokenizer: Any) -> None:
    cache = prefill(model, batch)
    before = _state(cache)
    layer = list(model.modules())[-1]

    def killed(*_: Any) -> None:
        if cache.get_seq_length() > batch.ids.shape[1] + 2:
            raise KeyboardInterrupt

    hook = layer.register_forward_hook(killed)
    with hook, pytest.raises(KeyboardInterrupt), rewound(cache):
        generate(model, tokenizer, batch, _NEW, cache=cache)
    assert all(map(torch.equal, _state(cache), before))


# --- How an answer ends ------------------------------------------------------------------------


@contextmanager
def _saying(model: Any, scripts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The model generates these tokens, one script per row, whatever it reads; yields the steps."""
    steps: list[int] = []

    def speak(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        for row, script in enumerate(scripts):
            output.logits[row, -1, script[min(len(steps), len(script) - 1)]] = 1e9
        steps.append(len(steps))

    hook = model.register_forward_hook(speak, with_kwargs=True)
    try:
        yield steps
    finally:
        hook.remove()


def _styled(shown: Rendered, style: str) -> Rendered:
    return shown._replace(example=shown.example.model_copy(update={"style": style}))


def test_each_answer_of_a_batch_ends_as_its_own_style_says(shown: Any, tokenizer: Any) -> None:
    model = _model("full")
    styles = ["documents", "flenqa-pir-cot", "documents", "flenqa-pir-cot", "documents"]
    mixed = [_styled(each, style) for each, style in zip(shown, styles, strict=True)]
    (batch,) = batches(mixed[::-1], tokenizer, 5, "cpu")
    said = ["Li\nma", "Li\nma<|im_end|>Peru", "<|im_end|>Lima", "Li\nma, Peru, Quito", "Lima, Peru"]
    with _saying(model, [tokenizer(text)["input_ids"] for text in said]) as steps:
        tokens = generate(model, tokenizer, batch, 10)
    assert len(steps) == 10
    assert [tokenizer.decode(each) for each in tokens] == [
        "Li\n", "Li\nma<|im_end|>", "<|im_end|>", "Li\nma, Per", "Lima, Peru",
    ]  # fmt: skip
    ends = end_tokens(model, tokenizer)
    pairs = list(zip(tokens, batch.shown, strict=True))
    assert [answer_of(made, each, tokenizer, ends) for made, each in pairs] == [
        Answer("Li", "newline"), Answer("Li\nma", "end"), Answer("", "end"),
        Answer("Li\nma, Per", "limit"), Answer("Lima, Peru", "limit"),
    ]  # fmt: skip
    assert [content_length(made, each, tokenizer, ends) for made, each in pairs] == [
        2,
        5,
        1,
        10,
        10,
    ]


def test_nothing_is_generated_after_the_last_answer_ended(batch: Batch, tokenizer: Any) -> None:
    model = _model("full")
    said = ["Li\nma", "Lima\n", "<|im_end|>", "\n", "L<|im_end|>"]
    with _saying(model, [tokenizer(text)["input_ids"] for text in said]) as steps:
        tokens = generate(model, tokenizer, batch, 10)
    assert len(steps) == 5
    assert [len(each) for each in tokens] == [3, 5, 1, 1, 2]


@pytest.mark.parametrize(("own", "ends"), [(1, {1}), ([0, 7], {0, 1, 7}), (None, {1})])
def test_a_model_ends_with_its_own_tokens_and_with_that_of_training(
    batch: Batch, tokenizer: Any, own: Any, ends: set[int]
) -> None:
    """Answers to learn are closed by the tokenizer's end token, whatever the model's settings."""
    model = _model("full")
    model.generation_config.eos_token_id = own
    assert end_tokens(model, tokenizer) == ends
    for end in ends:
        with _saying(model, [[50, end, 51]] * 5):
            assert generate(model, tokenizer, batch, 3) == [[50, end]] * 5


def test_an_end_token_that_is_ordinary_text_is_not_part_of_the_answer(
    shown: list[Rendered], tokenizer: Any
) -> None:
    tokens = tokenizer("Lima#")["input_ids"]
    ends = {tokens[-1]}
    assert answer_of(tokens, shown[0], tokenizer, ends) == Answer("Lima", "end")
    assert content_length(tokens, shown[0], tokenizer, ends) == 4


def test_no_tokens_are_no_answer(shown: list[Rendered], tokenizer: Any) -> None:
    assert answer_of([], shown[0], tokenizer, {1}) == Answer("", "limit")
    assert content_length([], shown[0], tokenizer, {1}) == 0


def test_the_answer_to_learn_counts_without_its_end(shown: list[Rendered], tokenizer: Any) -> None:
    for each in shown:
        assert content_length(each.answer, each, tokenizer, {1}) == len(each.answer) - 1
