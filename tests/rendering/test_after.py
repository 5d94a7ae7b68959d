"""Where the question's rows begin: at the first token of what follows the documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from needlework.examples import Document, Example
from needlework.rendering.prompt import render
from needlework.rendering.styles import styles
from tests.rendering.joining import joining_lines

_LONG = 100_000
_TAIL = "<|im_end|>\n<|im_start|>assistant\n"
_TRIMS = "{% for m in messages %}[INST] {{ m['content'] | trim }} [/INST]{% endfor %}"


def _example(make: Any, style: str) -> Example:
    documents = [
        Document(id="a", title="First", text="  Here is one.", gold=True),
        Document(id="b", title="Second", text="Here we go. " * 20, gold=False, unit="sentence"),
        Document(id="c", title="Third", text="And the end", gold=True),
    ]
    made: Example = make(documents, style=style, fields={"rule": "All is so."})
    return made


@pytest.mark.parametrize("name", styles())
def test_after_the_documents_the_question_and_the_reply_are_left(
    tokenizer: Any, make: Any, name: str
) -> None:
    style, example = styles()[name], _example(make, name)
    rendered = render(example, tokenizer, _LONG)
    follows = f"{style.after.format(question=example.question)}{_TAIL}{style.opening}"
    assert tokenizer.decode(rendered.prompt[rendered.after :]) == follows
    before = tokenizer.decode(rendered.prompt[: rendered.after])
    assert before.endswith(style.block(example.documents[-1], 3))


@pytest.mark.parametrize("name", [name for name, style in styles().items() if not style.whole])
def test_it_moves_where_distractors_are_left_out(tokenizer: Any, make: Any, name: str) -> None:
    example = _example(make, name)
    whole = render(example, tokenizer, _LONG)
    rendered = render(example, tokenizer, whole.length - 40)
    assert rendered.after < whole.after
    assert rendered.prompt[rendered.after :] == whole.prompt[whole.after :]


@pytest.mark.parametrize("name", styles())
def test_a_template_that_trims_the_message_moves_it_too(
    tokenizer: Any, make: Any, name: str
) -> None:
    """The message of some styles begins with the spaces of a document, or ends with a line end."""
    style, example = styles()[name], _example(make, name)
    trimming = copy.deepcopy(tokenizer)
    trimming.chat_template = _TRIMS
    rendered = render(example, trimming, _LONG)
    follows = f"{style.after.format(question=example.question).rstrip()} [/INST]{style.opening}"
    assert trimming.decode(rendered.prompt[rendered.after :]) == follows


@pytest.mark.parametrize("name", ["mdqa", "dictionaries", "haystack"])
def test_a_token_of_both_is_of_what_follows(tokenizer: Any, make: Any, name: str) -> None:
    """The last document's line end and the one after it are one token to most tokenizers."""
    style, example = styles()[name], _example(make, name)
    joining = joining_lines(tokenizer)
    rendered = render(example, joining, _LONG)
    assert joining.decode(rendered.prompt[rendered.after]) == "\n\n"
    follows = f"{style.after.format(question=example.question)}{_TAIL}{style.opening}"
    assert joining.decode(rendered.prompt[rendered.after :]) == f"\n{follows}"
