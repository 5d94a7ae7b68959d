"""Verdicts of answers to FLenQA: as the published scorer reads them, and as they are meant.

The published scorer (Levy et al. 2024, "FLenQA analysis.ipynb") is kept with its defects, so that
figures can be compared with published ones; the repaired one stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["true", "false", "other/refused"]

_EARLY = 10  # characters

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_MEANS: dict[str, Verdict] = {"true": "true", "false": "false", "untrue": "false"}
_OPPOSITE: dict[Verdict, Verdict] = {"true": "false", "false": "true"}
_NEGATION = re.compile(r"not|\w+n['’]t")


def published_verdict(text: str) -> Verdict:
    """The later of the last "true" and the last "false", after "not true" became "false".

    Its defects are kept: punctuation stays (the original replaces all punctuation joined into one
    string, which no text holds), so "not 'true'" is true; words have no bounds, so "untrue" is
    true; "not false" is false.
    """
    words = _published_form(text).replace("not true", "false")
    true, false = words.rfind("true"), words.rfind("false")
    if true == false:
        return "other/refused"
    return "true" if true > false else "false"


def verdict(text: str) -> Verdict:
    """What the last word among "true", "false" and "untrue" means, turned round after a negation.

    Whole words only, punctuation and articles aside; "not" or a word on "n't" right before it is a
    negation.
    """
    words = [word for word in _words(text) if not _ARTICLES.fullmatch(word)]
    for i in range(len(words) - 1, -1, -1):
        if words[i] in _MEANS:
            meant = _MEANS[words[i]]
            return _OPPOSITE[meant] if i and _NEGATION.fullmatch(words[i - 1]) else meant
    return "other/refused"


def accuracy_published(prediction: str, answers: Sequence[str]) -> float:
    """1 if the published verdict is in the label in lower case, as the original has it, else 0.

    The label, `answers[0]`, is the text "True" or "False".
    """
    return float(published_verdict(prediction) in answers[0].lower())


def accuracy(prediction: str, answers: Sequence[str]) -> float:
    """1 if the verdict is the label, `answers[0]`, else 0."""
    return float(verdict(prediction) == answers[0].lower())


def published_coverage(text: str, quoted: Sequence[str]) -> int:
    """How many of `quoted` stand in a chain of thought; fewer than 2 is the paper's failure.

    The original reads the field `facts`, or `statement` for Simplified RuleTaker, whatever it
    holds: of one string it counts the characters, and so does this.
    """
    words = _published_form(text)
    return sum(_published_form(fact) in words for fact in quoted)


def coverage(text: str, facts: Sequence[str]) -> int:
    """How many of `facts` stand in a chain of thought, word for word, punctuation aside.

    Raises:
        TypeError: `facts` is one string.
    """
    if isinstance(facts, str):
        raise TypeError(f"facts is the text {facts!r}; give a list of texts")
    words = f" {' '.join(_words(text))} "
    return sum(f" {' '.join(_words(fact))} " in words for fact in facts)


def early_response(text: str) -> bool:
    """Whether the published verdict is given in the first 10 characters, before any reasoning."""
    return published_verdict(text) in _published_form(text)[:_EARLY]


def _published_form(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower()).split())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
