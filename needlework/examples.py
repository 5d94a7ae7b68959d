"""The one record that flows from corpus to report, and how it is read and written.

An `Example` is checked whenever it is made, read or written: what leaves a stage is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from needlework.atomic import write_text
from needlework.text import contains_answer


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Needle(_Record):
    """A place in a document that the answer depends on; characters [start, end) of its text."""

    document: str
    start: int
    end: int
    role: Literal["answer", "bridge", "insight"]
    hop: int = 1
    relation: str | None = None


class Document(_Record):
    """One document of a context; `gold` documents hold what the answer needs."""

    id: str
    title: str
    text: str
    gold: bool


class Example(_Record):
    """A question, its accepted answers, and the documents in the order they are shown.

    `answers[0]` is the training target; all answers count in evaluation. Examples with the same
    `cluster` share a source and are resampled together. `source` says where the example is from.
    """

    id: str
    task: str
    variant: str
    question: str
    answers: list[str]
    documents: list[Document]
    needles: list[Needle]
    cluster: str
    source: dict[str, Any]

    @model_validator(mode="after")
    def _is_whole(self) -> Example:
        texts = {document.id: document for document in self.documents}
        if len(texts) != len(self.documents):
            raise ValueError("two documents have the same id")
        if not self.answers:
            raise ValueError("answers is empty; it takes at least the training target")
        for needle in self.needles:
            _check_needle(needle, texts.get(needle.document), self.answers)
        if any(needle.role == "answer" for needle in self.needles):
            _check_distractors(self)
        return self

    def needle_text(self, needle: Needle) -> str:
        """The characters of a needle."""
        (document,) = (d for d in self.documents if d.id == needle.document)
        return document.text[needle.start : needle.end]


def _check_needle(needle: Needle, document: Document | None, answers: list[str]) -> None:
    if document is None:
        raise ValueError(f"a needle names the document {needle.document!r}, which is not here")
    if not 0 <= needle.start < needle.end <= len(document.text):
        raise ValueError(
            f"the needle {needle.start}:{needle.end} is outside the document {document.id!r} "
            f"of {len(document.text)} characters"
        )
    if not document.gold:  # a distractor may be left out of a context, and its needle with it
        raise ValueError(f"a needle lies in {document.id!r}, which is not gold; mark it gold")
    span = document.text[needle.start : needle.end]
    if needle.role == "answer" and not any(contains_answer(span, a) for a in answers):
        raise ValueError(f"the answer needle {span!r} contains none of the answers {answers}")


def _check_distractors(example: Example) -> None:
    for document in example.documents:
        for answer in example.answers:
            if not document.gold and contains_answer(document.text, answer):
                raise ValueError(f"the distractor {document.id!r} contains the answer {answer!r}")


def read_examples(path: Path | str) -> list[Example]:
    """Read a JSONL file of examples, every row checked.

    Raises:
        ValueError: a row is not JSON, not a whole `Example`, or repeats an id; the message names
            the file, the line and the reason.
    """
    examples: list[Example] = []
    lines_by_id: dict[str, int] = {}
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                example = Example.model_validate_json(line)
            except ValidationError as error:
                reasons = "; ".join(_reason(e) for e in error.errors())
                raise ValueError(f"{path}, line {number}: {reasons}") from error
            if example.id in lines_by_id:
                raise ValueError(
                    f"{path}, line {number}: the id {example.id!r} stands in line "
                    f"{lines_by_id[example.id]} already; ids are unique in a file"
                )
            lines_by_id[example.id] = number
            examples.append(example)
    return examples


def _reason(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def write_examples(path: Path | str, examples: Iterable[Example]) -> None:
    """Write examples as JSONL, one per line, atomically; the same examples give the same bytes.

    Raises:
        ValueError: two examples have the same id.
    """
    rows = list(examples)
    ids = {example.id for example in rows}
    if len(ids) != len(rows):
        raise ValueError(f"{path}: {len(rows)} examples have only {len(ids)} different ids")
    write_text(path, "".join(_line(example) for example in rows))


def _line(example: Example) -> str:
    # Records are frozen and were checked when they were made; their spans are checked again here,
    # because model_copy does not run validators.
    Example.model_validate(example.model_dump())
    return json.dumps(example.model_dump(), ensure_ascii=False) + "\n"
