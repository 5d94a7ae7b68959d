"""The questions of Natural Questions as Liu et al. (TACL 2024) ask them of many documents."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from needlework import given
from needlework.corpora.passages import ngrams
from needlework.examples import Document
from needlework.text import normalise_answer


class Span(NamedTuple):
    """Characters [start, end) of a gold passage, and how often an answer stands in it this way."""

    start: int
    end: int
    number: int


@dataclass(frozen=True)
class Question:
    """A question, its accepted answers and its one gold passage.

    `span` is where an answer stands in the gold passage, None where none does; `own` are the
    distractors that the file has, in its order; questions with the same `cluster` have gold
    passages in common.
    """

    row: int
    text: str
    answers: list[str]
    gold: Document
    span: Span | None
    own: list[Document]
    cluster: str


def read_questions(path: Path) -> list[Question]:
    """The questions of a file in the format of Liu et al.

    Raises:
        ValueError: a row lacks a question, answers or its one gold passage; the message names the
            file, the line and what is missing.
    """
    rows = [(number, _checked(path, number, row)) for number, row in given.rows(path)]
    if not rows:
        raise ValueError(f"{path} holds no question; expected one in each line")
    golds = [next(c for c in row["ctxs"] if c["isgold"]) for _, row in rows]
    clusters = _clusters(golds)
    return [
        Question(
            row=number,
            text=row["question"],
            answers=row["answers"],
            gold=Document(id=f"nq-{number}", title=gold["title"], text=gold["text"], gold=True),
            span=find_answer(gold["text"], row["answers"]),
            own=[
                Document(id=f"nq-{number}-{i}", title=c["title"], text=c["text"], gold=False)
                for i, c in enumerate(row["ctxs"])
                if not c["isgold"]
            ],
            cluster=cluster,
        )
        for (number, row), gold, cluster in zip(rows, golds, clusters, strict=True)
    ]


def _checked(path: Path, number: int, row: dict[str, Any]) -> dict[str, Any]:
    where = f"{path}, line {number}"
    if not isinstance(row.get("question"), str):
        raise ValueError(
            f"{where}: 'question' is {given.shown(row.get('question'))}; expected a string"
        )
    answers = row.get("answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) for a in answers):
        raise ValueError(
            f"{where}: 'answers' is {given.shown(answers)}; expected at least one string"
        )
    contexts = row.get("ctxs")
    if not isinstance(contexts, list) or not all(
        isinstance(c, dict)
        and "isgold" in c
        and all(isinstance(c.get(key), str) for key in ("title", "text"))
        for c in contexts
    ):
        raise ValueError(
            f"{where}: 'ctxs' is no list of objects with title, text and isgold; the first two "
            "are strings"
        )
    number_gold = sum(bool(context["isgold"]) for context in contexts)
    if number_gold != 1:
        raise ValueError(f"{where}: {number_gold} of 'ctxs' are gold; expected one")
    return row


def _clusters(golds: Sequence[dict[str, Any]]) -> list[str]:
    """The title of the first gold passage that each one is joined to by titles or common words."""
    parents = list(range(len(golds)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, gold in enumerate(golds):
        links = [("title", gold["title"].lower()), *(("words", n) for n in ngrams(gold["text"]))]
        for link in links:
            one, other = sorted((root(index), root(first.setdefault(link, index))))
            parents[other] = one
    return [golds[root(index)]["title"] for index in range(len(golds))]


def find_answer(text: str, answers: Sequence[str]) -> Span | None:
    """Where the first of `answers` that a text holds stands first, as whole words.

    As it is spelled; else in another case; else in normal form (`normalise_answer`), without the
    punctuation around it. None where it holds none of them.
    """
    known = [answer for answer in answers if normalise_answer(answer)]
    for flags in (0, re.IGNORECASE):
        for answer in known:
            spans = [
                m.span() for m in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", text, flags)
            ]
            if spans:
                return Span(*spans[0], len(spans))
    words = [(normalise_answer(m[0]), *m.span()) for m in re.finditer(r"\S+", text)]
    words = [word for word in words if word[0]]
    for answer in known:
        wanted = normalise_answer(answer).split()
        starts = [
            i
            for i in range(len(words) - len(wanted) + 1)
            if [word[0] for word in words[i : i + len(wanted)]] == wanted
        ]
        if starts:
            start, end = words[starts[0]][1], words[starts[0] + len(wanted) - 1][2]
            span = text[start:end]
            start += len(span) - len(span.lstrip(string.punctuation))
            end -= len(span) - len(span.rstrip(string.punctuation))
            return Span(start, end, len(starts))
    return None
