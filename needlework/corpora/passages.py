"""A pool of passages to draw distractors from, and which of them repeat a gold passage."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from needlework import given
from needlework.examples import Document
from needlework.text import normalise_answer, padded

Row = tuple[str, str, str]
"""Id, title and text of a passage."""


class Passages:
    """Passages by index; normal forms and documents are made when first asked for, and kept.

    A document made twice is the same object, so that many long contexts share their texts.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)
        self._words: dict[int, str] = {}
        self._documents: dict[int, Document] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def texts(self) -> list[str]:
        """Title and text of every passage, as a retriever indexes them."""
        return [f"{title} {text}" for _, title, text in self._rows]

    def document(self, index: int) -> Document:
        """A passage as a distractor."""
        if index not in self._documents:
            name, title, text = self._rows[index]
            self._documents[index] = Document(id=name, title=title, text=text, gold=False)
        return self._documents[index]

    def words(self, index: int) -> str:
        """Title and text in normal form between spaces: whole words are found as " word "."""
        if index not in self._words:
            _, title, text = self._rows[index]
            self._words[index] = padded(f"{title}\n{text}")
        return self._words[index]


def ngrams(text: str, n: int = 8) -> set[str]:
    """The runs of `n` words of a text in normal form; all its words where there are fewer.

    Two spellings of a passage share some, which is how a pool's copy of a gold passage is found:
    the texts themselves may differ in punctuation, markup or where they were cut.
    """
    words = normalise_answer(text).split()
    return {" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} - {""}


def read_passages(path: Path | str) -> Passages:
    """Read a pool from JSON lines with `title` and `text`, or from DPR's psgs_w100 table.

    The id is `pid` or `id`, else the number of the line. A table (.tsv) has the columns id, text
    and title with a header, as in Karpukhin et al. (2020). Either may be gzipped (.gz). A line of
    questions gives its passages: those in `ctxs` (Lost in the Middle) or `paragraphs` (MuSiQue),
    each text once.

    Raises:
        ValueError: a row lacks a title or a text, repeats an id, or is no JSON; the file holds no
            passage. The message names the file and the line.
    """
    path = Path(path)
    rows: dict[str, Row] = {}
    seen: set[tuple[str, str]] = set()
    for number, record in _table(path) if ".tsv" in path.suffixes else given.rows(path):
        if inside := _of_question(path, number, record):
            for place, (title, text) in enumerate(inside):
                if (title, text) not in seen and str(text).strip():
                    seen.add((title, text))
                    passage = {"id": f"{number}.{place}", "title": title, "text": text}
                    rows[passage["id"]] = _row(path, number, passage)
            continue
        row = _row(path, number, record)
        if row[0] in rows:
            name = given.shown(row[0])
            raise ValueError(f"{path}, line {number}: a second passage has the id {name}")
        rows[row[0]] = row
    if not rows:
        raise ValueError(f"{path} holds no passage; expected one in each line")
    return Passages(rows.values())


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    numbered = given.all_lines(path)
    reader = csv.DictReader((line for _, line in numbered), delimiter="\t")
    try:
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num + 1}: not a table: {error}") from error


def _of_question(path: Path, number: int, record: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Titles and texts of the passages that stand beside a question; none of another record."""
    found = record.get("ctxs") or record.get("paragraphs") or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(
            f"{path}, line {number}: the passages are {given.shown(found)}; expected a list of "
            "objects with title and text"
        )
    inside = [(each.get("title"), each.get("text", each.get("paragraph_text"))) for each in found]
    for title, text in inside:
        if not isinstance(title, str) or not isinstance(text, str):
            _row(path, number, {"title": title, "text": text})
    return inside


def _row(path: Path, number: int, record: dict[str, Any]) -> Row:
    for key in ("title", "text"):
        if not isinstance(record.get(key), str):
            raise ValueError(
                f"{path}, line {number}: {key!r} is {given.shown(record.get(key))}; a passage "
                "takes a 'title' and a 'text', both strings"
            )
    if not record["text"].strip():
        raise ValueError(f"{path}, line {number}: the text is empty; remove the line")
    name = next((record[key] for key in ("pid", "id") if record.get(key) is not None), number)
    return str(name), record["title"], record["text"]
