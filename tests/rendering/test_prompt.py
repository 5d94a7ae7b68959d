"""What a model is given to read: not too long, nothing gold lost, every needle in place."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework import models
from needlework.corpora.factbook import Corpus, factbook_lookup
from needlework.examples import Document, Example, Needle
from needlework.rendering.prompt import INSTRUCTION, Rendered, render

_LONG = 100_000


@pytest.fixture(scope="module")
def tokenizer(tiny_base: models.Base) -> Any:
    """Its tokens are bytes, so that every span has an exact text."""
    return models.load_tokenizer(tiny_base)


@pytest.fixture(scope="module")
def examples(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


@pytest.fixture(scope="module")
def wide() -> Example:
    """An example of nine documents, so that many can be left out."""
    return factbook_lookup(train=0, validation=0, test=1, documents=9, seed=3).test[0]


def _total(rendered: Rendered) -> int:
    return len(rendered.prompt) + len(rendered.answer)


def _kept(example: Example, rendered: Rendered, tokenizer: Any) -> list[str]:
    """The ids of the documents that the prompt shows, in its order, each counted by its number."""
    prompt = tokenizer.decode(rendered.prompt)
    heads = re.findall(r"^Document \[(\d+)\] (?:\(Title: (.*)\) )?", prompt, flags=re.MULTILINE)
    assert [int(number) for number, _ in heads] == list(range(1, len(heads) + 1))
    ids = {document.title: document.id for document in example.documents}
    assert len(ids) == len(example.documents)
    return [ids[title] for _, title in heads]


def test_a_prompt_is_the_chat_template_around_the_documents_and_the_question(
    examples: list[Example], tokenizer: Any
) -> None:
    for example in examples:
        shown = "".join(
            f"Document [{number}] (Title: {document.title}) {document.text}\n\n"
            for number, document in enumerate(example.documents, start=1)
        )
        assert tokenizer.decode(render(example, tokenizer, _LONG).prompt) == (
            f"<|im_start|>user\n{INSTRUCTION}\n\n{shown}Question: {example.question}<|im_end|>\n"
            "<|im_start|>assistant\nAnswer:"
        )


def test_every_document_is_shown_exactly_once(examples: list[Example], tokenizer: Any) -> None:
    for example in examples:
        rendered = render(example, tokenizer, _LONG)
        prompt = tokenizer.decode(rendered.prompt)
        assert rendered.dropped == 0
        for document in example.documents:
            assert prompt.count(f"(Title: {document.title}) {document.text}\n\n") == 1


def test_a_document_without_a_title_has_no_head_for_it(tokenizer: Any) -> None:
    example = _made("pear", title="")
    prompt = tokenizer.decode(render(example, tokenizer, _LONG).prompt)
    assert "Document [1] nothing here\n\nDocument [2] pear\n\nQuestion: Which?" in prompt
    assert "Title" not in prompt


def test_a_base_model_without_a_chat_template_reads_plain_text(tiny_base: models.Base) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    tokenizer.chat_template = None
    rendered = render(_made("pear"), tokenizer, _LONG)
    prompt = tokenizer.decode(rendered.prompt)
    assert prompt.startswith(f"<|im_start|>{INSTRUCTION}")
    assert prompt.endswith("Question: Which?\nAnswer:")
    (span,) = rendered.needles
    assert tokenizer.decode(rendered.prompt[span.start : span.end]) == "pear"


def test_the_answer_follows_a_space_and_is_closed(examples: list[Example], tokenizer: Any) -> None:
    for example in examples:
        answer = render(example, tokenizer, _LONG).answer
        assert answer[-1] == tokenizer.eos_token_id
        assert answer.count(tokenizer.eos_token_id) == 1
        assert tokenizer.decode(answer[:-1]) == f" {example.answers[0]}"


@pytest.mark.parametrize("length", [_LONG, 1500])
def test_the_tokens_of_a_needle_are_its_text(
    examples: list[Example], tokenizer: Any, length: int
) -> None:
    for example in examples:
        rendered = render(example, tokenizer, length)
        assert [span.needle for span in rendered.needles] == example.needles
        for span in rendered.needles:
            found = tokenizer.decode(rendered.prompt[span.start : span.end])
            assert found == example.needle_text(span.needle)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_what_does_not_fit_is_left_out_but_never_gold(
    wide: Example, tokenizer: Any, share: float
) -> None:
    length = round(share * _total(render(wide, tokenizer, _LONG)))
    rendered = render(wide, tokenizer, length)
    kept = _kept(wide, rendered, tokenizer)
    assert _total(rendered) <= length
    assert 0 < rendered.dropped == len(wide.documents) - len(kept)
    assert kept == [document.id for document in wide.documents if document.id in kept]
    assert {document.id for document in wide.documents if document.gold} <= set(kept)
    prompt = tokenizer.decode(rendered.prompt)
    for document in wide.documents:
        assert prompt.count(document.text) == (document.id in kept)


def test_no_more_is_left_out_than_must_be(wide: Example, tokenizer: Any) -> None:
    """No document that is left out would fit beside those that are shown."""
    whole = _total(render(wide, tokenizer, _LONG))
    assert render(wide, tokenizer, whole).dropped == 0
    for length in [whole - 1, *(round(share * whole) for share in (0.9, 0.8, 0.6, 0.4))]:
        rendered = render(wide, tokenizer, length)
        kept = _kept(wide, rendered, tokenizer)
        assert rendered.dropped > 0
        for document in wide.documents:
            block = f"Document [0] (Title: {document.title}) {document.text}\n\n".encode()
            assert document.id in kept or _total(rendered) + len(block) > length


def test_gold_documents_that_do_not_fit_are_an_error(wide: Example, tokenizer: Any) -> None:
    alone = wide.model_copy(update={"documents": [d for d in wide.documents if d.gold]})
    fits = _total(render(alone, tokenizer, _LONG))
    rendered = render(wide, tokenizer, fits)
    assert _kept(wide, rendered, tokenizer) == [document.id for document in alone.documents]
    with pytest.raises(ValueError, match=f"more than the length of {fits - 1}; raise") as caught:
        render(wide, tokenizer, fits - 1)
    message = f"{wide.id}: the question and its gold documents take {fits} tokens, "
    assert str(caught.value).startswith(message)


def test_which_documents_are_left_out_is_drawn_by_example(wide: Example, tokenizer: Any) -> None:
    whole = _total(render(wide, tokenizer, _LONG))
    lengths = [round(share * whole) for share in (0.9, 0.7, 0.5)]
    other = wide.model_copy(update={"id": "another"})
    drawn = [[render(e, tokenizer, n).prompt for n in lengths] for e in (wide, wide, other)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


_TEXTS = st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=12)


def _made(answer: str, before: str = "", after: str = "", title: str = "t") -> Example:
    text = before + answer + after
    needle = Needle(
        document="gold", start=len(before), end=len(before) + len(answer), role="answer"
    )
    return Example(
        id="made",
        task="t",
        variant="real",
        question="Which?",
        answers=[answer],
        documents=[
            Document(id="first", title="", text="nothing here", gold=False),
            Document(id="gold", title=title, text=text, gold=True),
        ],
        needles=[needle],
        cluster="c",
        source={},
    )


@settings(deadline=None)
@given(st.sampled_from(["pear", "Nuñoa", "日本 1945", "🍐 pear", "$2 "]), _TEXTS, _TEXTS, _TEXTS)
def test_a_needle_is_found_in_any_text(
    tokenizer: Any, answer: str, before: str, after: str, title: str
) -> None:
    rendered = render(_made(answer, before, after, title), tokenizer, _LONG)
    (span,) = rendered.needles
    assert tokenizer.decode(rendered.prompt[span.start : span.end]) == answer


@pytest.mark.slow
def test_with_the_tokenizer_of_the_bundled_model(examples: list[Example], wide: Example) -> None:
    from transformers import AutoTokenizer

    gguf = models.bundled_gguf()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    for example in [*examples, wide]:
        rendered = render(example, tokenizer, 500)
        prompt = tokenizer.decode(rendered.prompt)
        assert _total(rendered) <= 500
        assert prompt.startswith("<|im_start|>system\n")
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\nAnswer:")
        assert tokenizer.decode(rendered.answer) == f" {example.answers[0]}<|im_end|>"
        (span,) = rendered.needles
        needle, tokens = example.needle_text(span.needle), rendered.prompt[span.start : span.end]
        # A token may hold a space or a quotation mark beside the needle, but none is too many.
        assert needle in tokenizer.decode(tokens)
        assert needle not in tokenizer.decode(tokens[1:])
        assert needle not in tokenizer.decode(tokens[:-1])
