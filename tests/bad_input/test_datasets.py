"""Bad files of one's own: each is refused by its file, line and fault, after bounded work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.flenqa import flenqa
from needlework.corpora.jsonl import check_beginning, jsonl, read_questions
from needlework.corpora.musique_rows import read_rows
from needlework.corpora.natural_questions import read_questions as read_natural_questions
from needlework.corpora.passages import read_passages
from needlework.corpora.summhay_topics import read_topic
from needlework.examples import read_examples
from needlework.heads.formats import read_retrieval_head
from needlework.rendering.room import Room
from tests.bad_input import bad_datasets
from tests.bad_input.case import Case, by_name, refused

_READERS: list[tuple[str, Callable[[Path], Any], list[Case]]] = [
    ("own", read_questions, bad_datasets.OWN),
    ("natural_questions", read_natural_questions, bad_datasets.QUESTIONS),
    ("passages", read_passages, bad_datasets.PASSAGES),
    ("musique", read_rows, bad_datasets.MUSIQUE),
    ("summhay", read_topic, bad_datasets.TOPICS),
    ("flenqa", lambda path: flenqa(test=1, seed=0, path=path), bad_datasets.FLENQA),
    ("scores", read_retrieval_head, bad_datasets.SCORES),
    ("examples", read_examples, bad_datasets.EXAMPLES),
]


@pytest.mark.parametrize(
    ("read", "case"),
    [
        pytest.param(read, case, id=f"{name}: {case.name}")
        for name, read, cases in _READERS
        for case in cases
    ],
)
def test_a_bad_file_is_refused(read: Callable[[Path], Any], case: Case, tmp_path: Path) -> None:
    path = case.given(tmp_path)
    refused(case, lambda: read(path))


@pytest.mark.parametrize("case", bad_datasets.SPLITS, ids=by_name)
def test_rows_that_make_no_splits_are_refused(case: Case, room: Room, tmp_path: Path) -> None:
    path = case.given(tmp_path)
    refused(case, lambda: jsonl(train=9, validation=0, test=0, seed=0, room=room, path=path))


def test_the_first_rows_tell_most_of_it(tmp_path: Path) -> None:
    seen = 0
    for number, case in enumerate(bad_datasets.OWN):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = case.given(folder)
        if case.name in ("gz that is cut", "an id twice"):  # these lie beyond the first rows
            check_beginning(path)
        else:
            refused(case, partial(check_beginning, path))
            seen += 1
    assert seen == len(bad_datasets.OWN) - 2


@pytest.mark.parametrize(("mark", "end"), [(b"\xef\xbb\xbf", "\n"), (b"", "\r\n")])
def test_files_of_windows_are_read(tmp_path: Path, mark: bytes, end: str) -> None:
    path = tmp_path / "own.jsonl"
    row = '{"documents": ["It is Ann."], "question": "Who?", "answers": "Ann"}'
    path.write_bytes(mark + f"{row}{end}{row}".encode())
    assert [example.answers for example in read_questions(path)] == [["Ann"], ["Ann"]]
