"""Each style shows its parts where it says they are, and the published prompts word for word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.examples import Document
from needlework.rendering.prompt import message_of
from needlework.rendering.styles import style_of, styles

_TEXTS = st.text(max_size=12) | st.sampled_from(
    ["{", "}", "{text}", "{title}", "{0}", "{number!r}"]
)
_FIELDS = {"rule": "If A then B."}


def _document(text: str, title: str = "") -> Document:
    return Document(id="d", title=title, text=text, gold=True)


@pytest.mark.parametrize("name", styles())
@given(_TEXTS, _TEXTS, st.integers(1, 2000))
def test_a_block_shows_its_text_and_its_number_where_it_says(
    name: str, text: str, title: str, number: int
) -> None:
    style, document = styles()[name], _document(text, title)
    block = style.block(document, number)
    start = style.text_start(document, number)
    assert block[start : start + len(text)] == text
    mark = "\ue000 where the text is \ue001"
    assert style.block(_document(mark, title), number).index(mark) == start
    inside = style.number_span(number)
    assert (inside is None) == ("{number}" not in style.document)
    if inside is not None:
        assert block[inside[0] : inside[1]] == str(number)
        assert f"{block[inside[0] - 1]}{block[inside[1]]}" in ("[]", " :")


@pytest.mark.parametrize("name", styles())
@given(_TEXTS, _TEXTS)
def test_braces_are_no_placeholders(make: Any, name: str, text: str, title: str) -> None:
    example = make([_document(f"{text}{{question}}", title)], style=name, fields=_FIELDS)
    example = example.model_copy(update={"question": "Is {rule} or {}?"})
    message = message_of(example)
    assert f"{text}{{question}}" in message
    assert "Is {rule} or {}?" in message


@pytest.mark.parametrize("name", styles())
def test_a_message_is_before_the_blocks_and_after(make: Any, name: str) -> None:
    documents = [
        Document(id=f"{i}", title=f"T{i}", text=f"text {i}", gold=i == 1) for i in range(3)
    ]
    style = styles()[name]
    blocks = "".join(style.block(document, i + 1) for i, document in enumerate(documents))
    message = message_of(make(documents, style=name, fields=_FIELDS))
    before, found, after = message.partition(blocks)
    assert found
    asked = "What is the secret of the thing?"
    assert before == style.before.format(question=asked, **_FIELDS)
    assert after == style.after.format(question=asked)


def test_a_document_without_a_title_has_no_head_for_it() -> None:
    assert styles()["documents"].block(_document("x", "T"), 3) == "Document [3] (Title: T) x\n\n"
    assert styles()["documents"].block(_document("x"), 3) == "Document [3] x\n\n"
    assert styles()["mdqa"].block(_document("x", "T"), 12) == "Document [12](Title: T) x\n"


def test_an_unknown_style_is_named_with_those_there_are(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^made: there is no style 'document'; known: ") as caught:
        style_of(make([_document("x")], style="document"))
    listed = str(caught.value).rpartition("known: ")[2].split(", ")
    assert listed == list(styles())
    assert {"documents", "mdqa", "citation", "dictionaries", "haystack"} <= set(listed)


def test_a_field_that_a_style_needs_is_asked_for(make: Any) -> None:
    with pytest.raises(ValueError, match=r"^made: the style 'flenqa-ruletaker' needs the field 'r"):
        message_of(make([_document("x")], style="flenqa-ruletaker"))


def test_lost_in_the_middle_is_the_published_prompt(make: Any) -> None:
    """Liu et al. 2024: their qa.prompt, whose last line opens the reply."""
    documents = [
        Document(id="a", title="First", text="One.", gold=True),
        Document(id="b", title="Second", text="Two.", gold=False),
    ]
    example = make(documents, style="mdqa")
    assert f"{message_of(example)}\n{style_of(example).opening}" == (
        "Write a high-quality answer for the given question using only the provided search "
        "results (some of which might be irrelevant).\n"
        "\n"
        "Document [1](Title: First) One.\n"
        "Document [2](Title: Second) Two.\n"
        "\n"
        "Question: What is the secret of the thing?\n"
        "Answer:"
    )


def test_dictionaries_are_shown_as_published(make: Any) -> None:
    """Xiong et al. 2024: as their released generator writes a row, without the last line end."""
    question = (
        "Above is a list of dictionaries such that each key and value is an integer. Report the "
        "value of key 4548 and the dictionary it is in."
    )
    documents = [
        Document(id="a", title="Dictionary [1]", text="{122: 765, 4548: 1475}", gold=True),
        Document(id="b", title="Dictionary [2]", text="{9: 8}", gold=False, unit="entry"),
    ]
    example = make(documents, style="dictionaries").model_copy(update={"question": question})
    assert style_of(example).opening == ""
    assert style_of(example).cut == "last"
    assert message_of(example) == (
        "Do a task using the list of dictionaries below.\n"
        "\n"
        "Dictionary [1] {122: 765, 4548: 1475}\n"
        "Dictionary [2] {9: 8}\n"
        "\n"
        f"{question}"
    )


def test_only_published_contexts_are_never_cut_and_only_reasoning_runs_on() -> None:
    assert {name for name, style in styles().items() if style.whole} == {
        name for name in styles() if name.startswith("flenqa-")
    }
    assert {name for name, style in styles().items() if style.stop == "end"} == {
        name for name in styles() if name.endswith("-cot")
    }
