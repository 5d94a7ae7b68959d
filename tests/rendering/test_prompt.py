"""What a model is given to read: not too long, nothing gold lost, the answer closed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from needlework import models
from needlework.corpora.corpus import Corpus
from needlework.examples import Document, Example, citation
from needlework.rendering.prompt import Rendered, message_of, render
from needlework.rendering.styles import styles
from needlework.synthesis.building import needles_are_exact

_LONG = 100_000


@pytest.fixture(scope="module")
def examples(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def _kept(example: Example, rendered: Rendered, tokenizer: Any) -> list[str]:
    """The titles of the documents that the prompt shows, in its order, counted from 1."""
    prompt = tokenizer.decode(rendered.prompt)
    titles = "|".join(re.escape(document.title) for document in example.documents)
    heads = re.findall(rf"^Document \[(\d+)\] \(Title: ({titles})\) ", prompt, flags=re.MULTILINE)
    assert [int(number) for number, _ in heads] == list(range(1, len(heads) + 1))
    return [title for _, title in heads]


def test_a_prompt_is_the_chat_template_around_the_message(
    examples: list[Example], tokenizer: Any
) -> None:
    for example in examples:
        shown = "".join(
            f"Document [{number}] (Title: {document.title}) {document.text}\n\n"
            for number, document in enumerate(example.documents, start=1)
        )
        message = f"{styles()['documents'].before}{shown}Question: {example.question}"
        assert message_of(example) == message
        rendered = render(example, tokenizer, _LONG)
        assert rendered.dropped == 0
        assert rendered.example == example
        assert tokenizer.decode(rendered.prompt) == (
            f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\nAnswer:"
        )


def test_a_base_model_without_a_chat_template_reads_plain_text(
    examples: list[Example], reader: Any
) -> None:
    tokenizer = reader("byte-level", "none")
    prompt = tokenizer.decode(render(examples[0], tokenizer, _LONG).prompt)
    assert prompt == f"<s>{message_of(examples[0])}\nAnswer:"


def test_the_answer_follows_a_space_and_is_closed(examples: list[Example], tokenizer: Any) -> None:
    for example in examples:
        answer = render(example, tokenizer, _LONG).answer
        assert answer[-1] == tokenizer.eos_token_id
        assert answer.count(tokenizer.eos_token_id) == 1
        assert tokenizer.decode(answer[:-1]) == f" {example.answers[0]}"


@pytest.mark.parametrize("template", ["chatml", "llama3", "mistral", "none"])
@pytest.mark.parametrize("family", ["byte-level", "sentencepiece-bpe", "sentencepiece-unigram"])
def test_an_answer_has_the_tokens_that_it_has_in_a_text(
    reader: Any, make: Any, family: str, template: str
) -> None:
    """One space before its first word, whether or not the tokenizer puts one before a text."""
    tokenizer = reader(family, template)
    for answer in ["the capital", "1945", "🍐 pear"]:
        text = f"it is here: {answer}"
        document = Document(id="d", title="", text=text, gold=True)
        start = text.index(answer)
        example = make([document], [("d", start, len(text))], answers=[answer])
        (span,) = (rendered := render(example, tokenizer, _LONG)).needles
        in_text = rendered.prompt[span.start : span.end]
        space = tokenizer.convert_ids_to_tokens(rendered.prompt[span.start - 1])
        if space in ("▁", "Ġ"):
            in_text = [rendered.prompt[span.start - 1], *in_text]
        assert rendered.answer == [*in_text, tokenizer.eos_token_id]


def test_an_answer_after_no_opening_is_bare(reader: Any, make: Any) -> None:
    tokenizer = reader("byte-level", "chatml")
    document = Document(id="d", title="Dictionary [1]", text="{1: 2}", gold=True)
    rendered = render(make([document], answers=["It is 2."], style="dictionaries"), tokenizer, 999)
    assert tokenizer.decode(rendered.prompt).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(rendered.answer) == "It is 2.</s>"


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
    examples: list[Example], tokenizer: Any, share: float
) -> None:
    for example in examples:
        gold = [document.title for document in example.documents if document.gold]
        length = round(share * render(example, tokenizer, _LONG).length)
        rendered = render(example, tokenizer, length)
        kept = _kept(example, rendered, tokenizer)
        assert 0.99 * length <= rendered.length <= length
        assert kept == [document.title for document in rendered.example.documents]
        assert rendered.dropped == len(example.documents) - len(kept)
        assert [title for title in kept if title in gold] == gold
        prompt = tokenizer.decode(rendered.prompt)
        for document in example.documents:
            if document.gold:
                assert prompt.count(f"(Title: {document.title}) {document.text}\n\n") == 1


def test_gold_documents_that_do_not_fit_are_an_error(
    examples: list[Example], tokenizer: Any
) -> None:
    example = examples[0]
    alone = example.model_copy(update={"documents": [d for d in example.documents if d.gold]})
    fits = render(alone, tokenizer, _LONG).length
    assert render(example, tokenizer, fits).example == alone
    with pytest.raises(ValueError, match=f"more than the length of {fits - 1}; raise") as caught:
        render(example, tokenizer, fits - 1)
    message = f"{example.id}: the question and its gold documents take {fits} tokens, "
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("style", [name for name, style in styles().items() if style.whole])
def test_a_published_context_is_shown_whole_or_not_at_all(
    reader: Any, make: Any, style: str
) -> None:
    tokenizer = reader("sentencepiece-bpe", "mistral")
    documents = [
        Document(id="gold", title="", text="If A then B. A is so. ", gold=True),
        Document(id="other", title="", text="Here we go. " * 20, gold=False, unit="sentence"),
    ]
    example = make(documents, style=style, fields={"rule": "All is so."}, name="four")
    whole = render(example, tokenizer, _LONG)
    assert whole.dropped == 0
    assert render(example, tokenizer, whole.length) == whole
    with pytest.raises(ValueError, match=r"this context of . documents is never cut") as caught:
        render(example, tokenizer, whole.length - 1)
    assert str(caught.value).startswith(
        f"four: prompt and answer take {whole.length} tokens, more than the length of "
        f"{whole.length - 1}"
    )


# An answer that cites documents.


@pytest.mark.parametrize("style", ["citation", "articles"])
@pytest.mark.parametrize("template", ["chatml", "mistral"])
def test_a_citation_follows_the_numbers_that_are_shown(
    reader: Any, distractors: Any, make: Any, style: str, template: str
) -> None:
    documents = [next(distractors("word", seed)) for seed in range(30)]
    documents = [d.model_copy(update={"id": f"{i}"}) for i, d in enumerate(documents)]
    golds = [3, 11, 12, 28]
    for i in golds:
        documents[i] = Document(id=f"{i}", title="", text=f"It is fact {i}.", gold=True)
    cites = ["3", "12", "28"]
    before = citation(documents, cites)
    example = make(documents, [("12", 6, 10)], cites=cites, answers=[before], style=style)
    tokenizer = reader("byte-level", template)
    for length in (300, 600, 900):
        rendered = render(example, tokenizer, length)
        assert rendered.dropped > 5
        shown = rendered.example
        assert Example.model_validate(shown.model_dump()) == shown
        numbers = [i for i, d in enumerate(shown.documents, start=1) if d.id in cites]
        assert shown.answers == ["".join(f"[{number}]" for number in numbers)]
        assert shown.answers[0] != before
        assert tokenizer.decode(rendered.answer) == f" {shown.answers[0]}</s>"
        assert example.answers == [before]  # the record itself stays as it was
        prompt = tokenizer.decode(rendered.prompt)
        for number, name in zip(numbers, cites, strict=True):
            head = f"Article {number}:\n" if style == "articles" else f"Document [{number}] "
            assert f"{head}It is fact {name}.\n\n" in prompt
        needle, *heads = rendered.needles
        assert needle.needle == example.needles[0]
        assert [span.needle.document for span in heads] == cites
        for number, span in zip(numbers, heads, strict=True):
            assert tokenizer.decode(rendered.prompt[span.start : span.end]).strip() == str(number)


def test_a_style_without_numbers_has_no_needles_for_them(reader: Any, make: Any) -> None:
    documents = [Document(id="d", title="", text="pear", gold=True)]
    example = make(documents, cites=["d"], answers=["[1]"], style="haystack")
    assert render(example, reader("byte-level", "none"), 999).needles == []


@pytest.mark.slow
def test_with_the_tokenizer_of_the_bundled_model(examples: list[Example]) -> None:
    from transformers import AutoTokenizer

    gguf = models.bundled_gguf()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    for example in examples:
        rendered = render(example, tokenizer, 350)
        assert 0.99 * 350 <= rendered.length <= 350
        prompt = tokenizer.decode(rendered.prompt)
        assert prompt.startswith("<|im_start|>system\n")
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\nAnswer:")
        assert tokenizer.decode(rendered.answer) == f" {example.answers[0]}<|im_end|>"
        assert needles_are_exact(rendered, tokenizer)
