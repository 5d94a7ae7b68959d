"""A dataset's card: true to the record, its needles marked, and harmless whatever the text says."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from needlework.examples import Document, Example, Needle
from needlework.rendering.styles import styles
from needlework.synthesis.card import DESCRIPTIONS, dataset_card
from needlework.synthesis.variants import MAKERS

_SECTIONS = [
    "What came in, what went out, and why", "Length", "Needle depth", "Relations",
    "Documents per example", "How it was made", "Overlap with the evaluation data", "One example",
]  # fmt: skip


def _split(made: int) -> dict[str, Any]:
    return {
        "real": 8800,
        "considered": made + 3,
        "wanted": made,
        "made": made,
        "skipped": {
            "every rewrite was refused": ["a", "b"],
            "asks an evaluation question": ["c"],
        },
        "tokens": {
            "smollm": {
                "min": 346,
                "mean": 348.25,
                "max": 351,
                "histogram": {"edges": [346, 348, 350], "counts": [1, 0, 80]},
            }
        },
        "depths": {"answer": [*range(11, 21)], "bridge": [*range(31, 41)]},
        "relations": {"capital": 12, "area": 36},
        "documents": {"min": 5, "mean": 6.125, "max": 1234},
        "answers_in_evaluation": 7,
        "sha256": "0123abcd",
    }


def _record(variant: str = "high_low", **changes: Any) -> dict[str, Any]:
    generator = {
        "model": "writer", "server": "https://example.org/v1", "requests": 61234, "cached": 17,
        "prompt_tokens": 123456, "completion_tokens": 654, "usd": None,
    }  # fmt: skip
    return {
        "task": "factbook_lookup",
        "variant": variant,
        "seed": 1234,
        "length": 352,
        "generator": generator,
        "versions": {"python": "3.11.9", "rewrite_fact.j2": "12ab"},
        "splits": {"train": _split(48), "validation": _split(16)},
        **changes,
    }


def _example(
    texts: list[str],
    needles: list[tuple[int, int, int]],
    *,
    style: str = "documents",
    question: str = "Which pear?",
    title: str = "Title",
    cites: list[int] | None = None,
    gold: int | None = None,
) -> Example:
    """Needles are (document, start, end) and of the role "bridge", so that any text may be one."""
    held = {place for place, _, _ in needles} | set(cites or []) | ({gold} - {None})
    return Example(
        id="factbook-1",
        task="factbook_lookup",
        variant="high_low",
        question=question,
        answers=["".join(f"[{i + 1}]" for i in cites)] if cites else ["quince", "the quince"],
        documents=[
            Document(id=f"d{i}", title=title, text=text, gold=i in held)
            for i, text in enumerate(texts)
        ],
        needles=[
            Needle(document=f"d{place}", start=start, end=end, role="bridge")
            for place, start, end in needles
        ],
        cluster="one",
        source={},
        cites=[f"d{i}" for i in cites or []],
        style=style,
    )


_SIMPLE = _example(["It is a pear tree.", "It has a quince."], [(1, 9, 15)])


_PARSER = MarkdownIt("commonmark").enable("table")


@lru_cache(maxsize=1)
def _tokens(card: str) -> list[Token]:
    """The card's Markdown as an independent parser reads it, without the front matter."""
    return _PARSER.parse(card.split("\n---\n", 1)[1])


def _front(card: str) -> Any:
    # As the Hub reads it: between the first two lines of three dashes.
    _, front, _ = re.split(r"^---\s*$", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front)


def _fences(card: str) -> list[str]:
    return [token.content for token in _tokens(card) if token.type == "fence"]


def _headings(card: str) -> list[str]:
    tokens = _tokens(card)
    return [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]


def _rows(card: str, section: str) -> dict[str, list[str]]:
    """The rows of a section's table by their first cell, as plain text."""
    rows: list[list[str]] = []
    heading = ""
    tokens = _tokens(card)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline" and before is not None:
            text = "".join(child.content for child in token.children or [])
            if before.type == "heading_open":
                heading = text
            elif before.type in {"th_open", "td_open"} and heading == section:
                rows[-1].append(text)
        elif token.type == "tr_open" and heading == section:
            rows.append([])
    return {row[0]: row[1:] for row in rows}


