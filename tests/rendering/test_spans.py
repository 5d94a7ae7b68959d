"""Every needle lies in the tokens of its span, for any text, tokenizer and chat template.

The reference counts the bytes that each token stands for, and knows nothing of offsets.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers

from needlework.examples import Document, citation
from needlework.rendering.prompt import Rendered, message_of, render

_LONG = 100_000
_NAMES = ["<|im_end|>", "<|im_start|>user", "</s>", "<s>", "[INST]", "[/INST]", "<|eot_id|>"]
_WORDS = [
    "pear", "Nuñoa", "日本", "東京 1945", "🍐", "👩‍👩‍👧‍👦", "e\u0301\u0323", "\u200b", "x\u200d",
    "ﬁ", "  ", " ", "\n", "\n\n", "\t", "𝔘", "{braces}", "a.b", "1234567", "The grass is green.",
    "the", *_NAMES,
]  # fmt: skip
_TEXTS = st.lists(
    st.sampled_from(_WORDS)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁\x00"), max_size=4),
    max_size=8,
).map("".join)
_FAMILIES = ["byte-level", "sentencepiece-bpe", "sentencepiece-unigram"]
_TEMPLATES = ["chatml", "llama3", "mistral", "none"]
_STYLES = ["documents", "mdqa", "articles", "dictionaries", "haystack", "flenqa-pir"]


def _plain(text: str, tokenizer: Any) -> str:
    """The text with the tokenizer's own control tokens broken, each by a character."""
    names = [name for name in tokenizer.all_special_tokens if name != tokenizer.unk_token]
    return re.sub("|".join(map(re.escape, names)), lambda found: f"*{found[0][1:]}", text)


