"""Retrieval scores against the paper's definition in plain Python, and against eager attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from needlework import models
from needlework.corpora.corpus import Corpus
from needlework.examples import Example, Needle
from needlework.heads.scores import (
    Instance,
    copy_scores,
    read_mean_scores,
    score_heads,
    write_scores,
)
from needlework.rendering.prompt import render

_LENGTH = 1000
_NEW = 12


def _by_definition(
    attended: NDArray[np.int64], prompt: list[int], needle: set[int], generated: list[int]
) -> list[list[float]]:
    """Wu et al., section 2, word for word: g_h is the set of tokens that a head copied."""
    k = {prompt[position] for position in needle}
    scores = []
    for layer in attended.tolist():
        scores.append([])
        for head in layer:
            g_h = set()
            for w, j in zip(generated, head, strict=True):
                if w in k and j in needle and prompt[j] == w:
                    g_h.add(w)
            scores[-1].append(len(g_h & k) / len(k))
    return scores


# --- The score of one example ------------------------------------------------------------------


def test_a_worked_example() -> None:
    prompt = [9, 5, 6, 7, 6, 9]  # the needle 5 6 7 6 has three distinct tokens
    needle = {1, 2, 3, 4}
    generated = [5, 6, 8, 6]
    attended = np.array(
        [
            [
                [1, 2, 3, 4],  # copies 5 and, twice, 6: two of three
                [1, 3, 3, 3],  # copies 5; at the other steps the token attended to is another
                [0, 0, 5, 5],  # attends outside of the needle
                [2, 4, 2, 2],  # copies 6 from either of its places
                [9, 9, 9, 9],  # attends to what it generated itself
            ]
        ]
    )
    found = copy_scores(attended, prompt, needle, generated)
    assert found.tolist() == [[2 / 3, 1 / 3, 0, 1 / 3, 0]]


def test_a_token_outside_the_needle_does_not_count() -> None:
    # The same token stands before the needle; looking there is not retrieval.
    prompt, needle = [4, 1, 4], {2}
    assert copy_scores(np.array([[[0], [2]]]), prompt, needle, [4]).tolist() == [[0, 1]]


@st.composite
def _cases(draw: st.DrawFn) -> tuple[NDArray[np.int64], list[int], set[int], list[int]]:
    tokens = st.integers(0, 5)  # few, so that tokens repeat and are often copied
    prompt = draw(st.lists(tokens, min_size=1, max_size=12))
    generated = draw(st.lists(tokens, min_size=1, max_size=6))
    places = st.integers(0, len(prompt) - 1)
    needle = draw(st.sets(places, min_size=1))
    positions = st.integers(0, len(prompt) + len(generated) - 2)
    layers, heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = layers * heads * len(generated)
    drawn = draw(st.lists(positions, min_size=size, max_size=size))
    return np.array(drawn).reshape(layers, heads, -1), prompt, needle, generated


@given(_cases())
@settings(deadline=None)
def test_scores_equal_the_definition(
    case: tuple[NDArray[np.int64], list[int], set[int], list[int]],
) -> None:
    found = copy_scores(*case)
    np.testing.assert_allclose(found, _by_definition(*case), rtol=0, atol=1e-12)
    assert found.shape == case[0].shape[:2]
    assert ((found >= 0) & (found <= 1)).all()


# --- The scores of a model ---------------------------------------------------------------------


def _copying(model: Any) -> Any:
    """Peaked attention whose outputs resemble what was attended to: heads that often copy."""
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.q_proj.weight.data *= 20
        attention.k_proj.weight.data *= 20
        value = attention.v_proj.weight.data
        groups = value.reshape(model.config.num_key_value_heads, -1, value.shape[1])
        repeats = model.config.num_attention_heads // len(groups)
        back = torch.cat([group for group in groups for _ in range(repeats)]).T
        attention.o_proj.weight.data = 20 * back
    model.lm_head.weight.data = model.model.embed_tokens.weight.data.clone()
    return model.eval()


@pytest.fixture(scope="module", params=["llama", "mistral-window"])
def model(request: pytest.FixtureRequest, tiny_base: models.Base) -> Any:
    if request.param == "llama":
        return _copying(models.load_model(tiny_base, dtype="float32"))
    sizes = json.loads((Path(tiny_base.path) / "config.json").read_text(encoding="utf-8"))
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
            "bos_token_id", "eos_token_id", "pad_token_id")  # fmt: skip
    torch.manual_seed(0)
    config = hf.MistralConfig(**{key: sizes[key] for key in keys}, sliding_window=400)
    return _copying(hf.MistralForCausalLM(config))


def _generate(model: Any, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=_NEW, do_sample=False
    )
    generated: list[int] = made[0, len(prompt) :].tolist()
    return generated


def _reference(model: Any, example: Example, tokenizer: Any) -> tuple[list[int], list[list[float]]]:
    """One full forward with eager attention over the prompt and what was generated."""
    rendered = render(example, tokenizer, _LENGTH)
    needle = set()
    for found, start, end in rendered.needles:
        assert tokenizer.decode(rendered.prompt[start:end]) == example.needle_text(found)
        needle |= set(range(start, end))
    generated = _generate(model, rendered.prompt)
    sequence = torch.tensor([rendered.prompt + generated[:-1]])
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(sequence, output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation("sdpa")
    attended = torch.stack([layer[0, :, len(rendered.prompt) - 1 :].argmax(-1) for layer in maps])
    return generated, _by_definition(attended.numpy(), rendered.prompt, needle, generated)


@pytest.fixture(scope="module")
def short(corpus: Corpus, tiny_base: models.Base) -> list[Example]:
    """Examples that fit the length with all of their documents."""
    tokenizer = models.load_tokenizer(tiny_base)
    return [render(example, tokenizer, _LENGTH).example for example in corpus.test[:3]]


def _widened(examples: list[Example]) -> list[Example]:
    """Every document is gold and, whole, a needle: then even random heads copy from one."""
    return [
        example.model_copy(
            update={
                "documents": [d.model_copy(update={"gold": True}) for d in example.documents],
                "needles": [
                    Needle(document=document.id, start=0, end=len(document.text), role="answer")
                    for document in example.documents
                ],
            }
        )
        for example in examples
    ]


def test_scores_equal_one_full_pass_with_eager_attention(
    model: Any, tiny_base: models.Base, short: list[Example]
) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    examples = _widened(short)
    found = score_heads(model, tokenizer, examples, length=_LENGTH, max_new_tokens=_NEW)
    assert [instance.id for instance in found] == [example.id for example in examples]
    for instance, example in zip(found, examples, strict=True):
        generated, expected = _reference(model, example, tokenizer)
        text = tokenizer.decode(generated, skip_special_tokens=True).strip()
        assert instance.generated == text
        np.testing.assert_allclose(instance.scores, expected, rtol=0, atol=1e-12)
    assert sum((instance.scores > 0).sum() for instance in found) >= 3  # else nothing was compared


def test_scoring_stops_at_the_end_of_the_sequence(
    tiny_base: models.Base, short: list[Example]
) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    model = _copying(models.load_model(tiny_base, dtype="float32"))
    (example,) = _widened(short[:1])
    made = _generate(model, render(example, tokenizer, _LENGTH).prompt)
    step = next(i for i, token in enumerate(made) if i > 0 and token not in made[:i])
    model.generation_config.eos_token_id = made[step]
    (found,) = score_heads(model, tokenizer, [example], length=_LENGTH, max_new_tokens=_NEW)
    assert found.generated == tokenizer.decode(made[: step + 1]).strip()


def test_an_example_without_an_answer_needle_is_refused(
    tiny_base: models.Base, short: list[Example]
) -> None:
    example = short[0].model_copy(update={"needles": []})
    model, tokenizer = (
        models.load_model(tiny_base, dtype="float32"),
        models.load_tokenizer(tiny_base),
    )
    with pytest.raises(ValueError, match=f"{example.id} has no answer needle"):
        score_heads(model, tokenizer, [example], length=_LENGTH, max_new_tokens=_NEW)


def test_only_answer_needles_count(tiny_base: models.Base, short: list[Example]) -> None:
    """Needles of another role, over whole documents, change no score."""
    tokenizer = models.load_tokenizer(tiny_base)
    model = _copying(models.load_model(tiny_base, dtype="float32"))
    plain = _widened(short[:2])
    bridges, first_only = [], []
    for example in plain:
        answer, *others = example.needles
        first_only.append(example.model_copy(update={"needles": [answer]}))
        others = [needle.model_copy(update={"role": "bridge"}) for needle in others]
        bridges.append(example.model_copy(update={"needles": [answer, *others]}))
    first, second, wide = (
        score_heads(model, tokenizer, examples, length=_LENGTH, max_new_tokens=_NEW)
        for examples in (first_only, bridges, plain)
    )
    assert [i.scores.tolist() for i in first] == [i.scores.tolist() for i in second]
    assert [i.scores.tolist() for i in first] != [i.scores.tolist() for i in wide]


# --- The file ----------------------------------------------------------------------------------


def _instances() -> list[Instance]:
    random = np.random.default_rng(0)
    return [Instance(f"e{i}", ["gold"], f"answer {i}", random.random((2, 3))) for i in range(4)]


def test_the_file_reads_back_and_has_the_layout_of_wu(tmp_path: Path) -> None:
    instances, correct = _instances(), [True, False, True, False]
    path = tmp_path / "m" / "probe.json"
    written = write_scores(path, instances, correct, {"model": "m"})
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document == written
    assert document["metadata"] == {"model": "m"}
    assert (document["layers"], document["heads"]) == (2, 3)
    assert document["instances"][1] == {"id": "e1", "generated": "answer 1", "correct": False}
    heads = ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]  # layer by layer, as in their files
    assert list(document["scores"]) == list(document["mean"]) == heads
    stacked = np.stack([instance.scores for instance in instances])
    for name in heads:
        layer, head = map(int, name.split("-"))
        np.testing.assert_allclose(document["scores"][name], stacked[:, layer, head], atol=1e-6)
        right = stacked[[0, 2], layer, head].mean()
        assert document["mean_correct"][name] == pytest.approx(right, abs=1e-6)
    np.testing.assert_allclose(read_mean_scores(path), stacked.mean(axis=0), atol=1e-6)


def test_without_a_correct_answer_there_is_no_mean_of_them(tmp_path: Path) -> None:
    document = write_scores(tmp_path / "probe.json", _instances(), [False] * 4, {})
    assert document["mean_correct"] is None


def test_a_missing_verdict_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((ValueError, IndexError)):
        write_scores(tmp_path / "probe.json", _instances(), [True] * 3, {})
    assert not (tmp_path / "probe.json").exists()


def test_a_file_without_one_of_its_heads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    document = write_scores(path, _instances(), [True] * 4, {})
    del document["mean"]["1-1"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match=r"probe\.json: 1 heads have no score"):
        read_mean_scores(path)