def _prompt(example: Example) -> str:
    return _fences(dataset_card(_record(), example, "A name"))[1].removesuffix("\n")


def test_every_section_is_there_in_order() -> None:
    assert _headings(dataset_card(_record(), _SIMPLE, "A name")) == ["A name", *_SECTIONS]


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front = _front(dataset_card(_record(), _SIMPLE, "A name"))
    assert front == {
        "pretty_name": "A name",
        "language": ["en"],
        "task_categories": ["question-answering"],
        "size_categories": ["n<1K"],
        "tags": ["long-context", "synthetic", "needlework"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.jsonl"},
                    {"split": "validation", "path": "validation.jsonl"},
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (9_999, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
    ],
)
def test_the_size_is_that_of_all_splits(made: int, size: str) -> None:
    splits = {"train": _split(made - 16), "validation": _split(16)}
    assert _front(dataset_card(_record(splits=splits), _SIMPLE, "n"))["size_categories"] == [size]


@pytest.mark.parametrize("variant", MAKERS)
def test_every_variant_is_described_and_only_what_is_synthetic_says_so(variant: str) -> None:
    card = dataset_card(_record(variant), _SIMPLE, "A name")
    assert f"- 100 % {variant}: {DESCRIPTIONS[variant]}.\n" in card
    synthetic = variant not in {"real", "real_limited", "multidoc_qa"}
    assert ("synthetic" in _front(card)["tags"]) is synthetic


def test_descriptions_are_of_variants_that_exist() -> None:
    assert set(DESCRIPTIONS) == set(MAKERS)


def test_a_mixture_names_its_parts_with_their_shares_and_numbers() -> None:
    splits = {"train": _split(48), "validation": _split(16)}
    splits["train"]["parts"] = {"real": 10, "symbolic": 38}
    splits["validation"]["parts"] = {"real": 3, "symbolic": 13}
    card = dataset_card(_record("real:0.2+symbolic:0.8", splits=splits), _SIMPLE, "n")
    assert f"- 20 % real: {DESCRIPTIONS['real']}." in card
    assert f"- 80 % symbolic: {DESCRIPTIONS['symbolic']}." in card
    rows = _rows(card, _SECTIONS[0])
    assert rows["made as real"] == ["10", "3"]
    assert rows["made as symbolic"] == ["38", "13"]
    assert "synthetic" in _front(card)["tags"]


def test_what_came_in_and_out_is_the_record() -> None:
    record = _record()
    record["splits"]["validation"]["skipped"] = {"too short": ["x"]}
    card = dataset_card(record, _SIMPLE, "A name")
    assert _rows(card, _SECTIONS[0]) == {
        "examples": ["train", "validation"],
        "real": ["8,800", "8,800"],
        "considered": ["51", "19"],
        "wanted": ["48", "16"],
        "made": ["48", "16"],
        "skipped": ["3", "1"],
        "skipped: every rewrite was refused": ["2", "0"],
        "skipped: asks an evaluation question": ["1", "0"],
        "skipped: too short": ["0", "1"],
    }
    assert "| made as" not in card
    assert _rows(card, "Overlap with the evaluation data") == {
        "examples": ["train", "validation"],
        "left out: asks an evaluation question": ["1", "0"],
        "left out: shares 13 words in a row with an evaluation document": ["0", "0"],
        "left out: its answer is an evaluation answer": ["0", "0"],
        "kept: its answer is an evaluation answer": ["7", "7"],
    }


def test_a_split_of_which_none_could_be_made_has_its_reasons_alone() -> None:
    record = _record()
    skipped = {"too short": ["x", "y"]}
    record["splits"]["validation"] = {
        "real": 2, "considered": 2, "wanted": 2, "made": 0, "skipped": skipped, "sha256": "00",
    }  # fmt: skip
    card = dataset_card(record, _SIMPLE, "A name")
    assert _rows(card, _SECTIONS[0])["skipped: too short"] == ["0", "2"]
    assert _rows(card, "Documents per example")["max"] == ["1,234"]
    assert "validation, " not in card


def test_lengths_are_drawn_as_bars_with_the_target_marked() -> None:
    lines = _fences(dataset_card(_record(), _SIMPLE, "A name"))[0].splitlines()
    train = [
        "train, smollm: 346 to 351 tokens, mean 348.2",
        "346–347 │▌ 1",
        "348–349 │ 0",
        f"350–351 │{'█' * 40} 80",
        "    352 │ 0  ← target 352",
    ]
    assert lines == [*train, "", "validation" + train[0].removeprefix("train"), *train[1:]]


@pytest.mark.parametrize(("target", "line"), [(350, 2), (351, 2), (346, 0), (349, 1)])
def test_the_target_is_marked_in_its_bin(target: int, line: int) -> None:
    card = dataset_card(_record(length=target), _SIMPLE, "n")
    marked = ["←" in shown for shown in _fences(card)[0].splitlines()[1:4]]
    assert marked == [place == line for place in range(3)]


def test_depths_have_ten_bins_for_each_role_of_each_split() -> None:
    rows = _rows(dataset_card(_record(), _SIMPLE, "A name"), "Needle depth")
    head = rows.pop("depth")
    assert head == ["train, answer", "train, bridge", "validation, answer", "validation, bridge"]
    assert list(rows) == [f"0.{i}–{'1.0' if i == 9 else f'0.{i + 1}'}" for i in range(10)]
    answers, bridges = (list(map(str, range(first, first + 10))) for first in (11, 31))
    assert [list(column) for column in zip(*rows.values(), strict=True)] == [
        answers, bridges, answers, bridges,
    ]  # fmt: skip


def test_relations_come_by_number_and_many_are_cut() -> None:
    record = _record()
    rows = _rows(dataset_card(record, _SIMPLE, "A name"), "Relations")
    assert list(rows.items())[1:] == [("area", ["36", "36"]), ("capital", ["12", "12"])]
    many = {f"relation {i}": i for i in range(1, 24)}
    record["splits"]["train"]["relations"] = many
    card = dataset_card(record, _SIMPLE, "A name")
    rows = _rows(card, "Relations")
    del rows["needles"]
    assert list(rows) == ["area", *(f"relation {i}" for i in range(23, 11, -1)), "capital",
                          *(f"relation {i}" for i in range(11, 5, -1))]  # fmt: skip
    assert rows["relation 23"] == ["23", "0"]
    assert "\n\nand 5 more\n\n" in card


def test_documents_and_provenance_are_the_record() -> None:
    card = dataset_card(_record(), _SIMPLE, "A name")
    documents = _rows(card, "Documents per example")
    assert documents["mean"] == ["6.12", "6.12"]
    assert documents["max"] == ["1,234", "1,234"]
    assert _rows(card, "How it was made") == {
        "": [""],
        "seed": ["1234"],
        "generator: model": ["writer"],
        "generator: server": ["https://example.org/v1"],
        "generator: requests": ["61,234"],
        "generator: cached": ["17"],
        "generator: prompt_tokens": ["123,456"],
        "generator: completion_tokens": ["654"],
        "generator: usd": ["not known"],
        "version: python": ["3.11.9"],
        "version: rewrite_fact.j2": ["12ab"],
        "SHA-256: train.jsonl": ["0123abcd"],
        "SHA-256: validation.jsonl": ["0123abcd"],
    }
    rows = _rows(dataset_card(_record(generator=None), _SIMPLE, "n"), "How it was made")
    assert rows["generator: model"] == ["none; no language model wrote any of it"]
    assert "generator: usd" not in rows


def test_the_prompt_is_the_whole_one_with_its_needles_marked() -> None:
    assert _prompt(_SIMPLE) == (
        "Answer the question with a short phrase from the documents. Most of the documents are "
        "irrelevant.\n\n"
        "Document [1] (Title: Title) It is a pear tree.\n\n"
        "Document [2] (Title: Title) It has a ⟦quince⟧.\n\n"
        "Question: Which pear?\nAnswer:"
    )
    card = dataset_card(_record(), _SIMPLE, "A name")
    assert "Needles stand between ⟦ and ⟧;" in card
    assert _fences(card)[2] == "quince\nthe quince\n"
    assert len(_fences(card)) == 3


def test_cited_numbers_are_needles_too() -> None:
    example = _example(["one", "two", "three"], [(0, 0, 3)], style="articles", cites=[0, 2])
    prompt = _prompt(example)
    assert "Article ⟦1⟧:\n⟦one⟧\n\nArticle 2:\ntwo\n\nArticle ⟦3⟧:\nthree\n\n" in prompt
    example = _example(["one", "two"], [], style="citation", cites=[1])
    assert "Document [⟦2⟧] (Title: Title) two" in _prompt(example)


def test_fields_of_the_example_are_shown_and_an_empty_opening_is_not() -> None:
    example = _example(["{1: 2}"], [(0, 4, 5)], style="dictionaries", title="Dictionary [1]")
    assert "Dictionary [1] {1: ⟦2⟧}\n" in _prompt(example)
    assert _prompt(example).endswith("\nWhich pear?")


@settings(max_examples=40)
@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=8))
def test_what_is_left_out_is_counted(number: int, golds: set[int]) -> None:
    golds = {place for place in golds if place < number}
    example = _example(["text"] * number, [(place, 0, 4) for place in golds])
    prompt = _prompt(example)
    shown = [int(n) - 1 for n in re.findall(r"^Document \[(\d+)\]", prompt, re.MULTILINE)]
    assert shown == sorted(shown)
    assert set(shown) >= {*sorted(golds)[:4], 0, min(1, number - 1), max(0, number - 2), number - 1}
    assert len(shown) <= 8
    gaps = re.findall(r"^\[… (\d+) more documents?(?:, gold: (\d+))? …\]$", prompt, re.MULTILINE)
    assert len(shown) + sum(int(left_out) for left_out, _ in gaps) == number
    assert sum(int(gold or 0) for _, gold in gaps) == len(golds - set(shown))
    assert "1 more documents" not in re.sub(r"\d1 more", "", prompt)


