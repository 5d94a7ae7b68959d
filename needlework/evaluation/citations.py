"""Scores of answers that cite documents by their numbers, as SummHay scores citations.

Source: Laban et al. (2024), `utils_eval.py`: numbers are read from brackets; the score is the F1
between the cited and the true ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_BRACKETS = re.compile(r"\[([\d, ]+)\]")
_NUMBER = re.compile(r"\d+")


def cited(text: str) -> set[int]:
    """The numbers cited in a text, as in "[1][4]", "[1, 4]".

    The original fails on a bracket such as "[1 4]"; here it cites both.
    """
    return {int(n) for inside in _BRACKETS.findall(text) for n in _NUMBER.findall(inside)}


def citation_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 between the numbers cited and those of an answer, in [0, 1], best over the answers.

    0 where nothing is cited, or nothing is to be cited.
    """
    found = cited(prediction)
    return max(_f1(found, cited(answer)) for answer in answers)


def _f1(found: set[int], wanted: set[int]) -> float:
    shared = len(found & wanted)
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0


def citation_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if exactly the numbers of an answer are cited, and at least one, else 0."""
    found = cited(prediction)
    return float(bool(found) and any(found == cited(answer) for answer in answers))
