"""Where a text says what a claim says: its sentences compared with the claim word by word."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

THRESHOLD = 0.45
"""The least score at which a window is taken to say the claim.

Chosen on four news topics of SummHay: 87 % of the documents that are listed as mentioning an
insight reach it, and 0.7 % of the others do.
"""

# What a second sentence has to add to the score to belong to the window.
_SECOND_SENTENCE = 0.1
_WORD = re.compile(r"\w+")
_TITLES = ("Mr", "Ms", "Mrs", "Dr", "St", "No", "vs", "Jr", "Sr", "Inc", "Co", "Ltd", "Corp")
_NO_END = "".join(rf"(?<!\b{title}\.)" for title in _TITLES)
_BREAK = re.compile(
    rf"(?:(?<=[.!?])|(?<=[.!?][\"'”’)\]])){_NO_END}(?<!\b[A-Z]\.)\s+(?=[\"'“‘(\[]?[A-Z0-9])|\s*\n\s*"
)


class Window(NamedTuple):
    """One sentence of a text, or two in a row: characters [start, end), and its score in [0, 1]."""

    start: int
    end: int
    score: float


def sentences(text: str) -> list[tuple[int, int]]:
    """The half-open spans of the sentences of `text`, without the white space between them."""
    start = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    breaks = [m.span() for m in _BREAK.finditer(text, start, end)]
    starts, ends = [start, *(after for _, after in breaks)], [*(at for at, _ in breaks), end]
    return [span for span in zip(starts, ends, strict=True) if span[0] < span[1]]


def align(claims: Sequence[str], texts: Sequence[str]) -> list[list[Window]]:
    """The best window of every text for every claim, as `windows[claim][text]`.

    A claim that stands in a text word for word is found there, with the score 1. Otherwise the
    score of a window is the share of the claim's words that it has, each word counted once and
    weighted by log(1 + n / f), n being the texts and f those that have the word. A second sentence
    is taken in where it adds at least a tenth. The first of equal windows is taken.

    A low score means that the text does not say the claim, see `THRESHOLD`. A text without a
    sentence has the window (0, 0) with the score 0.
    """
    windows, first, twos = _windows(texts)
    places = _places([texts[i][start:end] for i, start, end in windows])
    text_of = np.array([i for i, _, _ in windows], dtype=np.intp)
    found: list[list[Window]] = []
    for claim in claims:
        scores = np.zeros(len(windows))
        weights = {}
        for word in _words(claim):
            at = places.get(word, np.empty(0, dtype=np.intp))
            frequency = len(np.unique(text_of[at]))
            weights[word] = float(np.log1p(len(texts) / max(frequency, 1)))
            scores[at] += weights[word]
        scores /= sum(weights.values()) or 1.0
        ranked = scores - _SECOND_SENTENCE * twos
        row = []
        for text, (low, high) in zip(texts, pairwise(first), strict=True):
            verbatim = text.find(claim) if claim else -1
            if verbatim >= 0:
                row.append(Window(verbatim, verbatim + len(claim), 1.0))
            elif low == high:
                row.append(Window(0, 0, 0.0))
            else:
                best = low + int(ranked[low:high].argmax())
                row.append(Window(*windows[best][1:], float(scores[best])))
        found.append(row)
    return found


def _windows(
    texts: Sequence[str],
) -> tuple[list[tuple[int, int, int]], list[int], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """All windows as (text, start, end); where each text's begin; which are of two sentences."""
    windows: list[tuple[int, int, int]] = []
    first, twos = [0], []
    for i, text in enumerate(texts):
        ones = sentences(text)
        windows += [(i, *span) for span in ones]
        windows += [(i, a, d) for (a, _), (_, d) in pairwise(ones)]
        twos += [False] * len(ones) + [True] * max(len(ones) - 1, 0)
        first.append(len(windows))
    return windows, first, np.array(twos, dtype=np.bool_)


def _places(windows: Sequence[str]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """The windows that have each word."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for i, window in enumerate(windows):
        for word in _words(window):
            places[word].append(i)
    return {word: np.array(at, dtype=np.intp) for word, at in places.items()}


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
