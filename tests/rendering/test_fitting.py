"""A context is cut to a length: close to it, never above, and only where its texts may end."""

from __future__ import annotations

import ast
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.examples import Document, Example
from needlework.rendering.fitting import Fitting, without_distractors
from needlework.rendering.prompt import CLOSE, message_of, render
from needlework.rendering.room import Room
from needlework.rendering.styles import style_of

_ALL = [
    (family, template)
    for family in ("byte-level", "sentencepiece-bpe", "sentencepiece-unigram")
    for template in ("chatml", "llama3", "mistral", "none")
]
_UNITS = ["word", "sentence", "entry"]
_GOLD = {
    "word": "As is well known, the secret is XYZZ, and it was never told.",
    "sentence": "The secret is XYZZ.",
    "entry": "GOLD {'AAAA': 'BBBB', 'ABCD': 'XYZZ'}",
}


def _example(
    unit: str, seed: int, length: int, tokenizer: Any, distractors: Any, make: Any, surplus: float
) -> Example:
    gold = Document.model_validate(
        {"id": "gold", "title": "", "text": _GOLD[unit], "gold": True, "unit": unit}
    )
    room = Room([tokenizer], round(surplus * length))
    documents = room.fill([gold], distractors(unit, seed))
    random.Random(seed).shuffle(documents)
    start = gold.text.index("XYZZ")
    return make(documents, [("gold", start, start + 4)], name=f"{unit}-{seed}")


def _check_pieces(example: Example, shown: Example) -> None:
    """What is shown are the documents in their order, each a beginning of itself; gold is whole."""
    texts = {document.id: document for document in example.documents}
    order = [document.id for document in example.documents]
    places = [order.index(document.id) for document in shown.documents]
    assert places == sorted(set(places))
    for document in example.documents:
        if document.gold:
            assert document in shown.documents
    for document in shown.documents:
        whole = texts[document.id].text
        assert document.model_copy(update={"text": whole}) == texts[document.id]
        if document.text == whole:
            continue
        if document.unit == "entry":
            assert document.text.endswith("}")
            assert whole.startswith(f"{document.text[:-1]}, ")
            _check_entries(whole, document.text)
        else:
            assert whole.startswith(document.text)
            assert whole[len(document.text)].isspace()
            assert document.text[-1] in ".!?" or document.unit == "word"


def _check_entries(whole: str, shown: str) -> None:
    """A dictionary has the first entries of the whole, read as Python reads them."""
    entries = [list(ast.literal_eval(text[text.index("{") :]).items()) for text in (whole, shown)]
    assert 0 < len(entries[1]) < len(entries[0])
    assert entries[0][: len(entries[1])] == entries[1]


@pytest.mark.parametrize("unit", _UNITS)
@pytest.mark.parametrize(("length", "count"), [(256, 4), (352, 4), (1024, 2), (4096, 1)])
def test_prompt_and_answer_take_a_length_but_for_one_percent(
    reader: Any, distractors: Any, make: Any, unit: str, length: int, count: int
) -> None:
    short = []
    for family, template in _ALL:
        tokenizer = reader(family, template)
        for seed in range(count):
            example = _example(unit, seed, length, tokenizer, distractors, make, surplus=4)
            rendered = render(example, tokenizer, length)
            assert rendered.length <= length
            if rendered.length < CLOSE * length:
                short.append(rendered.length)
            _check_pieces(example, rendered.example)
            assert rendered.dropped == len(example.documents) - len(rendered.example.documents)
            assert rendered.dropped > 0
            (span,) = rendered.needles
            found = tokenizer.decode(rendered.prompt[span.start : span.end])
            assert found.strip(" '{,") == "XYZZ"
    # An entry takes about ten tokens: a few dictionaries do not add up to every short length.
    assert len(short) <= (unit == "entry" and length == 256), short


@pytest.mark.parametrize("unit", _UNITS)
def test_with_just_enough_distractors_a_length_is_met(
    reader: Any, distractors: Any, make: Any, unit: str
) -> None:
    for family, template in _ALL[::3]:
        tokenizer = reader(family, template)
        example = _example(unit, 5, 2048, tokenizer, distractors, make, surplus=1)
        assert CLOSE * 2048 <= render(example, tokenizer, 2048).length <= 2048


