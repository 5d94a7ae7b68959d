"""Where heads looked: tokens found again by their text, and whole maps of eager attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from needlework.corpora.corpus import Corpus
from needlework.examples import Document, Example
from needlework.heads.attended import Place, token_places, top_heads, trace
from needlework.heads.score_file import HeadScores, Instance, Layer
from needlework.rendering.prompt import Rendered, render
from needlework.rendering.styles import styles
from tests.heads.probing import LENGTH, built, copying, example, examples, found, maps
from tests.rendering.joining import joining_lines

_OUTSIDE = Place(None, 0, 0)
_LONG = 100_000
# Characters of one byte to four, a mark on the letter before it, the name of a control token.
_PARTS = ["a", " ", "\n", ".", "é", "東", "🦙", "\u0301", "<|im_end|>"]
_TEXTS = st.lists(st.sampled_from(_PARTS), max_size=8).map("".join)


# --- Places --------------------------------------------------------------------------------------


def _bytes(rendered: Rendered, tokenizer: Any) -> bytes:
    """The prompt; every token is a byte, those that open and close turns are made one."""
    special = set(tokenizer.all_special_ids)
    names = [tokenizer.convert_ids_to_tokens(t) for t in rendered.prompt if t not in special]
    text = iter(tokenizer.convert_tokens_to_string(names).encode())
    return bytes(0 if token in special else next(text) for token in rendered.prompt)


def _expected(rendered: Rendered, texts: dict[str, str], tokenizer: Any) -> list[Place]:
    """The place of each token, from texts that are in the prompt once."""
    prompt = _bytes(rendered, tokenizer)
    places = [_OUTSIDE] * len(prompt)
    for name, text in texts.items():
        shown = text.replace("<|im_end|>", "*|im_end|>")
        assert prompt.count(shown.encode()) == 1
        at = prompt.index(shown.encode())
        for index, character in enumerate(shown):
            for _ in character.encode():
                places[at] = Place(name, index, index + 1)
                at += 1
    return places


@pytest.mark.parametrize("style", styles())
@given(texts=st.lists(_TEXTS, min_size=1, max_size=3), title=_TEXTS)
def test_every_style_and_every_character(
    tokenizer: Any, style: str, texts: list[str], title: str
) -> None:
    marked = {f"{i}": f"⟦{i}⟧{text}⟧" for i, text in enumerate(texts)}
    made = example("any", list(marked.values()), [(0, "insight", "⟦0⟧")], style=style)
    titled = [d.model_copy(update={"title": title}) for d in made.documents]
    fields = {"fields": {"rule": title}}
    made = made.model_copy(update={"documents": titled, "source": fields})
    rendered = render(made, tokenizer, _LONG)
    assert token_places(rendered, made, tokenizer) == _expected(rendered, marked, tokenizer)


def test_the_ends_of_distractors_are_not_where_they_are_cut_off(tokenizer: Any) -> None:
    texts = [f"{{'{key}1': 'u', '{key}2': 'v', '{key}3': 'w'}}" for key in "abcde"]
    documents = [
        Document(id=key, title=f"[{key}]", text=text, gold=key == "b", unit="entry")
        for key, text in zip("abcde", texts, strict=True)
    ]
    made = example("cut", texts, [], style="dictionaries").model_copy(
        update={"documents": documents}
    )
    whole = render(made, tokenizer, _LONG)
    rendered = render(made, tokenizer, whole.length - 45)
    cut = {d.id: d.text for d in rendered.example.documents}
    shorter = [name for name, text in cut.items() if text not in texts]
    assert shorter
    for name in shorter:
        assert cut[name].endswith("}")
    kept = {name: text[:-1] if name in shorter else text for name, text in cut.items()}
    assert token_places(rendered, made, tokenizer) == _expected(rendered, kept, tokenizer)


def test_what_a_template_strips_is_not_shown(tokenizer: Any) -> None:
    stripping = joining_lines(tokenizer)  # any tokenizer that is a copy
    stripping.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'] | trim")
    made = example("stripped", ["  Lima is here."], [(0, "answer", "Lima")], style="flenqa-pir")
    rendered = render(made, stripping, _LONG)
    places = token_places(rendered, made, stripping)
    shown = [place for place in places if place.document is not None]
    assert shown == [Place("0", i, i + 1) for i in range(2, len("  Lima is here."))]


def test_a_token_that_reaches_beyond_a_text_is_where_its_part_of_it_is(tokenizer: Any) -> None:
    joining = joining_lines(tokenizer)
    made = example("joined", ["Lima\n", "Cuzco"], [(0, "answer", "Lima")], style="mdqa")
    rendered = render(made, joining, _LONG)
    places = token_places(rendered, made, joining)
    (both,) = [i for i, place in enumerate(places) if place == Place("0", 4, 5)]
    assert joining.decode([rendered.prompt[both]]) == "\n\n"
    assert places[both - 4 : both] == [Place("0", i, i + 1) for i in range(4)]


@pytest.fixture(scope="module")
def words(corpus: Corpus, tokenizer: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of words and parts of words, in the tiny model's template."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    made.train_from_iterator((d.text for each in corpus.train for d in each.documents), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|im_start|>", eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )  # fmt: skip
    fast.chat_template = tokenizer.chat_template
    return fast


@pytest.mark.parametrize("length", [450, 600, _LONG])
def test_the_text_between_start_and_end_is_that_of_the_token(
    corpus: Corpus, words: Any, length: int
) -> None:
    for each in [*corpus.train, *corpus.test]:
        rendered = render(each, words, length)
        places = token_places(rendered, each, words)
        texts = {document.id: document.text for document in each.documents}
        covered: dict[str, set[int]] = {name: set() for name in texts}
        for token, (name, start, end) in zip(rendered.prompt, places, strict=True):
            if name is not None:
                text = words.decode([token])
                # The space before a document is not of its text, nor the line end after it.
                assert "\ufffd" in text or texts[name][start:end].strip() == text.strip()
                covered[name] |= set(range(start, end))
        for document in rendered.example.documents:
            assert texts[document.id].startswith(document.text)
            assert covered.pop(document.id) == set(range(len(document.text)))
        assert not any(covered.values())


def test_another_tokenizer_is_refused(tokenizer: Any, words: Any) -> None:
    (made, *_) = examples()
    rendered = render(made, words, LENGTH)
    with pytest.raises(ValueError, match="bridged: the prompt has other tokens"):
        token_places(rendered, made, tokenizer)


# --- Attention -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "lfm2", "llama-adapter"])
@pytest.mark.parametrize("answer", ["Lima", "minerals to Callao", "é"])
def test_a_row_is_where_eager_attention_is_highest(
    tokenizer: Any, family: str, answer: str
) -> None:
    model = built(family) if family == "lfm2" else copying(family, tokenizer)
    layers = [1] if family == "lfm2" else [0, 1]
    heads = [(layer, head) for layer in layers for head in (0, 3, 15)]
    anywhere = set()
    for each in examples():
        rendered = render(each, tokenizer, LENGTH)
        traced = trace(
            model, tokenizer, rendered, token_places(rendered, each, tokenizer), answer, heads
        )
        given_ = tokenizer(f" {answer}")["input_ids"]
        assert "".join(traced["tokens"]) == f" {answer}"
        assert len(traced["tokens"]) == len(given_)
        attention = maps(model, [*rendered.prompt, *given_])
        starts = {d.id: min(found(rendered.prompt, d.text, tokenizer)) for d in each.documents}
        for layer, head in heads:
            rows = _by_row(traced["spans"][f"{layer}-{head}"])
            assert sorted(rows) == list(range(len(given_)))
            for row, place in rows.items():
                here = attention[layers.index(layer), head, len(rendered.prompt) - 1 + row]
                anywhere.add(place)
                assert place == _place(int(here.argmax()), each, starts)
    assert len(anywhere) > 5
    assert _OUTSIDE in anywhere


def _by_row(spans: list[list[Any]]) -> dict[int, Place]:
    rows = {row: Place(*place) for *place, numbers in spans for row in numbers}
    assert len(rows) == sum(len(numbers) for *_, numbers in spans)
    assert len({tuple(place) for *place, _ in spans}) == len(spans)
    return rows


def _place(position: int, given: Example, starts: dict[str, int]) -> Place:
    """Tokens are characters here."""
    for document in given.documents:
        if 0 <= position - starts[document.id] < len(document.text):
            at = position - starts[document.id]
            return Place(document.id, at, at + 1)
    return _OUTSIDE


def test_an_empty_answer_has_no_tokens(tokenizer: Any) -> None:
    (made, *_) = examples()
    rendered = render(made, tokenizer, LENGTH)
    places = token_places(rendered, made, tokenizer)
    traced = trace(copying("llama", tokenizer), tokenizer, rendered, places, "", [(0, 1), (1, 2)])
    assert traced == {"tokens": [], "spans": {"0-1": [], "1-2": []}}


def test_without_heads_there_are_tokens_alone(tokenizer: Any) -> None:
    (made, *_) = examples()
    rendered = render(made, tokenizer, LENGTH)
    places = token_places(rendered, made, tokenizer)
    traced = trace(copying("llama", tokenizer), tokenizer, rendered, places, "né", [])
    # A character of two tokens stands in its last.
    assert traced == {"tokens": [" ", "n", "", "é"], "spans": {}}


def test_heads_of_another_model_are_refused(tokenizer: Any) -> None:
    (made, *_) = examples()
    rendered = render(made, tokenizer, LENGTH)
    places = token_places(rendered, made, tokenizer)
    with pytest.raises(ValueError, match="layer 0 has no attention heads"):
        trace(built("lfm2"), tokenizer, rendered, places, "Lima", [(0, 1)])


# --- Heads ---------------------------------------------------------------------------------------


def test_the_best_heads_first() -> None:
    scores = np.array(
        [[[0.2, 0.0, 0.4], [0.4, 0.1, np.nan]], [[0.0, 0.0, 0.4], [0.4, 0.3, np.nan]]]
    )
    layers = [Layer(attention="full", heads=count, kv_heads=1) for count in (3, 2)]
    instances = [Instance(id=name, cluster=name, generated="", correct=True) for name in ("a", "b")]
    probe = {"probe": {"kind": "copy", "role": "answer", "instances": "all"}}
    given_ = HeadScores(probe, layers, instances, {"copy/answer": scores}, {})
    best = [(0, 2, 0.4), (1, 0, 0.4), (1, 1, 0.2), (0, 0, 0.1)]
    assert top_heads(given_, 20) == best
    assert top_heads(given_, 1) == best[:1]
