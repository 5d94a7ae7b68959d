"""Scores of answers that cite documents by their numbers, as SummHay scores citations.

Source: Laban et al. (2024), `utils_eval.py`: numbers are read from brackets; precision, recall and
F1 are between the set cited and the set of the documents that contain the insight.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_BRACKETS = re.compile(r"\[([\d, ]+)\]")
_NUMBER = re.compile(r"\d+")


def cited(text: str) -> set[int]:
    """The numbers cited in a text, as in "[1][4]", "[1, 4]".

    The original fails on a bracket such as "[1 4]"; here it cites both.
    """
    return {int(n) for inside in _BRACKETS.findall(text) for n in _NUMBER.findall(inside)}


class _Agreement(NamedTuple):
    """How the numbers cited agree with those of an answer; compared by F1 first."""

    f1: float
    precision: float
    recall: float


def citation_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 between the numbers cited and those of an answer, in [0, 1], best over the answers.

    0 where nothing is cited, or nothing is to be cited.
    """
    return _best(prediction, answers).f1


def citation_precision(prediction: str, answers: Sequence[str]) -> float:
    """The share of the numbers cited that are right, in [0, 1]; 0 where nothing is cited.

    Of the answer with the best F1, so that precision, recall and F1 speak of the same one.
    """
    return _best(prediction, answers).precision


def citation_recall(prediction: str, answers: Sequence[str]) -> float:
    """The share of an answer's numbers that are cited, in [0, 1]; 0 where it has none.

    Of the answer with the best F1, as the precision.
    """
    return _best(prediction, answers).recall


def _best(prediction: str, answers: Sequence[str]) -> _Agreement:
    found = cited(prediction)
    return max(_agreement(found, cited(answer)) for answer in answers)


def _agreement(found: set[int], wanted: set[int]) -> _Agreement:
    shared = len(found & wanted)
    if not shared:
        return _Agreement(0.0, 0.0, 0.0)
    f1 = 2 * shared / (len(found) + len(wanted))
    return _Agreement(f1, shared / len(found), shared / len(wanted))


def citation_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if exactly the numbers of an answer are cited, and at least one, else 0."""
    found = cited(prediction)
    return float(bool(found) and any(found == cited(answer) for answer in answers))