def test_where_one_choice_of_distractors_falls_short_another_is_made(
    reader: Any, distractors: Any, make: Any
) -> None:
    for key in _ALL:
        tokenizer = reader(*key)
        for seed in range(4):
            example = _example("word", seed, 256, tokenizer, distractors, make, surplus=1.5)
            assert CLOSE * 256 <= render(example, tokenizer, 256).length <= 256


def test_where_a_few_ends_do_not_add_up_more_are_tried(
    tokenizer: Any, distractors: Any, make: Any
) -> None:
    """To a tokenizer of bytes all entries are of one size."""
    for seed in range(12):
        example = _example("entry", seed, 600, tokenizer, distractors, make, surplus=3)
        assert CLOSE * 600 <= render(example, tokenizer, 600).length <= 600


def test_a_context_of_32k_tokens_is_met(reader: Any, distractors: Any, make: Any) -> None:
    length = 32_768
    for key in [("byte-level", "llama3"), ("sentencepiece-bpe", "mistral")]:
        tokenizer = reader(*key)
        example = _example("word", 1, length, tokenizer, distractors, make, surplus=1)
        rendered = render(example, tokenizer, length)
        assert CLOSE * length <= rendered.length <= length
        _check_pieces(example, rendered.example)


@settings(max_examples=40)
@given(
    st.integers(0, 10_000), st.sampled_from(_UNITS), st.integers(100, 900), st.sampled_from(_ALL)
)
def test_at_any_length_nothing_is_cut_but_ends(
    reader: Any, distractors: Any, make: Any, seed: int, unit: str, length: int, key: Any
) -> None:
    tokenizer = reader(*key)
    example = _example(unit, seed, 700, tokenizer, distractors, make, surplus=1)
    bare = render(without_distractors(example), tokenizer, 10_000)
    if bare.length > length:
        with pytest.raises(ValueError, match=f"take {bare.length} tokens, more than the length"):
            render(example, tokenizer, length)
        return
    rendered = render(example, tokenizer, length)
    assert bare.length <= rendered.length <= length
    _check_pieces(example, rendered.example)
    assert Example.model_validate(rendered.example.model_dump()) == rendered.example
    shown = render(rendered.example, tokenizer, length + 100)
    assert (shown.prompt, shown.answer) == (rendered.prompt, rendered.answer)


def test_the_same_example_is_cut_alike_and_another_is_not(
    reader: Any, distractors: Any, make: Any
) -> None:
    tokenizer = reader("byte-level", "chatml")
    example = _example("word", 2, 1024, tokenizer, distractors, make, surplus=3)
    first, again = render(example, tokenizer, 1024), render(example, tokenizer, 1024)
    assert first == again
    other = render(example.model_copy(update={"id": "another"}), tokenizer, 1024)
    ids = [{document.id for document in r.example.documents} for r in (first, other)]
    assert ids[0] != ids[1]


def test_all_that_fits_is_shown_whole(reader: Any, distractors: Any, make: Any) -> None:
    for family, template in _ALL:
        tokenizer = reader(family, template)
        example = _example("word", 3, 900, tokenizer, distractors, make, surplus=1)
        whole = render(example, tokenizer, 10_000)
        assert whole.dropped == 0
        assert whole.example == example
        assert render(example, tokenizer, whole.length + 2).example == example
        cut = render(example, tokenizer, whole.length - 1)
        assert cut.example != example
        assert cut.length <= whole.length - 1


# Dictionaries by number: the answer names one, so those that are left out are the last.


def _dictionaries(count: int, gold: int, make: Any, *, tuples: bool, seed: int) -> Example:
    rng = random.Random(seed)

    def key() -> Any:
        return (
            tuple(rng.sample(range(100, 999), rng.randint(2, 3)))
            if tuples
            else rng.randint(100, 9999)
        )

    documents = []
    for i in range(count):
        pairs = {key(): rng.randint(100, 8999) for _ in range(rng.randint(3, 4))}
        if i == gold:
            pairs[key()] = 9876
        documents.append(
            Document(
                id=f"d{i + 1}", title=f"Dictionary [{i + 1}]", text=str(pairs), gold=i == gold,
                unit="entry",
            )
        )  # fmt: skip
    start = documents[gold].text.index("9876")
    return make(
        documents, [(f"d{gold + 1}", start, start + 4)], name=f"d{seed}", style="dictionaries",
        answers=[f"The value is 9876 and it is in Dictionary [{gold + 1}]."],
    )  # fmt: skip


