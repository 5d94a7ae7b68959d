"""Rows of MuSiQue as published: read and checked, their hops located, their components found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from needlework import given
from needlework.corpora.natural_questions import find_answer
from needlework.text import normalise_answer

# "3hop1__9285_5188_23307": hops, kind, then the single-hop questions that it is composed of.
_ID = re.compile(r"(?P<kind>[234]hop[123]?)__(?P<singles>\d+(?:_\d+)+)")
_LINEAR = {
    "2hop": True,
    "3hop1": True,
    "3hop2": False,
    "4hop1": True,
    "4hop2": False,
    "4hop3": False,
}
_REFERENCE = re.compile(r"#(\d)(?!\d)")
_SENTENCE = re.compile(r"[^.!?]*[.!?]*\s*")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Paragraph(_Part):
    """A paragraph of a row; `idx` is its number there."""

    idx: int
    title: str
    paragraph_text: str


class Hop(_Part):
    """A sub-question; "#1" in it stands for the answer of the first."""

    id: int
    question: str
    answer: str
    paragraph_support_idx: int | None


class Row(_Part):
    """A composed question; the last three fields are no field of upstream.

    `component` joins rows that share single-hop questions, directly or through rows that need not
    be in the file; where a `component_has_…` is true, others evaluate on rows of the component.
    """

    id: str
    question: str
    answer: str
    answer_aliases: list[str] = []
    answerable: bool = True
    paragraphs: list[Paragraph]
    question_decomposition: list[Hop]
    component: str | None = None
    component_has_official: bool = False
    component_has_reserved: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Row:
        if _ID.fullmatch(self.id) is None:
            raise ValueError(f"the id is {self.id!r}; expected one such as 3hop1__9285_5188_23307")
        known = [paragraph.idx for paragraph in self.paragraphs]
        if len(set(known)) < len(known):
            raise ValueError("two paragraphs have the same idx")
        for number, hop in enumerate(self.question_decomposition, start=1):
            if self.answerable and hop.paragraph_support_idx not in known:
                raise ValueError(
                    f"hop {number} has the paragraph_support_idx {hop.paragraph_support_idx}; "
                    f"the paragraphs are {known}"
                )
        return self

    @property
    def kind(self) -> str:
        """The beginning of the id, such as "3hop1"."""
        return self.id.partition("__")[0]

    @property
    def hops(self) -> int:
        """Number of hops."""
        return len(self.question_decomposition)

    @property
    def single_hops(self) -> list[str]:
        """Ids of the single-hop questions that the row is composed of."""
        return self.id.partition("__")[2].split("_")

    @property
    def linear(self) -> bool:
        """Whether each hop asks about the answer of the hop before it, and of no other."""
        if self.kind in _LINEAR:
            return _LINEAR[self.kind]
        return all(
            references(hop.question, number) == ([number - 1] if number > 1 else [])
            for number, hop in enumerate(self.question_decomposition, start=1)
        )

    def gold(self, hop: Hop) -> Paragraph:
        """The paragraph that holds a hop's answer."""
        return next(p for p in self.paragraphs if p.idx == hop.paragraph_support_idx)


class Located(NamedTuple):
    """Characters [start, end) of a hop's answer in its paragraph."""

    start: int
    end: int


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of MuSiQue, .jsonl or .jsonl.gz.

    Raises:
        ValueError: a row is not as published, or an answerable row repeats an id; the message
            names the file, the line and the reason.
    """
    rows: list[Row] = []
    lines: dict[str, int] = {}
    for number, record in given.rows(path):
        try:
            row = Row.model_validate(record)
        except ValidationError as error:
            reasons = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()
            )
            raise ValueError(given.short(f"{path}, line {number}: {reasons}")) from error
        # An unanswerable question has the id of its answerable twin.
        if row.answerable and lines.setdefault(row.id, number) != number:
            raise ValueError(
                f"{path}, line {number}: the id {row.id!r} stands in line {lines[row.id]}"
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} holds no row; expected one in each line")
    return rows


def references(question: str, hop: int) -> list[int]:
    """The earlier hops that the sub-question of a hop asks about, in order, each once."""
    numbers = (int(digit) for digit in _REFERENCE.findall(question))
    return list(dict.fromkeys(number for number in numbers if 0 < number < hop))


def locate(text: str, answer: str, question: str) -> Located | None:
    """Where a hop's answer stands in its paragraph, as whole words.

    As it is spelled; else in another case or in normal form. Where it stands more than once, in
    the sentence that shares the most words with the sub-question, the first one of several.
    """
    found = find_answer(text, [answer])
    if found is None:
        return None
    best, most = Located(found.start, found.end), -1
    asked = set(normalise_answer(_REFERENCE.sub(" ", question)).split())
    spelled = text[found.start : found.end] == answer
    for sentence in _SENTENCE.finditer(text) if found.number > 1 else ():
        here = find_answer(sentence[0], [answer])
        shared = len(asked & set(normalise_answer(sentence[0]).split()))
        # A sentence with another spelling counts only where none has the answer as it is spelled.
        if here and (sentence[0][here.start : here.end] == answer) == spelled and shared > most:
            most = shared
            best = Located(sentence.start() + here.start, sentence.start() + here.end)
    return best


def components(rows: Sequence[Row]) -> list[str]:
    """The component of every row, named after the least of its single-hop ids.

    Rows that share a single-hop question, or the field `component`, are in the same one.
    """
    parents: dict[str, str] = {}

    def root(node: str) -> str:
        while parents.setdefault(node, node) != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def links(row: Row) -> Iterable[str]:
        yield from row.single_hops
        if row.component is not None:
            yield f"component {row.component}"

    for row in rows:
        first, *others = links(row)
        for other in others:
            parents[root(other)] = root(first)
    least: dict[str, int] = {}
    for row in rows:
        name = root(row.single_hops[0])
        least[name] = min(least.get(name, 10**18), *map(int, row.single_hops))
    return [f"single-hop-{least[root(row.single_hops[0])]}" for row in rows]
