"""Questions are read whole, their answers found, and those with a common gold passage meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.corpora.natural_questions import find_answer, read_questions
from needlework.text import contains_answer

LONG = "the quick brown fox jumps over the lazy dog near one wide river bank"


def row(question: str, title: str, text: str, *answers: str, **more: Any) -> dict[str, Any]:
    gold = {"title": title, "text": text, "hasanswer": True, "isgold": True}
    return {"question": question, "answers": list(answers), "ctxs": [gold], **more}


def read(tmp_path: Path, *rows: object) -> Any:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(r)}\n" for r in rows), encoding="utf-8")
    return read_questions(path)


def test_a_row_becomes_a_question(tmp_path: Path) -> None:
    wrong = {"title": "B", "text": "Other text.", "hasanswer": False, "isgold": False}
    first = row("who?", "A", "It was Ann.", "Ann", "Annie")
    first["ctxs"] = [wrong, *first["ctxs"], wrong | {"title": "C"}]
    (question,) = read(tmp_path, first)
    assert (question.row, question.text, question.answers) == (1, "who?", ["Ann", "Annie"])
    assert (question.gold.title, question.gold.text) == ("A", "It was Ann.")
    assert question.gold.gold
    assert [(d.title, d.gold) for d in question.own] == [("B", False), ("C", False)]
    assert len({d.id for d in [question.gold, *question.own]}) == 3
    assert question.span == (7, 10, 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": None}, "'question' is None"),
        ({"answers": []}, "'answers' is []"),
        ({"answers": "Ann"}, "'answers' is 'Ann'"),
        ({"ctxs": []}, "0 of 'ctxs' are gold"),
        ({"ctxs": [{"title": "A"}]}, "'ctxs' is no list of objects with title, text and isgold"),
        ({"ctxs": row("", "A", "b")["ctxs"] * 2}, "2 of 'ctxs' are gold"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    good = row("who?", "A", "It was Ann.", "Ann")
    with pytest.raises(ValueError, match=r"questions\.jsonl, line 2") as raised:
        read(tmp_path, good, good | change)
    assert reason in str(raised.value)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no question"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "answers", "expected", "number"),
    [
        ("In 19012 and 1901 it was 1901.", ["1901"], "1901", 2),
        ("In 21901.", ["1901"], None, 0),
        ("It was Brad Johnson's pass.", ["Brad Johnson"], "Brad Johnson", 1),
        ("By BRAD JOHNSON's side", ["Brad Johnson"], "BRAD JOHNSON", 1),
        ("It was ANN, then Ann.", ["Ann"], "Ann", 1),
        ("It was ANN, then ann.", ["Ann"], "ANN", 2),
        ("Bob and Ann", ["Cid", "Ann", "Bob"], "Ann", 1),
        ("BOB and Ann", ["Bob", "Ann"], "Ann", 1),
        ('By "J. R. R.  Tolkien", too', ["JRR Tolkien", "J R R Tolkien"], "J. R. R.  Tolkien", 1),
        ("Bank of the (England).", ["the Bank of England"], "Bank of the (England", 1),
        ("It was an odd day.", ["A", "the"], None, 0),
        ("climate", ["Lima"], None, 0),
    ],
)  # fmt: skip
def test_where_an_answer_stands(
    text: str, answers: list[str], expected: str | None, number: int
) -> None:
    found = find_answer(text, answers)
    assert (found and text[found.start : found.end]) == expected
    assert (found.number if found else 0) == number


WORDS = st.lists(
    st.sampled_from(["The", "Ann,", "ann", "b-c", "\u201cX\u201d", "(x)", "…"]), max_size=6
)


@given(WORDS, WORDS)
def test_a_span_contains_the_answer_wherever_the_text_does(
    words: list[str], answer: list[str]
) -> None:
    text, wanted = "  ".join(words), " ".join(answer)
    found = find_answer(text, [wanted])
    if contains_answer(text, wanted):
        assert found is not None
    if found is not None:
        assert contains_answer(text[found.start : found.end], wanted)


def test_questions_with_a_gold_passage_in_common_are_one_cluster(tmp_path: Path) -> None:
    questions = read(
        tmp_path,
        row("a", "Lima", "Lima is a city.", "city"),
        row("b", "Oslo", f"Oslo: {LONG}.", "Oslo"),
        row("c", "LIMA", "It is the capital.", "capital"),
        row("d", "Rome", f"{LONG.title()}, in Rome.", "Rome"),
        row("e", "Rome", "Rome is old.", "old"),
        row("f", "Bern", "the quick brown fox jumps over a cat", "fox"),
    )
    assert [q.cluster for q in questions] == ["Lima", "Oslo", "Lima", "Oslo", "Oslo", "Bern"]


def test_a_question_can_join_two_clusters(tmp_path: Path) -> None:
    questions = read(
        tmp_path,
        row("a", "Lima", "Lima is a city.", "city"),
        row("b", "Oslo", f"Oslo: {LONG}.", "Oslo"),
        row("c", "Lima", f"Lima: {LONG}.", "Lima"),
        row("d", "Oslo", "Oslo is old.", "old"),
    )
    assert {q.cluster for q in questions} == {"Lima"}


def test_the_real_questions(shared_data: Path) -> None:
    questions = read_questions(shared_data / "mdqa/nq-open-oracle.jsonl.gz")
    assert len(questions) == 2355
    assert sum(question.span is None for question in questions) == 0
    assert len({question.cluster for question in questions}) == 2140