@pytest.mark.parametrize("tuples", [False, True])
@pytest.mark.parametrize("length", [352, 777, 1024, 2048])
def test_dictionaries_by_number_are_left_out_from_the_end(
    reader: Any, make: Any, length: int, tuples: bool
) -> None:
    for number, key in enumerate(_ALL):
        tokenizer = reader(*key)
        example = _dictionaries(90, number % 4, make, tuples=tuples, seed=number)
        rendered = render(example, tokenizer, length)
        assert rendered.length <= length
        titles = [document.title for document in rendered.example.documents]
        assert titles == [f"Dictionary [{i + 1}]" for i in range(len(titles))]
        assert 4 <= len(titles) < 90
        _check_pieces(example, rendered.example)
        if length >= 1024:
            assert rendered.length >= CLOSE * length
        prompt = tokenizer.decode(rendered.prompt)
        shown = re.findall(r"^Dictionary \[\d+\] (\{.*\})$", prompt, flags=re.MULTILINE)
        assert shown == [document.text for document in rendered.example.documents]


def test_without_gaps_the_end_is_left_out_whatever_the_budget(reader: Any, make: Any) -> None:
    tokenizer = reader("byte-level", "chatml")
    example = _dictionaries(30, 0, make, tuples=False, seed=1)
    fitting = Fitting(example, style_of(example), tokenizer, 600)
    for budget in range(0, 600, 7):
        cut = fitting.cut(budget)
        numbers = [int(document.id[1:]) for document in cut.documents]
        assert numbers == list(range(1, len(numbers) + 1))
        _check_pieces(example, cut)


def test_a_budget_is_kept_about_to_the_token(reader: Any, distractors: Any, make: Any) -> None:
    """The parts are measured apart; together they take a token more or less each."""
    for key in _ALL:
        tokenizer = reader(*key)
        for unit in _UNITS:
            example = _example(unit, 4, 800, tokenizer, distractors, make, surplus=2)
            bare = render(without_distractors(example), tokenizer, 10_000).length
            fitting = Fitting(example, style_of(example), tokenizer, 800)
            for budget in (150, 300, 600):
                cut = fitting.cut(budget)
                taken = render(cut, tokenizer, 10_000).length - bare
                assert abs(taken - budget) <= 2 * len(cut.documents) + 0.06 * budget, key


def test_quoted_names_and_values_with_commas_are_not_cut_inside(reader: Any, make: Any) -> None:
    tokenizer = reader("byte-level", "none")
    body = {f"Key {i} of, many": f"a, b{i}" for i in range(12)} | {"k": "v", "l": "w"}
    documents = [
        Document(id="gold", title="", text="GOLD {'a': 'b'}", gold=True),
        Document(id="d", title="", text=f"NAME {body}", gold=False, unit="entry"),
    ]
    example = make(documents)
    most = render(example, tokenizer, 10_000).length
    cuts = [render(example, tokenizer, length).example for length in range(most - 60, most, 3)]
    for cut in cuts:
        _check_pieces(example, cut)
    assert any(len(cut.documents) == 2 for cut in cuts)


def test_without_distractors_only_gold_is_left(reader: Any, distractors: Any, make: Any) -> None:
    example = _example("word", 0, 500, reader("byte-level", "none"), distractors, make, surplus=1)
    bare = without_distractors(example)
    assert [document.id for document in bare.documents] == ["gold"]
    assert "XYZZ" in message_of(bare)


def test_prose_without_spaces_is_cut_between_characters(reader: Any, make: Any) -> None:
    tokenizer = reader("byte-level", "chatml")
    text = "長い文脈を使う言語モデルを教える合成データ" * 40
    documents = [
        Document(id="gold", title="", text="The secret is XYZZ.", gold=True),
        *(Document(id=str(i), title="", text=text, gold=False) for i in range(3)),
    ]
    example = make(documents, [("gold", 14, 18)], name="cjk")
    assert CLOSE * 700 <= render(example, tokenizer, 700).length <= 700
