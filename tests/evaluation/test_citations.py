"""Citations are read and scored as SummHay's script does it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.evaluation.citations import citation_f1, citation_match, cited


def _reference(prediction: str, answer: str) -> float:
    """Precision, recall and their F1, step by step, on its own."""

    def read(text: str) -> set[int]:
        insides = re.findall(r"\[([\d, ]+)\]", text)
        return {int(p.strip()) for inside in insides for p in inside.split(",") if p.strip()}

    found, wanted = read(prediction), read(answer)
    precision = len(found & wanted) / len(found) if found else 0
    recall = len(found & wanted) / len(wanted) if wanted else 0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


_brackets = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(
    lambda numbers: "[" + ", ".join(map(str, numbers)) + "]"
)
_text = st.lists(_brackets | st.sampled_from(["2", "[a]", "[]", " and ", "[ , ]", "(3)"])).map(
    "".join
)


@given(_text, _text)
def test_f1_equals_the_published_steps(prediction: str, answer: str) -> None:
    assert citation_f1(prediction, [answer]) == pytest.approx(_reference(prediction, answer))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[1][4]", {1, 4}),
        ("Rates rose twice in a year [1, 4], and fell [12,3].", {1, 3, 4, 12}),
        ("[4][4][1]", {1, 4}),
        ("1 and 4", set()),
        ("Article 1, (4), [four], [a1]", set()),
        ("[1 4]", {1, 4}),
        ("[1-4]", set()),
        ("", set()),
    ],
)
def test_numbers_are_read_from_brackets(text: str, numbers: set[int]) -> None:
    assert cited(text) == numbers


@pytest.mark.parametrize(
    ("prediction", "f1", "match"),
    [
        ("[1][4]", 1, 1),
        ("[4, 1]", 1, 1),
        ("They are [1] and [4].", 1, 1),
        ("[1]", 2 / 3, 0),
        ("[1][2][3][4]", 2 / 3, 0),
        ("[1][2]", 1 / 2, 0),
        ("[2][3]", 0, 0),
        ("[14]", 0, 0),
        ("none", 0, 0),
    ],
)
def test_known_scores(prediction: str, f1: float, match: float) -> None:
    assert citation_f1(prediction, ["[1][4]"]) == pytest.approx(f1)
    assert citation_match(prediction, ["[1][4]"]) == match


def test_nothing_cited_is_never_right() -> None:
    assert citation_f1("none", ["none"]) == 0
    assert citation_match("none", ["none"]) == 0


def test_the_best_answer_counts() -> None:
    assert citation_f1("[2]", ["[1]", "[2][3]"]) == pytest.approx(2 / 3)
    assert citation_match("[2]", ["[1]", "[2]"]) == 1
