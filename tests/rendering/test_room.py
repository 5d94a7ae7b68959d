"""Room is taken by the leanest tokenizer, so that one file of examples fills every model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from needlework.examples import Document
from needlework.rendering import room as room_module
from needlework.rendering.room import Room


@pytest.fixture
def two(reader: Any, tokenizer: Any) -> list[Any]:
    """One reads English in fewer tokens, but puts a space before any text; one reads bytes."""
    return [reader("sentencepiece-bpe", "chatml"), tokenizer]


@pytest.fixture
def documents(texts: list[str]) -> list[Document]:
    """Passages, and what none of the tokenizers was trained on."""
    passages = [
        Document(id=f"{i}", title=f"T{i}", text=text, gold=False)
        for i, text in enumerate(texts[:20])
    ]
    return [*passages, Document(id="other", title="日", text="本", gold=False)]


def _tokens(tokenizer: Any, document: Document) -> int:
    shown = f"{document.title} {document.text}\n"
    return len(tokenizer(shown, add_special_tokens=False)["input_ids"])


def test_a_size_is_the_least_under_any_tokenizer(two: list[Any], documents: list[Document]) -> None:
    sizes = [[_tokens(tokenizer, document) for tokenizer in two] for document in documents]
    assert any(a < b for a, b in sizes)
    assert any(a > b for a, b in sizes)
    assert [Room(two, 9).size(document) for document in documents] == [min(s) for s in sizes]


def test_many_measured_at_once_are_as_each_alone(two: list[Any], documents: list[Document]) -> None:
    together, alone = Room(two, 9), Room(two, 9)
    together.measure([*documents, *documents[:3]])
    together.measure([])
    assert [together.size(d) for d in documents] == [alone.size(d) for d in documents]


def test_a_text_counts_with_its_title(two: list[Any]) -> None:
    room = Room(two, 9)
    short = Document(id="a", title="", text="pear", gold=False)
    long = Document(id="a", title="a much longer title", text="pear", gold=False)
    assert room.size(short) < room.size(long)


def test_what_was_measured_is_not_measured_again(two: list[Any], documents: list[Document]) -> None:
    calls = []

    def counting(texts: list[str], **kwargs: Any) -> Any:
        calls.append(len(texts))
        return two[0](texts, **kwargs)

    room = Room([counting], 9)  # type: ignore[list-item]
    room.measure(documents)
    room.measure([*documents, *documents])
    sizes = [room.size(document.model_copy(update={"id": "another"})) for document in documents]
    assert calls == [len(documents)]
    assert sizes == [_tokens(two[0], document) for document in documents]


def test_no_more_sizes_are_remembered_than_the_limit(
    two: list[Any], documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "_REMEMBERED", 5)
    room, sizes = Room(two, 9), []
    for document in documents:
        sizes.append(room.size(document))
        assert len(room._sizes) <= 6
    assert sizes == [Room(two, 9).size(document) for document in documents]


def test_filling_ends_as_soon_as_it_is_full(two: list[Any], documents: list[Document]) -> None:
    taken = []

    def more() -> Iterator[Document]:
        for document in documents[1:]:
            taken.append(document)
            yield document

    needed = sum(Room(two, 9).size(document) for document in documents[:5])
    for length, count in [(needed, 5), (needed - 1, 5), (needed + 1, 6)]:
        taken.clear()
        room = Room(two, length)
        filled = room.fill(documents[:1], more())
        assert filled == documents[:count]
        assert room.is_full(filled)
        assert not room.is_full(filled[:-1])
        # One is looked at beyond the last taken, at most.
        assert len(taken) <= count


def test_what_is_full_takes_no_more_and_what_ends_early_is_not_full(
    two: list[Any], documents: list[Document]
) -> None:
    room = Room(two, 1)
    assert room.fill(documents[:2], iter(documents[2:])) == documents[:2]
    room = Room(two, 100_000)
    filled = room.fill(documents[:2], iter(documents[2:]))
    assert filled == documents
    assert not room.is_full(filled)
