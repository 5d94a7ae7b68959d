"""The user's own questions: the task `jsonl`, from a file of one JSON object a line.

A line has `documents` (objects with `text`, and maybe `title` and `gold`, or plain texts),
`question` and `answers` (a list, or one text); it may have `needles` (objects with `document`,
the document's index from 0, `start` and `end`, and what else a needle has), `facts`, `id`,
`cluster` and `split`.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from needlework.corpora.corpus import Corpus, arranged, dealt
from needlework.examples import Document, Example, Fact, Needle
from needlework.given import json_value, lines, short, shown
from needlework.provenance import derived_seed, file_hash
from needlework.rendering.room import Room

TASK = "jsonl"
SPLITS = ("train", "validation", "test")

_KEYS = (
    "documents", "question", "answers", "needles", "facts", "id", "cluster", "split",
)  # fmt: skip
_DOCUMENT_KEYS = ("text", "title", "gold")
_PROMPT = 128  # tokens for what is not document: instruction, question and answer


class _Row(NamedTuple):
    """A line of the file, checked, and as an example without a split."""

    example: Example
    split: str | None


def jsonl(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    path: Path,
    fill: bool = False,
    test_depths: Sequence[float] = (),
) -> Corpus:
    """The questions of a file of one's own, in an order drawn by the seed.

    The documents are those of the file, in its order: nothing is added where they do not fill the
    length, and distractors are left out later where they are too many. Without `gold` marks, a
    document with a needle is gold. Without `needles`, the first accepted answer that stands in
    the gold documents (or in any, without marks) is the needle; it has to stand there once, as
    whole words.

    Rows are dealt to the splits by `cluster` (each row is its own, by default) and seed, 60 %,
    15 % and 25 %, unless every row names its `split`.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the order of the rows, and the splits where the file does not.
        room: rows whose gold documents do not fit into its length are skipped, and counted.
        path: the file; gzipped where its name ends on .gz.
        fill: whether rows whose documents do not fill the length are skipped, and counted.
        test_depths: where the gold documents of the test examples are put, in turns; empty to
            leave them where they are.

    Raises:
        ValueError: a row is not of the form above, its needle is missing or ambiguous, a cluster
            is in two splits, or a split holds fewer rows than wanted.
    """
    rows = _read(path, seed)
    split_of = _split_of(rows, seed, path)
    order = random.Random(derived_seed(seed, TASK, "order")).sample(range(len(rows)), len(rows))
    examples: dict[str, list[Example]] = {}
    counts: dict[str, Any] = {}
    for split, wanted in zip(SPLITS, (train, validation, test), strict=True):
        mine = [rows[n].example for n in order if split_of[rows[n].example.cluster] == split]
        reasons = [_why_not(example, room, fill) for example in mine]
        kept = [example for example, why in zip(mine, reasons, strict=True) if why is None]
        skipped = dict(Counter(why for why in reasons if why is not None).most_common())
        if wanted > len(kept):
            raise ValueError(
                f"{path} holds {len(kept)} rows for the split {split!r}, but {wanted} are wanted "
                f"({len(mine)} considered; skipped: {skipped}); ask for fewer, add rows, or name "
                "each row's `split`"
            )
        turns = test_depths if split == "test" else ()
        depths: Sequence[float | None] = turns or [None]
        examples[split] = [
            _placed(example, f"{TASK}-{split}-{i:04d}", split, depths[i % len(depths)])
            for i, example in enumerate(kept[:wanted])
        ]
        counts[split] = {
            "considered": len(mine),
            "made": wanted,
            "not wanted": len(kept) - wanted,
            "skipped": skipped,
        }
    return Corpus(**examples, counts=counts)


def read_questions(path: Path) -> list[Example]:
    """All rows of such a file as examples, in its order, whatever their split.

    Raises:
        ValueError: a row is not of the form above, or its needle is missing or ambiguous.
    """
    return [row.example for row in _read(path, seed=0)]


def _why_not(example: Example, room: Room, fill: bool) -> str | None:
    golds = [document for document in example.documents if document.gold]
    if sum(map(room.size, golds)) > room.length - _PROMPT:
        return "gold documents longer than the length"
    if fill and not room.is_full(example.documents):
        return "documents do not fill the length"
    return None


def _placed(example: Example, name: str, split: str, depth: float | None) -> Example:
    documents = example.documents
    if depth is not None:
        golds = [document for document in documents if document.gold]
        others = [document for document in documents if not document.gold]
        documents = arranged(golds, others, random.Random(), depth)  # a depth leaves no choice
    source = example.source | {"split": split}
    return example.model_copy(update={"id": name, "documents": documents, "source": source})


def _split_of(rows: Sequence[_Row], seed: int, path: Path) -> dict[str, str]:
    """The split of every cluster."""
    named = {row.split for row in rows} - {None}
    if not named:
        return dealt([row.example.cluster for row in rows], seed, TASK)
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if row.split is None:
            raise ValueError(
                f"{path}, row {number}: no `split`, but other rows name theirs; name it in every "
                "row or in none"
            )
        if found.setdefault(row.example.cluster, row.split) != row.split:
            raise ValueError(
                f"{path}, row {number}: the cluster {row.example.cluster!r} is in the splits "
                f"{found[row.example.cluster]!r} and {row.split!r}; give it one split"
            )
    return found


# --- Reading -----------------------------------------------------------------------------------


def _read(path: Path, seed: int) -> list[_Row]:
    given = list(_parsed(path))
    source = {"corpus": path.name, "sha256": file_hash(path), "seed": seed}
    numbers: dict[str, int] = {}
    rows = []
    for number, value in given:
        row = _checked(path, number, value, source)
        name = row.example.source["id"]
        if numbers.setdefault(name, number) != number:
            raise ValueError(
                f"{path}: two rows have the id {shown(name)}, {numbers[name]} and {number}; give "
                "each its own"
            )
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no row; expected one JSON object a line")
    return rows


def check_beginning(path: Path, rows: int = 20) -> None:
    """Check the first rows of such a file: what is wrong with all of them is seen at once.

    Raises:
        ValueError: as `read_questions` does.
    """
    found = [_checked(path, n, value, {}) for n, value in islice(_parsed(path), rows)]
    if not found:
        raise ValueError(f"{path} has no row; expected one JSON object a line")


def _parsed(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in lines(path):
        yield number, json_value(line, f"{path}, row {number}")


def _checked(path: Path, number: int, value: Any, source: Mapping[str, Any]) -> _Row:
    try:
        return _row(value, number, source)
    except ValueError as error:  # of a record, or of ours
        raise ValueError(short(f"{path}, row {number}: {_reason(error)}")) from error


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors()
        )
    return str(error)


def _row(row: Any, number: int, source: Mapping[str, Any]) -> _Row:
    _check_keys(row, _KEYS, ("documents", "question", "answers"), "the row")
    for key in ("id", "cluster"):
        if isinstance(row.get(key), (dict, list)):
            raise ValueError(f"{key} is {shown(row[key])}, takes a text or a number")
    name = str(row.get("id", number))
    split = row.get("split")
    if split not in (None, *SPLITS):
        raise ValueError(f"the split is {shown(split)}, takes one of {', '.join(SPLITS)}")
    answers = [row["answers"]] if isinstance(row["answers"], str) else row["answers"]
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) for a in answers):
        raise ValueError(f"answers is {shown(answers)}, takes a text or a list of texts")
    for key, text in (("question", row["question"]), *(("an answer", each) for each in answers)):
        if isinstance(text, str) and not text.strip():
            raise ValueError(f"{key} is {shown(text)}, takes a text with at least one letter")
    documents, marked = _documents(_list(row, "documents"), name)
    if "needles" in row:
        needles = [_needle(needle, documents) for needle in _list(row, "needles")]
    else:
        needles = [_found(documents, answers, marked)]
    if not marked:
        gold = {needle.document for needle in needles}
        documents = [d.model_copy(update={"gold": d.id in gold}) for d in documents]
    if not any(document.gold for document in documents):
        raise ValueError("no document is gold; mark those that hold what the answer needs")
    example = Example(
        id=name,
        task=TASK,
        variant="real",
        question=row["question"],
        answers=answers,
        documents=documents,
        needles=needles,
        cluster=str(row.get("cluster", name)),
        source={**source, "row": number, "id": name},
        facts=[Fact.model_validate(fact) for fact in _list(row, "facts")],
    )
    return _Row(example, split)


def _documents(given: list[Any], name: str) -> tuple[list[Document], bool]:
    """The documents of a row, and whether it marks gold ones."""
    objects: list[Any] = [{"text": d} if isinstance(d, str) else d for d in given]
    for i, document in enumerate(objects):
        _check_keys(document, _DOCUMENT_KEYS, ("text",), f"document {i}")
    documents = [
        Document(
            id=f"{name}/{i}", title=d.get("title", ""), text=d["text"], gold=d.get("gold", False)
        )
        for i, d in enumerate(objects)
    ]
    return documents, any("gold" in document for document in objects)


def _needle(given: Any, documents: Sequence[Document]) -> Needle:
    _check_keys(given, tuple(Needle.model_fields), ("document", "start", "end"), "a needle")
    index = given["document"]
    if type(index) is not int or not 0 <= index < len(documents):
        raise ValueError(
            f"a needle is in the document {shown(index)}; takes the index of one of the "
            f"{len(documents)} documents, from 0"
        )
    return Needle(**{"role": "answer", **given, "document": documents[index].id})


def _found(documents: Sequence[Document], answers: Sequence[str], marked: bool) -> Needle:
    """The needle of an answer that stands once in the gold documents, or in all without marks."""
    searched = [document for document in documents if document.gold or not marked]
    where = "the gold documents" if marked else "the documents"
    for answer in answers:
        holding = [document for document in searched if answer in document.text]
        places = [
            (document, match)
            for document in holding
            for match in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", document.text)
        ]
        if len(places) > 1:
            raise ValueError(
                f"the answer {shown(answer)} stands {len(places)} times in {where}; say which "
                "it is in `needles`: [{document, start, end}], and mark other documents `gold` "
                "that hold it"
            )
        if places:
            document, match = places[0]
            return Needle(document=document.id, start=match.start(), end=match.end(), role="answer")
    raise ValueError(
        f"none of the answers {shown(list(answers))} stands in {where} as it is; correct it, or "
        "say where it is in `needles`: [{document, start, end}] ([] if it is not in a text, with "
        "`gold` documents marked)"
    )


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    given = row.get(key, [])
    if not isinstance(given, list):
        raise ValueError(f"{key} is {shown(given)}, takes a list")
    return given


def _check_keys(given: Any, known: Sequence[str], needed: Iterable[str], what: str) -> None:
    if not isinstance(given, dict):
        raise ValueError(f"{what} is {shown(given)}, takes an object with {', '.join(known)}")
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{what} has the unknown key {shown(key)}; {hint}")
    missing = [key for key in needed if key not in given]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
