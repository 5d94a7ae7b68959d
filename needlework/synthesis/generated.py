"""What a language model wrote, as it is stored; the code of a dataset knows no more of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from needlework import stored


class Rewrite(NamedTuple):
    """The rewrites of one example's facts, in the order of `parts_of`; None if one failed.

    `refused` has the reason of every reply that was asked for again.
    """

    id: str
    sentences: list[str] | None
    refused: list[str]


class Written(NamedTuple):
    """A document on a topic; `text` is None where none could be used, for `reason`."""

    topic: str
    text: str | None
    reason: str | None


def read_rewrites(path: Path) -> dict[str, Rewrite]:
    """The rewrites that scripts/rewrite_facts.py wrote, by the id of their example."""
    rewrites = [Rewrite(**row) for row in stored.read_rows(path)]
    return {rewrite.id: rewrite for rewrite in rewrites}


def read_written(path: Path) -> dict[str, str]:
    """The documents that scripts/write_documents.py wrote, by topic."""
    rows = [Written(**row) for row in stored.read_rows(path)]
    return {row.topic: row.text for row in rows if row.text is not None}