@given(st.integers(0, 3000), st.integers(1, 300), st.integers(0, 3000))
def test_long_stretches_without_a_needle_are_cut(before: int, size: int, after: int) -> None:
    text = "a" * before + "b" * size + "c" * after
    prompt = _prompt(_example([text], [(0, before, before + size)]))
    shown = prompt.split("(Title: Title) ")[1].split("\n\nQuestion")[0]
    start, needle, end = re.split("[⟦⟧]", shown)
    assert needle == "b" * size
    for letter, piece, length in (("a", start, before), ("c", end, after)):
        if length <= 800:
            assert piece == letter * length
        else:
            ends = letter * 200
            assert piece == f"{ends} [… {length - 400:,} characters …] {ends}"


_HOSTILE = st.lists(
    st.sampled_from(
        ["`", "```", "````\n", "\n", "\n---\n", "---", "<script>", "<!--", "</pre>", "|", "⟦", "⟧",
         "⟦⟦", "# ", "\n# x\n", "\n\n- x", "[a](b)", "![a](b)", "**", "__", "_", "*", "\\", "&lt;",
         ": ", "'", '"', "{", "}", "{question}", "\r", "\t", "~~~", "\n===\n", "$x$", "word", "é",
         "\x00", "\x85", "\u2028", "%", "!", "<", "https://example.org"]
    ) | st.text(max_size=3),
    max_size=12,
).map("".join)  # fmt: skip


