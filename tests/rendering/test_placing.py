"""A gold document goes to its place among the same distractors; a question can stand alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.examples import Document, Example
from needlework.rendering.placing import Positions, placed, without_documents
from needlework.rendering.prompt import (
    Unrenderable,
    check_shown,
    message_of,
    render,
    render_whole,
)
from needlework.rendering.room import Room
from needlework.rendering.styles import styles


@st.composite
def placements(draw: Any) -> tuple[list[Document], int, int]:
    """Documents with one gold one anywhere, so many of them to show, and a place."""
    number = draw(st.integers(1, 12))
    gold = draw(st.integers(0, number - 1))
    documents = [
        Document(id=f"{i}", title="", text=f"text {i}", gold=i == gold) for i in range(number)
    ]
    wanted = draw(st.integers(1, number))
    return documents, wanted, draw(st.integers(1, wanted))


@given(placements())
def test_the_gold_document_is_at_its_place_among_the_first_distractors(
    make: Any, case: tuple[list[Document], int, int]
) -> None:
    documents, number, place = case
    example = make(documents, [(next(d.id for d in documents if d.gold), 0, 4)])
    found = placed(example, number, place)
    assert [d.gold for d in found.documents] == [i == place for i in range(1, number + 1)]
    others = [d for d in documents if not d.gold]
    assert [d for d in found.documents if not d.gold] == others[: number - 1]
    assert found.model_copy(update={"documents": documents}) == example


def test_an_answer_that_cites_follows_its_document(make: Any) -> None:
    documents = [Document(id=n, title="", text=n, gold=n == "b") for n in "abcd"]
    example = make(documents, answers=["[2]"], cites=["b"], style="citation")
    assert placed(example, 3, 3).answers == ["[3]"]


@pytest.mark.parametrize(
    ("golds", "number", "place", "message"),
    [
        ([1, 2], 3, 1, "^made: 2 documents are gold; only one"),
        ([], 3, 1, "^made: 0 documents are gold; only one"),
        ([1], 5, 1, "^made: 4 documents, fewer than the 5 of the positions"),
        ([1], 3, 4, "the place 4 is not among 3 documents"),
        ([1], 3, 0, "the place 0 is not among 3 documents"),
    ],
)
def test_what_has_no_such_place_is_refused(
    make: Any, golds: list[int], number: int, place: int, message: str
) -> None:
    documents = [Document(id=f"{i}", title="", text="x", gold=i in golds) for i in range(4)]
    with pytest.raises(ValueError, match=message):
        placed(make(documents), number, place)


# The whole context or none.


def test_a_whole_context_fits_to_the_very_token(reader: Any, make: Any, distractors: Any) -> None:
    tokenizer = reader("byte-level", "llama3")
    gold = Document(id="gold", title="", text="The secret is XYZZ.", gold=True)
    example = make([gold, *islice(distractors("word", 1), 4)], [("gold", 14, 18)])
    shown = render_whole(example, tokenizer, 10_000)
    assert shown == render(example, tokenizer, 10_000)
    assert render_whole(example, tokenizer, shown.length) == shown
    message = f"{shown.length} tokens, more than the length of {shown.length - 1}.* 5 documents"
    with pytest.raises(Unrenderable, match=message):
        render_whole(example, tokenizer, shown.length - 1)


def test_all_that_cannot_be_shown_are_named(make: Any) -> None:
    short, long, longer = (
        make([Document(id="d", title="", text="x" * size, gold=True)], name=name)
        for name, size in (("short", 1), ("long", 20), ("longer", 30))
    )

    def show(example: Example) -> None:
        if len(example.documents[0].text) > 10:
            raise Unrenderable(f"{example.id} is too long", "too long")

    check_shown([short], show)
    with pytest.raises(ValueError, match=r"^2 of 3") as caught:
        check_shown([long, short, longer], show)
    assert str(caught.value).splitlines() == [
        "2 of 3 examples:", "long is too long", "longer is too long",
    ]  # fmt: skip


def test_a_room_checks_every_place_under_every_tokenizer(
    reader: Any, tokenizer: Any, make: Any, distractors: Any
) -> None:
    gold = Document(id="gold", title="", text="The secret is XYZZ.", gold=True)
    example = make([*islice(distractors("word", 2), 5), gold], [("gold", 14, 18)])
    both = [reader("byte-level", "chatml"), tokenizer]  # of bytes: it needs more
    needed = max(
        render_whole(placed(example, 3, place), each, 10_000).length
        for place in (1, 3)
        for each in both
    )
    Room(both, needed, Positions(3, [1, 3])).check_positions(example)
    Room(both[:1], needed - 1, Positions(3, [1, 3])).check_positions(example)
    Room(both, 1).check_positions(example)  # none are asked for
    with pytest.raises(Unrenderable, match="3 documents is never cut"):
        Room(both, needed - 1, Positions(3, [1, 3])).check_positions(example)
    with pytest.raises(ValueError, match="the place 4 is not among 3"):
        Room(both, needed, Positions(3, [1, 4])).check_positions(example)
    with pytest.raises(Unrenderable, match="fewer than the 7"):
        Room(both, 10_000, Positions(7, [1])).check_positions(example)


# Closed book.


@pytest.mark.parametrize("style", ["documents", "mdqa", "haystack"])
def test_a_question_alone_is_the_end_of_the_published_prompt(
    reader: Any, make: Any, style: str
) -> None:
    """Liu et al. 2024, closedbook.prompt: the question, and "Answer:"."""
    tokenizer = reader("byte-level", "none")
    gold = Document(id="gold", title="", text="The secret is XYZZ.", gold=True)
    example = make([gold], [("gold", 14, 18)], style=style)
    alone = without_documents(example)
    assert (alone.documents, alone.needles) == ([], [])
    assert message_of(alone) == "Question: What is the secret of the thing?"
    shown = render(alone, tokenizer, 500)
    assert tokenizer.decode(shown.prompt) == f"<s>{message_of(alone)}\nAnswer:"
    assert shown.answer == render(example, tokenizer, 500).answer
    assert (shown.needles, shown.dropped) == ([], 0)


@pytest.mark.parametrize("style", [name for name, style in styles().items() if not style.alone])
def test_a_question_about_its_documents_is_not_asked_without_them(make: Any, style: str) -> None:
    example = make([Document(id="d", title="", text="x", gold=True)], style=style)
    with pytest.raises(ValueError, match=rf"^made: a question of the style '{style}' cannot be"):
        without_documents(example)


def test_styles_that_number_or_quote_their_documents_have_no_closed_book() -> None:
    assert {name for name, style in styles().items() if style.alone} == {
        "documents", "mdqa", "haystack", "closed_book",
    }  # fmt: skip
