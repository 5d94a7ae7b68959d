"""Which characters of a long document a page shows: its beginning, and what matters in it."""

from __future__ import annotations

from collections.abc import Iterable

HEAD = 240
"""Characters of a distractor that are shown."""

GOLD_HEAD = 1_200
"""Characters of a gold document that are shown."""

LEAST = 20
"""A gap of fewer characters is not worth a word, and is shown."""

_ALL_HEADS = 6_000  # of all documents of an example: with more than 25, each keeps less
_AROUND = 60  # on either side of a needle or an attended place

Span = tuple[int, int]


def head_of(most: int, documents: int) -> int:
    """How many characters of each of so many documents are shown, at most `most`."""
    return min(most, max(LEAST, _ALL_HEADS // max(1, documents)))


def kept_parts(length: int, head: int, around: Iterable[Span]) -> list[Span]:
    """Which characters [start, end) of a text are kept: its first `head`, and what is `around`.

    A text without much more than that is kept whole, and so is a gap that is hardly worth a word.
    """
    spans = [(0, head), *((start - _AROUND, end + _AROUND) for start, end in around)]
    parts: list[Span] = []
    for start, end in sorted((max(0, start), min(length, end)) for start, end in spans):
        if parts and start - parts[-1][1] < LEAST:
            parts[-1] = (parts[-1][0], max(end, parts[-1][1]))
        else:
            parts.append((start, end))
    if length - parts[-1][1] < LEAST:
        parts[-1] = (parts[-1][0], length)
    return parts
