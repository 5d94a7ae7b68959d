"""Answer normalisation, containment of an answer in a text, character spans to token spans."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    Source: the SQuAD 1.1 evaluation script (Rajpurkar et al., 2016), in its order of steps, so
    that token F1 and exact match agree with published figures.
    """
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def contains_answer(text: str, answer: str) -> bool:
    """Whether the words of `answer` stand in `text` in a row, both normalised.

    Whole words only: "Lima" is not in "climate". An answer whose normal form is empty is in no
    text, so that it cannot vouch for a needle.
    """
    return bool(normalise_answer(answer)) and padded(answer) in padded(text)


@lru_cache(maxsize=2**15)  # a pool's passages come again in many contexts
def padded(text: str) -> str:
    """The normal form of `text` between spaces, so that whole words are found as " word "."""
    return f" {normalise_answer(text)} "


def token_span(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The half-open range of tokens that overlap the characters [start, end).

    `offsets` are the (start, end) characters of every token, in order, as a fast tokenizer
    returns them; tokens of no width (special tokens) overlap nothing.

    Raises:
        ValueError: no token overlaps the characters: the span and the offsets are not of the
            same text, and a score computed from them would be silently zero.
    """
    inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start and a < b]
    if not inside:
        last = offsets[-1][1] if offsets else 0
        raise ValueError(
            f"no token overlaps the characters {start}:{end}; the {len(offsets)} tokens end at "
            f"character {last}. Were the offsets computed on another text?"
        )
    return inside[0], inside[-1] + 1