@settings(max_examples=40)
@given(_HOSTILE, _HOSTILE, _HOSTILE)
def test_hostile_names_are_harmless(name: str, relation: str, reason: str) -> None:
    record = copy.deepcopy(_record())
    record["generator"]["model"] = relation
    record["task"] = record["versions"][reason] = name
    for split in record["splits"].values():
        split["relations"] = {f"r {relation}": 1}
        split["skipped"] = {f"r {reason}": ["one"]}
        split["tokens"] = {f"m{name}": split["tokens"]["smollm"]}
    card = dataset_card(record, _SIMPLE, f"n {name}")
    assert _front(card)["pretty_name"] == " ".join(f"n {name}".split())
    _is_sound(card, headings=[None, *_SECTIONS])
    assert len(_fences(card)) == 3
    for section, cell in (("Relations", relation), (_SECTIONS[0], f"skipped: r {reason}")):
        shown = " ".join(("r " + cell if section == "Relations" else cell).split())
        assert shown.replace("\x00", "\ufffd") in _rows(card, section)


@settings(max_examples=40)
@given(st.data())
def test_hostile_text_stays_in_its_fence_with_marks_around_the_needles(data: st.DataObject) -> None:
    texts = data.draw(st.lists(_HOSTILE.filter(bool), min_size=1, max_size=4))
    style = data.draw(
        st.sampled_from(sorted(n for n, s in styles().items() if "{rule}" not in s.before))
    )
    needles = []
    for place in data.draw(st.sets(st.integers(0, len(texts) - 1))):
        start = data.draw(st.integers(0, len(texts[place]) - 1))
        end = data.draw(st.integers(start + 1, len(texts[place])))
        needles.append((place, start, end))
    question, title = data.draw(_HOSTILE), data.draw(_HOSTILE)
    example = _example(texts, needles, question=question, title=title, style=style)
    card = dataset_card(_record(), example, "A name")
    _is_sound(card, headings=["A name", *_SECTIONS])
    _, prompt, answer = _fences(card)
    assert answer == "quince\nthe quince\n"
    width = len(re.findall("between (⟦+) and", card)[0])
    plain = _of_parts(example, 0)
    # The run of a mark is longer than any in the text, so that taking marks out gives the text.
    assert not re.search(f"[⟦⟧]{{{width}}}", plain)
    expected = _of_parts(example, width).replace("\x00", "\ufffd")
    # A parser of Markdown reads every line end as one.
    assert prompt == re.sub(r"\r\n?", "\n", f"{expected}\n")


