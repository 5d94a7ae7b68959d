"""Token F1 and exact match as SQuAD's published script computes them."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.evaluation.citations import (
    citation_f1,
    citation_match,
    citation_precision,
    citation_recall,
)
from needlework.evaluation.flenqa_scorer import accuracy, accuracy_published
from needlework.evaluation.metrics import (
    best_subspan_em,
    exact_match,
    main_metric,
    metrics_for,
    parseable,
    token_f1,
)

# --- The reference: SQuAD's evaluation script, step by step and on its own ---------------------


def _normalise(text: str) -> str:
    text = text.lower()
    text = "".join(character for character in text if character not in set(string.punctuation))
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def _reference_f1(prediction: str, truth: str) -> float:
    found, wanted = _normalise(prediction).split(), _normalise(truth).split()
    if not found or not wanted:  # added in SQuAD 2.0
        return float(found == wanted)
    left = Counter(wanted)
    same = 0
    for word in found:
        if left[word] > 0:
            left[word] -= 1
            same += 1
    if same == 0:
        return 0.0
    precision, recall = same / len(found), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


_word = st.sampled_from(
    ["the", "The", "a", "an", "Lima", "lima", "Lima,", "city", "of", "1965", "9", "U.S.", "-", "",
     "“x”", "é", "theatre"]
)  # fmt: skip
_phrase = st.lists(_word, max_size=6).map(" ".join) | st.text(max_size=12)


@given(_phrase, st.lists(_phrase, min_size=1, max_size=3))
@settings(deadline=None)
def test_both_metrics_equal_the_published_script(prediction: str, answers: list[str]) -> None:
    expected = max(_reference_f1(prediction, answer) for answer in answers)
    assert token_f1(prediction, answers) == pytest.approx(expected, abs=1e-12)
    matches = any(_normalise(prediction) == _normalise(answer) for answer in answers)
    assert exact_match(prediction, answers) == float(matches)


@given(_phrase, st.lists(_phrase, min_size=1, max_size=3))
@settings(deadline=None)
def test_scores_are_shares_and_a_match_has_full_f1(prediction: str, answers: list[str]) -> None:
    for metric in metrics_for("mdqa").values():
        assert 0 <= metric(prediction, answers) <= 1
        assert metric(answers[-1].replace("\n", " "), answers) == 1
    assert token_f1(prediction, answers) >= exact_match(prediction, answers)


# --- By hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answers", "f1", "match"),
    [
        ("Lima", ["Lima"], 1, 1),
        ("  the LIMA. ", ["Lima"], 1, 1),
        ("a cat", ["the cat"], 1, 1),
        ("climate", ["Lima"], 0, 0),  # words, not letters
        ("9 August", ["9 August 1965"], 0.8, 0),  # precision 1, recall 2/3
        ("1965 August 9", ["9 August 1965"], 1, 0),  # order counts for the match only
        ("Lima Lima", ["Lima"], 2 / 3, 0),  # a repeat is paid for
        ("Lima Lima", ["Lima Lima Peru"], 0.8, 0),  # and counts as often as it is wanted
        ("euro", ["euros (EUR)", "euro", "EUR"], 1, 1),  # the best answer counts
        ("2852777", ["2,852,777"], 1, 1),
        ("UK", ["U.K."], 1, 1),
        ("well-known", ["well known"], 0, 0),  # a hyphen goes without a space
        ("", ["Lima"], 0, 0),
        ("Lima", ["the"], 0, 0),
        ("...", ["the"], 1, 1),  # two empty normal forms agree
    ],
)
def test_known_pairs(prediction: str, answers: list[str], f1: float, match: float) -> None:
    assert token_f1(prediction, answers) == pytest.approx(f1)
    assert exact_match(prediction, answers) == match


# --- Best subspan exact match: the published steps ---------------------------------------------


def _reference_subspan(prediction: str, answers: list[str]) -> float:
    line = prediction.split("\n")[0].strip()
    return 1.0 if any(_normalise(answer) in _normalise(line) for answer in answers) else 0.0


@given(
    st.lists(_phrase | st.just("\n"), max_size=3).map("".join),
    st.lists(_phrase, min_size=1, max_size=3),
)
def test_best_subspan_equals_the_published_steps(prediction: str, answers: list[str]) -> None:
    assert best_subspan_em(prediction, answers) == _reference_subspan(prediction, answers)


@pytest.mark.parametrize(
    ("prediction", "score"),
    [
        ("The capital is Lima, of course.", 1),
        ("climate", 1),  # letters, as published
        ("Quito\nLima", 0),  # the first line only
        ("\nLima", 0),
        ("Quito", 0),
    ],
)
def test_known_subspans(prediction: str, score: float) -> None:
    assert best_subspan_em(prediction, ["the Lima"]) == score


# --- Which task has which ----------------------------------------------------------------------


def test_the_metrics_of_each_task() -> None:
    extractive = {"f1": token_f1, "exact_match": exact_match}
    citation = {
        "citation_f1": citation_f1,
        "citation_precision": citation_precision,
        "citation_recall": citation_recall,
        "exact_match": citation_match,
    }
    for task in ("factbook_lookup", "musique", "jsonl", "anything"):
        assert metrics_for(task) == extractive
    assert metrics_for("mdqa") == extractive | {"best_subspan_em": best_subspan_em}
    assert metrics_for("summhay") == metrics_for("factbook_citation") == citation
    assert metrics_for("flenqa") == {
        "accuracy": accuracy, "accuracy_published": accuracy_published,
    }  # fmt: skip


def test_the_main_metric_of_each_task() -> None:
    assert [main_metric(task) for task in ("mdqa", "musique", "summhay", "flenqa")] == [
        "f1", "f1", "citation_f1", "accuracy",
    ]  # fmt: skip


# --- What counts as an answer ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "prediction", "readable"),
    [
        ("summhay", "Rates rose [2].", True),
        ("summhay", "Articles 2 and 3", False),
        ("summhay", "[ , ]", False),
        ("factbook_citation", "[1][4]", True),
        ("factbook_citation", "[a]", False),
        ("flenqa", "Untrue.", True),
        ("flenqa", "I cannot say.", False),
        ("flenqa", "falsehoods", False),  # the published scorer would read it
        ("musique", "I cannot say.", True),
        ("mdqa", "?", True),
        ("mdqa", " \n", False),
        ("anything", "", False),
    ],
)
def test_replies_that_can_be_read(task: str, prediction: str, readable: bool) -> None:
    assert parseable(task)(prediction) is readable


@given(st.text(max_size=12), st.sampled_from(["summhay", "flenqa", "mdqa"]))
def test_what_cannot_be_read_is_never_right(prediction: str, task: str) -> None:
    answers = {"summhay": "[1][4]", "flenqa": "True", "mdqa": "Lima"}[task]
    if not parseable(task)(prediction):
        assert metrics_for(task)[main_metric(task)](prediction, [answers]) == 0
