"""Citations are read and scored as SummHay's script does it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.evaluation.citations import (
    citation_f1,
    citation_match,
    citation_precision,
    citation_recall,
    cited,
)


def _reference(prediction: str, answer: str) -> tuple[float, float, float]:
    """Precision, recall and their F1, step by step, on its own."""

    def read(text: str) -> set[int]:
        insides = re.findall(r"\[([\d, ]+)\]", text)
        return {int(p.strip()) for inside in insides for p in inside.split(",") if p.strip()}

    found, wanted = read(prediction), read(answer)
    precision = len(found & wanted) / len(found) if found else 0
    recall = len(found & wanted) / len(wanted) if wanted else 0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    return precision, recall, f1


_brackets = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(
    lambda numbers: "[" + ", ".join(map(str, numbers)) + "]"
)
_text = st.lists(_brackets | st.sampled_from(["2", "[a]", "[]", " and ", "[ , ]", "(3)"])).map(
    "".join
)


@given(_text, _text)
def test_scores_equal_the_published_steps(prediction: str, answer: str) -> None:
    metrics = (citation_precision, citation_recall, citation_f1)
    found = tuple(metric(prediction, [answer]) for metric in metrics)
    assert found == pytest.approx(_reference(prediction, answer))


@given(_text, st.lists(_text, min_size=1, max_size=3))
def test_precision_and_recall_are_those_of_the_f1(prediction: str, answers: list[str]) -> None:
    precision = citation_precision(prediction, answers)
    recall = citation_recall(prediction, answers)
    f1 = citation_f1(prediction, answers)
    assert f1 * (precision + recall) == pytest.approx(2 * precision * recall)
    assert f1 == pytest.approx(max(_reference(prediction, answer)[2] for answer in answers))


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
    ("prediction", "precision", "recall", "f1", "match"),
    [
        ("[1][4]", 1, 1, 1, 1),
        ("[4, 1]", 1, 1, 1, 1),
        ("They are [1] and [4].", 1, 1, 1, 1),
        ("[1]", 1, 1 / 2, 2 / 3, 0),
        ("[1][2][3][4]", 1 / 2, 1, 2 / 3, 0),
        ("[1][2]", 1 / 2, 1 / 2, 1 / 2, 0),
        ("[2][3]", 0, 0, 0, 0),
        ("[14]", 0, 0, 0, 0),
        ("none", 0, 0, 0, 0),
    ],
)
def test_known_scores(
    prediction: str, precision: float, recall: float, f1: float, match: float
) -> None:
    assert citation_precision(prediction, ["[1][4]"]) == pytest.approx(precision)
    assert citation_recall(prediction, ["[1][4]"]) == pytest.approx(recall)
    assert citation_f1(prediction, ["[1][4]"]) == pytest.approx(f1)
    assert citation_match(prediction, ["[1][4]"]) == match


def test_nothing_cited_is_never_right() -> None:
    assert citation_f1("none", ["none"]) == 0
    assert citation_match("none", ["none"]) == 0


def test_the_best_answer_counts() -> None:
    assert citation_f1("[2]", ["[1]", "[2][3]"]) == pytest.approx(2 / 3)
    assert citation_precision("[2]", ["[1]", "[2][3]"]) == 1
    # The recall of [1][2] is 1, but [1][2][3][4][5] agrees better: it has the F1 of 8/9.
    answers = ["[1][2]", "[1][2][3][4][5]"]
    assert citation_recall("[1][2][3][4]", answers) == pytest.approx(4 / 5)
    assert citation_match("[2]", ["[1]", "[2]"]) == 1
