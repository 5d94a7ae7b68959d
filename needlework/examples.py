"""The one record that flows from corpus to report, and how it is read and written.

An `Example` is checked whenever it is made, read or written: what leaves a stage is whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from needlework import given, stored
from needlework.atomic import atomic_path
from needlework.text import contains_answer, normalise_answer, padded


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
    """One document of a context; `gold` documents hold what the answer needs.

    `unit` is the smallest piece by which the end of a distractor may be cut off, to fit a context
    into a length: a word of prose, a sentence of filler, an entry of a dictionary.
    """

    id: str
    title: str
    text: str
    gold: bool
    unit: Literal["word", "sentence", "entry"] = "word"


class Fact(_Record):
    """One hop of a question: `answer` stands in `relation` to `subject`.

    Where the subject is the answer of an earlier hop, `subject_hop` is that hop. A question may
    ask about a second entity, `other`, which an earlier hop may have given as well. `question` and
    `statement` are templates over {subject}, {other} and, in the statement, {answer};
    `statement` is None where no template covers the relation.
    """

    hop: int
    relation: str
    subject: str
    answer: str
    question: str
    statement: str | None
    subject_hop: int | None = None
    other: str | None = None
    other_hop: int | None = None

    def state(
        self, subject: str | None = None, answer: str | None = None, other: str | None = None
    ) -> str:
        """The statement as a sentence, with other names where given.

        Raises:
            ValueError: no template covers the relation.
        """
        if self.statement is None:
            raise ValueError(f"no template states the relation {self.relation!r} of hop {self.hop}")
        return self.statement.format(
            subject=self.subject if subject is None else subject,
            answer=self.answer if answer is None else answer,
            other=self.other if other is None else other,
        )


class Example(_Record):
    """A question, its accepted answers, and the documents in the order they are shown.

    `answers[0]` is the training target; all answers count in evaluation. Examples with the same
    `cluster` share a source and are resampled together. `source` says where the example is from;
    `facts` are its hops in order. A question that is answered by citing documents has their ids in
    `cites`, and its answer is `citation(documents, cites)`, such as "[1][4]". `style` names the
    prompt that it is shown in.
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
    facts: list[Fact] = []
    cites: list[str] = []
    style: str = "documents"

    @model_validator(mode="after")
    def _is_whole(self) -> Example:
        texts = {document.id: document for document in self.documents}
        if len(texts) != len(self.documents):
            raise ValueError("two documents have the same id")
        if not self.answers:
            raise ValueError("answers is empty; it takes at least the training target")
        _check_citation(self)
        for needle in self.needles:
            _check_needle(needle, texts.get(needle.document), self.answers)
        if any(needle.role == "answer" for needle in self.needles):
            _check_distractors(self)
        return self

    def needle_text(self, needle: Needle) -> str:
        """The characters of a needle."""
        (document,) = (d for d in self.documents if d.id == needle.document)
        return document.text[needle.start : needle.end]


def citation(documents: Sequence[Document], cites: Sequence[str]) -> str:
    """The documents of the ids `cites` by their numbers as shown, from 1: "[1][4]"."""
    numbers = [i for i, document in enumerate(documents, start=1) if document.id in set(cites)]
    return "".join(f"[{number}]" for number in numbers)


def _check_citation(example: Example) -> None:
    gold = {document.id for document in example.documents if document.gold}
    if not set(example.cites) <= gold:
        missing = sorted(set(example.cites) - gold)
        raise ValueError(f"cites names {missing}, which are no gold documents of this example")
    if example.cites and example.answers[0] != citation(example.documents, example.cites):
        raise ValueError(
            f"the answer {example.answers[0]!r} does not cite what `cites` names; expected "
            f"{citation(example.documents, example.cites)!r}"
        )


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
    wanted = [(answer, padded(answer)) for answer in example.answers if normalise_answer(answer)]
    for document in example.documents:
        if document.gold:
            continue
        words = padded(f"{document.title}\n{document.text}")
        for answer, answer_words in wanted:
            if answer_words in words:
                raise ValueError(f"the distractor {document.id!r} contains the answer {answer!r}")


def read_examples(path: Path | str) -> list[Example]:
    """All examples of a JSONL file; raises as `iter_examples` does."""
    return list(iter_examples(path))


def iter_examples(path: Path | str) -> Iterator[Example]:
    """The examples of a JSONL file one by one, every row checked.

    Raises:
        ValueError: a row is not JSON, not a whole `Example`, or repeats an id; the message names
            the file, the line and the reason.
    """
    lines_by_id: dict[str, int] = {}
    for number, line in given.all_lines(stored.check(given.check_file(path))):
        try:
            example = Example.model_validate_json(line)
        except ValidationError as error:
            reasons = "; ".join(_reason(e) for e in error.errors())
            raise ValueError(given.short(f"{path}, line {number}: {reasons}")) from error
        if example.id in lines_by_id:
            raise ValueError(
                f"{path}, line {number}: the id {given.shown(example.id)} stands in line "
                f"{lines_by_id[example.id]} already; ids are unique in a file"
            )
        lines_by_id[example.id] = number
        yield example


def _reason(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    return f"{where}: {error['msg']}" if where else str(error["msg"])


def write_examples(path: Path | str, examples: Iterable[Example]) -> None:
    """Write examples as JSONL, one per line, atomically; the same examples give the same bytes.

    Raises:
        ValueError: two examples have the same id.
    """
    ids: set[str] = set()
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for example in examples:  # one by one: long contexts need not be in memory together
            if example.id in ids:
                raise ValueError(f"{path}: two examples have the id {example.id!r}")
            ids.add(example.id)
            file.write(_line(example))


def _line(example: Example) -> str:
    # Records are frozen and were checked when they were made; they are checked again here,
    # because model_copy does not run validators.
    line = example.model_dump_json()
    Example.model_validate_json(line)
    return line + "\n"