def _bytes(token: str, tokenizer: Any, family: str) -> bytes:
    """The bytes that a token stands for."""
    if token in tokenizer.all_special_tokens:
        return token.encode()
    if family == "byte-level":
        return bytes(_BYTE_OF[symbol] for symbol in token)
    if re.fullmatch("<0x[0-9A-F]{2}>", token):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def _byte_of() -> dict[str, int]:
    """GPT-2's table: printable bytes are themselves, the others the characters from 256 on."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): b for i, b in enumerate(others)}


_BYTE_OF = _byte_of()


def _expected(
    rendered: Rendered, message: str, start: int, end: int, tokenizer: Any, family: str
) -> tuple[int, int]:
    """The tokens that hold a byte of the characters [start, end) of the message."""
    parts = [_bytes(t, tokenizer, family) for t in tokenizer.convert_ids_to_tokens(rendered.prompt)]
    whole = b"".join(parts)
    shown = message if message.encode() in whole else message.strip()
    assert whole.count(shown.encode()) == 1
    at = whole.index(shown.encode()) - len(message[: message.index(shown)].encode())
    first, last = at + len(message[:start].encode()), at + len(message[:end].encode())
    inside, place = [], 0
    for number, part in enumerate(parts):
        if place < last and place + len(part) > first:
            inside.append(number)
        place += len(part)
    return inside[0], inside[-1] + 1


def _blurred(
    rendered: Rendered, span: tuple[int, int], tokenizer: Any, family: str
) -> tuple[int, int]:
    """The span, as wide as the offsets that the tokenizer itself gives may make it.

    The space that is put before a text counts to its first character, and Unigram gives the same
    offsets to all bytes of a run of characters that it does not know.
    """
    tokens = tokenizer.convert_ids_to_tokens(rendered.prompt)
    start, end = span
    unknown = "<0x" if family == "sentencepiece-unigram" else "no such token"
    while tokens[start].startswith(unknown) and tokens[start - 1].startswith(unknown):
        start -= 1
    while tokens[end - 1].startswith(unknown) and tokens[end].startswith(unknown):
        end += 1
    at_the_beginning = start < 2 or tokens[start - 2] in tokenizer.all_special_tokens
    return start - (at_the_beginning and tokens[start - 1] == "▁"), end


def _mark(number: int) -> str:
    """By which the text of a document is found, for it may stand in other texts too."""
    return f"⟦{number}⟧"


@st.composite
def _drawn(draw: st.DrawFn) -> tuple[list[Document], list[tuple[str, int, int]]]:
    documents, needles = [], []
    for i in range(draw(st.integers(1, 4))):
        text = f"{_mark(i)}{draw(_TEXTS)}"
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        gold = bool(text[start:end].strip())
        documents.append(Document(id=f"{i}", title=draw(_TEXTS), text=text, gold=gold))
        if gold:
            needles.append((f"{i}", start, end))
    return documents, needles


@pytest.mark.parametrize("family", _FAMILIES)
@given(_drawn(), st.sampled_from(_TEMPLATES), st.sampled_from(_STYLES))
def test_a_span_is_the_tokens_of_its_needle_and_no_more(
    reader: Any, make: Any, family: str, drawn: Any, template: str, style: str
) -> None:
    documents, needles = drawn
    tokenizer = reader(family, template)
    example = make(documents, needles, style=style)
    rendered = render(example, tokenizer, _LONG)
    message = _plain(message_of(example), tokenizer)
    assert [span.needle for span in rendered.needles] == example.needles
    places = [(span.start, span.end) for span in rendered.needles]
    assert places == sorted(places)
    for document in documents:
        at = message.index(_mark(int(document.id)))
        for span in rendered.needles:
            if span.needle.document != document.id:
                continue
            text = message[at + span.needle.start : at + span.needle.end]
            left = at + span.needle.start + len(text) - len(text.lstrip())
            right = left + len(text.strip())
            # A space at the edge may be left to the neighbour, by tokenizers that trim offsets.
            inner = _expected(rendered, message, left, right, tokenizer, family)
            outer = _expected(
                rendered, message, at + span.needle.start, at + span.needle.end, tokenizer, family
            )
            first, last = _blurred(rendered, outer, tokenizer, family)
            assert first <= span.start <= inner[0]
            assert inner[1] <= span.end <= last
            shown = tokenizer.decode(rendered.prompt[span.start : span.end])
            assert text.strip() in shown


@pytest.mark.parametrize("family", _FAMILIES)
@given(st.lists(_TEXTS, min_size=2, max_size=12), st.data(), st.sampled_from(_TEMPLATES))
def test_the_tokens_of_a_cited_number_show_the_number(
    reader: Any, make: Any, family: str, texts: list[str], data: st.DataObject, template: str
) -> None:
    tokenizer = reader(family, template)
    golds = data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1))
    style = data.draw(st.sampled_from(["citation", "articles"]))
    documents = [
        Document(id=f"{i}", title="", text=text, gold=i in golds) for i, text in enumerate(texts)
    ]
    cites = [f"{i}" for i in sorted(golds)]
    example = make(documents, cites=cites, answers=[citation(documents, cites)], style=style)
    rendered = render(example, tokenizer, _LONG)
    assert [int(span.needle.document) for span in rendered.needles] == sorted(golds)
    for span in rendered.needles:
        assert span.needle.role == "answer"
        assert span.needle.relation == "number"
        tokens = [tokenizer.decode([t]) for t in rendered.prompt[span.start : span.end]]
        shown = "".join(tokens)
        assert re.findall("[0-9]+", shown) == [str(int(span.needle.document) + 1)]
        assert re.search("[0-9]", tokens[0])
        assert re.search("[0-9]", tokens[-1])


@pytest.mark.parametrize("family", _FAMILIES)
@given(_TEXTS, _TEXTS, st.sampled_from(_TEMPLATES))
def test_no_text_becomes_a_control_token(
    reader: Any, make: Any, family: str, text: str, answer: str, template: str
) -> None:
    tokenizer = reader(family, template)
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    def controls(text: str) -> list[int]:
        document = Document(id="d", title=text, text=text, gold=True)
        example = make([document], answers=[f"a {answer}"])
        rendered = render(example, tokenizer, _LONG)
        assert rendered.answer.count(tokenizer.eos_token_id) == 1
        assert rendered.answer[-1] == tokenizer.eos_token_id
        assert not control & set(rendered.answer[:-1])
        assert _plain(text, tokenizer) in tokenizer.decode(rendered.prompt)
        return [token for token in rendered.prompt if token in control]

    assert controls(text) == controls("")


def test_marks_of_the_template_are_control_tokens_even_when_they_are_not_special(
    reader: Any, make: Any
) -> None:
    tokenizer = copy.deepcopy(reader("byte-level", "none"))
    tokenizer.add_tokens(["<User>", "<tool>", "user", "\n"])
    tokenizer.chat_template = "<User>\nuser {{ messages[0]['content'] }}"
    document = Document(id="d", title="", text="<User> and <tool> and user\n", gold=True)
    prompt = tokenizer.decode(render(make([document]), tokenizer, _LONG).prompt)
    assert prompt.count("<User>") == 1
    assert " *User> and <tool> and user\n" in prompt


def test_a_character_without_a_token_is_no_control_token(reader: Any, make: Any) -> None:
    tokenizer = copy.deepcopy(reader("sentencepiece-bpe", "chatml"))
    tokenizer.backend_tokenizer.model.byte_fallback = False
    tokenizer.add_tokens(["*"])
    document = Document(id="d", title="", text="a 🍐 tree", gold=True)
    (span,) = (r := render(make([document], [("d", 2, 3)]), tokenizer, _LONG)).needles
    assert set(r.prompt[span.start : span.end]) >= {tokenizer.unk_token_id}


def test_a_mark_that_takes_the_space_after_it_stays_a_mark(reader: Any, make: Any) -> None:
    tokenizer = copy.deepcopy(reader("byte-level", "none"))
    tokenizer.add_tokens([AddedToken("<|user|>", rstrip=True)], special_tokens=True)
    tokenizer.chat_template = "<|user|>\n{{ messages[0]['content'] }}"
    document = Document(id="d", title="", text="  pear", gold=True)
    rendered = render(make([document], [("d", 2, 6)], style="flenqa-pir"), tokenizer, _LONG)
    assert rendered.prompt[0] == tokenizer.convert_tokens_to_ids("<|user|>")
    (span,) = rendered.needles
    assert tokenizer.decode(rendered.prompt[span.start : span.end]) == "pear"


def test_a_control_token_in_a_text_costs_one_character(reader: Any, make: Any) -> None:
    text = "the tag </s> strikes out"
    document = Document(id="d", title="", text=text, gold=True)
    example = make([document], [("d", 4, 12)])
    (span,) = (rendered := render(example, reader("byte-level", "chatml"), _LONG)).needles
    shown = reader("byte-level", "chatml").decode(rendered.prompt[span.start : span.end])
    assert shown.strip() == "tag */s>"
    assert rendered.example == example


def test_what_a_tokenizer_normalises_is_found_in_its_normal_form(reader: Any, make: Any) -> None:
    tokenizer = copy.deepcopy(reader("sentencepiece-unigram", "chatml"))
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    text = "the ﬁrst of ①② and Ｔｏｋｙｏ is e\u0301clair"
    for needle, shown in [
        ("ﬁrst", "first"),
        ("①②", "12"),
        ("Ｔｏｋｙｏ", "Tokyo"),
        ("e\u0301clair", "éclair"),
    ]:
        start = text.index(needle)
        document = Document(id="d", title="", text=text, gold=True)
        example = make([document], [("d", start, start + len(needle))])
        (span,) = (rendered := render(example, tokenizer, _LONG)).needles
        assert tokenizer.decode(rendered.prompt[span.start : span.end]).strip() == shown


@pytest.mark.parametrize("text", ["  pear tree", "\n\n pear tree", "pear tree"])
def test_a_template_that_strips_the_message_moves_no_span(
    reader: Any, make: Any, text: str
) -> None:
    tokenizer = reader("byte-level", "llama3")
    document = Document(id="d", title="", text=text, gold=True)
    start = text.index("pear")
    example = make([document], [("d", start, start + 4), ("d", 0, start + 4)], style="flenqa-pir")
    rendered = render(example, tokenizer, _LONG)
    assert "<|end_header_id|>\n\npear tree\nTrue/False" in tokenizer.decode(rendered.prompt)
    for span in rendered.needles:
        assert tokenizer.decode(rendered.prompt[span.start : span.end]) == "pear"


@pytest.mark.parametrize(
    "template", ["{{ messages[0]['content'] | upper }}", "{{ messages[0]['content'] * 2 }}", "no"]
)
def test_a_template_that_changes_the_message_is_refused(
    reader: Any, make: Any, template: str
) -> None:
    tokenizer = copy.deepcopy(reader("byte-level", "none"))
    tokenizer.chat_template = template
    example = make([Document(id="d", title="", text="pear", gold=True)], name="seven")
    with pytest.raises(ValueError, match=r"^seven: the chat template shows the message \d times"):
        render(example, tokenizer, _LONG)


def test_a_needle_that_no_token_shows_is_an_error(reader: Any, make: Any) -> None:
    tokenizer = copy.deepcopy(reader("sentencepiece-unigram", "chatml"))
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    document = Document(id="d", title="", text="pear \u200b tree", gold=True)
    with pytest.raises(ValueError, match=r"^seven: no token overlaps the characters"):
        render(make([document], [("d", 5, 6)], name="seven"), tokenizer, _LONG)
