"""Sentences are cut where they end, and claims are found where texts say them."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.corpora.alignment import THRESHOLD, Window, align, sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("  One. two\n\nThree ", ["One. two", "Three"]),  # lower case goes on; a line break ends
        ("Mr. Doe of Acme Inc. Ltd. left. He won.", ["Mr. Doe of Acme Inc. Ltd. left.", "He won."]),
        ("The U.S. Senate met. J. R. Doe spoke.", ["The U.S. Senate met.", "J. R. Doe spoke."]),
        ('He said "No." She left.', ['He said "No."', "She left."]),
        ("It cost 3.5 dollars. 40 came.", ["It cost 3.5 dollars.", "40 came."]),
        ("“Yes.” “No.”", ["“Yes.”", "“No.”"]),
        ("", []),
        (" \n ", []),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@given(st.text(alphabet=st.sampled_from(list('aB. !?\n"”)1')), max_size=60))
def test_sentences_leave_out_nothing_but_white_space(text: str) -> None:
    spans = sentences(text)
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    left = text
    for start, end in reversed(spans):
        left = left[:start] + left[end:]
    assert not left.strip()
    assert all(piece == piece.strip() for piece in cut(text))


TEXTS = [
    "The bank failed in March. Its shares lost four fifths of their worth. People queued.",
    "Shares of the bank were sold. Then, within a day, they lost four fifths of it. All was calm.",
    "The weather was fine. Nobody spoke of the bank.",
]


def test_a_claim_is_found_word_for_word_at_its_own_characters() -> None:
    claim = "shares lost four fifths"
    (row,) = align([claim], TEXTS)
    start = TEXTS[0].index(claim)
    assert row[0] == Window(start, start + len(claim), 1.0)


def test_the_sentence_that_shares_the_rarest_words_is_the_window() -> None:
    (row,) = align(["The shares lost four fifths of their worth."], TEXTS)
    assert TEXTS[0][row[0].start : row[0].end] == "Its shares lost four fifths of their worth."
    assert row[0].score > THRESHOLD > row[2].score


def test_a_second_sentence_is_taken_in_where_it_adds_something() -> None:
    (row,) = align(["Shares lost four fifths when they were sold within a day."], TEXTS)
    window = TEXTS[1][row[1].start : row[1].end]
    assert window == TEXTS[1][: TEXTS[1].index(" All was calm")]
    (row,) = align(["They lost four fifths within a day of it."], TEXTS)
    assert TEXTS[1][row[1].start : row[1].end].startswith("Then")


def test_scores_are_weighted_shares_of_the_words() -> None:
    # n = 2 texts; "red" is in both: log 2; "fox" is in one: log 3; "ran" is in none: log 3.
    (row,) = align(["Red fox ran"], ["A red fox.", "A red hen."])
    both, one = math.log(2), math.log(3)
    assert row[0].score == pytest.approx((both + one) / (both + 2 * one))
    assert row[1].score == pytest.approx(both / (both + 2 * one))


def test_texts_without_sentences_and_claims_without_words_have_no_score() -> None:
    assert align(["Red fox"], ["", "Red. Fox."])[0][0] == Window(0, 0, 0.0)
    assert align(["?!"], ["Red fox."])[0][0].score == 0
    assert align([""], ["Red fox."])[0][0].score == 0
    assert align([], ["Red fox."]) == []
    assert align(["Red fox"], []) == [[]]


# --- On the real topics ------------------------------------------------------------------------


def _half(claim: str, rng: random.Random) -> str:
    words = claim.split()
    return " ".join(words[i] for i in sorted(rng.sample(range(len(words)), len(words) // 2)))


def test_verbatim_insights_are_found_even_by_half_of_their_words(shared_data: Path) -> None:
    """The one part of the data that shows where an insight is, with the string search disabled."""
    rng = random.Random(0)
    verbatim = exact = near = listed = said = others = wrong = 0
    for path in sorted((shared_data / "summhay").glob("*.json")):
        topic = json.loads(path.read_text(encoding="utf-8"))
        texts = [d["document_text"] for d in topic["documents"]]
        insights = [i for s in topic["subtopics"] for i in s["insights"]]
        whole = align([i["insight"] for i in insights], texts)
        halves = align([_half(i["insight"], rng) for i in insights], texts)
        for insight, row, half in zip(insights, whole, halves, strict=True):
            claim = insight["insight"]
            for document, window, guess in zip(topic["documents"], row, half, strict=True):
                if insight["insight_id"] not in document["insights_included"]:
                    others += 1
                    wrong += window.score >= THRESHOLD
                    continue
                listed += 1
                said += window.score >= THRESHOLD
                start = document["document_text"].find(claim)
                if start >= 0:
                    verbatim += 1
                    exact += (window.start, window.end) == (start, start + len(claim))
                    near += guess.start < start + len(claim) and start < guess.end
    assert verbatim > 500
    assert exact == verbatim
    assert near / verbatim > 0.99
    assert 0.85 < said / listed < 0.90
    assert wrong / others < 0.01