def _of_parts(example: Example, width: int) -> str:
    """The prompt from the style's own parts, marks inserted one by one from the end."""
    style = styles()[example.style]
    prompt = style.before.format(question=example.question)
    for number, document in enumerate(example.documents, start=1):
        text = document.text
        for needle in example.needles:
            if needle.document == document.id:
                text = text[: needle.end] + "⟧" * width + text[needle.end :]
                text = text[: needle.start] + "⟦" * width + text[needle.start :]
        title = style.title.replace("{title}", document.title) if document.title else ""
        values = {"number": str(number), "title": title, "text": text}
        prompt += "".join(values.get(part, part) for part in re.split(r"\{(\w+)\}", style.document))
    end = f"\n{style.opening}" if style.opening else ""
    return prompt + style.after.format(question=example.question) + end


def _is_sound(card: str, headings: list[str | None]) -> None:
    """No markup but the card's own."""
    tokens = _tokens(card)
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "code_block", "hr", "blockquote_open", "ordered_list_open"}
    inline = {child.type for token in tokens for child in token.children or []}
    assert inline <= {"text", "code_inline", "text_special", "softbreak"}
    found = _headings(card)
    assert len(found) == len(headings)
    assert all(want in {None, heading} for want, heading in zip(headings, found, strict=True))


@settings(max_examples=40)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_needles_may_touch_hold_or_repeat_each_other(a: int, b: int, c: int, d: int) -> None:
    first, second = (min(a, b), max(a, b) + 1), (min(c, d), max(c, d) + 1)
    text = "abcdefghi"
    prompt = _prompt(_example([text], [(0, *first), (0, *second)]))
    shown = prompt.split("(Title: Title) ")[1].split("\n\nQuestion")[0]
    place, begun, ended = 0, [], []
    for character in shown:
        if character == "⟦":
            begun.append(place)
        elif character == "⟧":
            ended.append(place)
        else:
            place += 1
    spans = {first, second}
    assert begun == sorted(start for start, _ in spans)
    assert ended == sorted(end for _, end in spans)
    assert re.sub("[⟦⟧]", "", shown) == text


def test_a_variant_without_a_description_is_an_error() -> None:
    with pytest.raises(KeyError, match="medium_low"):
        dataset_card(_record("medium_low"), _SIMPLE, "A name")
