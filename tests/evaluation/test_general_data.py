"""Local files of the benchmarks: the rows that the hub has, and none both shown and scored."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from needlework.evaluation.general_data import read_local

_WIKIHOW = "[header] How to knit [title] Choose yarn. [step] Take wool."
_ACTIVITY = "A man stands. He lifts a bar. in the end"


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def hellaswag_row(context: str, label: Any = 1) -> dict[str, Any]:
    endings = ["one.", "two.", "three.", "four."]
    return {"context": context, "endings": endings, "label": label, "activity_label": "Knitting"}


def test_mmlu_keeps_every_text_as_it_stands(tmp_path: Path) -> None:
    texts = ['two\nlines, and a "quote"', "None", "0.50", "NA", "", "C"]
    write_csv(tmp_path / "mmlu/test/logic_test.csv", [texts])
    found = read_local(tmp_path, "mmlu", 0)
    assert found.splits["mmlu_logic"].scored == [
        {"question": texts[0], "choices": texts[1:5], "answer": 2}
    ]
    assert found.shots_from is None


def test_mmlu_shows_the_first_rows_of_dev(tmp_path: Path) -> None:
    for split in ("dev", "test"):
        rows = [[f"{split} {i}", "a", "b", "c", "d", "A"] for i in range(4)]
        write_csv(tmp_path / f"mmlu/{split}/logic_{split}.csv", rows)
    found = read_local(tmp_path, "mmlu", 2)
    splits = found.splits["mmlu_logic"]
    assert [row["question"] for row in splits.shots] == ["dev 0", "dev 1"]
    assert [row["question"] for row in splits.scored] == [f"test {i}" for i in range(4)]
    assert found.shots_from == "dev"
    with pytest.raises(ValueError, match="4 of 5 examples"):
        read_local(tmp_path, "mmlu", 5)


@pytest.mark.parametrize("shots", [0, 1, 3])
def test_rows_set_aside_are_not_scored(tmp_path: Path, shots: int) -> None:
    rows = [{"question": f"q{i}", "answer": [f"a{i}"]} for i in range(5)]
    write_lines(tmp_path / "nq_open/dev.jsonl", rows)
    found = read_local(tmp_path, "nq_open", shots)
    splits = found.splits["nq_open"]
    assert splits.shots + splits.scored == rows
    assert len(splits.shots) == shots
    assert (found.shots_from is None) == (shots == 0)


def test_an_example_that_is_scored_as_well_is_refused(tmp_path: Path) -> None:
    row = {"question": "q", "answer": ["a"]}
    write_lines(tmp_path / "nq_open/dev.jsonl", [row, row])
    with pytest.raises(ValueError, match="scored as well"):
        read_local(tmp_path, "nq_open", 1)


@pytest.mark.parametrize(
    ("context", "first", "second"),
    [
        (_WIKIHOW, _WIKIHOW, ""),
        (_ACTIVITY, "A man stands. He lifts a bar.", "in the end"),
        ("Is it? yes! the U.S. team", "Is it? yes! the U.S.", "team"),
    ],
)
def test_the_unfinished_sentence_of_hellaswag_is_the_second_part(
    tmp_path: Path, context: str, first: str, second: str
) -> None:
    write_lines(tmp_path / "hellaswag/val.jsonl", [hellaswag_row(context)])
    (row,) = read_local(tmp_path, "hellaswag", 0).splits["hellaswag"].scored
    assert (row["ctx_a"], row["ctx_b"], row["label"]) == (first, second, "1")


def test_triviaqa_gives_the_question_alone(tmp_path: Path) -> None:
    row = {"context": "Question: Who?\nAnswer:", "answer": "He", "aliases": ["Him", "He"]}
    write_lines(tmp_path / "triviaqa/sample.jsonl.gz", [row])
    (found,) = read_local(tmp_path, "triviaqa", 0).splits["triviaqa"].scored
    assert found == {"question": "Who?", "answer": {"aliases": ["Him", "He"]}}


@pytest.mark.parametrize(
    ("benchmark", "name", "row", "message"),
    [
        ("gsm8k", "test.jsonl", {"question": "q", "answer": "5"}, "#### <number>"),
        ("gsm8k", "test.jsonl", {"question": "q"}, "row 1: no key 'answer'"),
        ("hellaswag", "v.jsonl", hellaswag_row("A man", label=4), "label is 4"),
        ("hellaswag", "v.jsonl", hellaswag_row("A man", label="1"), "label is '1'"),
        ("triviaqa", "s.jsonl.gz", {"context": "Who?", "aliases": ["He"]}, "takes 'Question"),
        ("nq_open", "d.jsonl", {"question": "q", "answer": "a"}, "a list of accepted"),
        ("nq_open", "d.jsonl", {"question": "q", "answer": []}, "a list of accepted"),
    ],
)
def test_a_row_of_another_form_is_named(
    tmp_path: Path, benchmark: str, name: str, row: dict[str, Any], message: str
) -> None:
    path = write_lines(tmp_path / benchmark / name, [row])
    with pytest.raises(ValueError, match=message) as raised:
        read_local(tmp_path, benchmark, 0)
    assert str(path) in str(raised.value)


def test_a_wrong_letter_of_mmlu_is_named(tmp_path: Path) -> None:
    write_csv(tmp_path / "mmlu/test/logic_test.csv", [["q", "a", "b", "c", "d", "E"]])
    with pytest.raises(ValueError, match=r"logic_test\.csv, row 1"):
        read_local(tmp_path, "mmlu", 0)


def test_missing_files_and_several_are_errors(tmp_path: Path) -> None:
    for benchmark in ("mmlu", "nq_open"):
        with pytest.raises(FileNotFoundError, match=benchmark):
            read_local(tmp_path, benchmark, 0)
    for name in ("a.jsonl", "b.jsonl"):
        write_lines(tmp_path / "nq_open" / name, [{"question": "q", "answer": ["a"]}])
    with pytest.raises(FileNotFoundError, match=r"found a\.jsonl, b\.jsonl"):
        read_local(tmp_path, "nq_open", 0)


def test_the_hash_follows_the_files_that_are_read(tmp_path: Path) -> None:
    rows = [["q", "a", "b", "c", "d", "A"], ["r", "a", "b", "c", "d", "B"]]
    write_csv(tmp_path / "mmlu/test/logic_test.csv", rows)
    before = read_local(tmp_path, "mmlu", 0).sha256
    write_csv(tmp_path / "mmlu/dev/logic_dev.csv", [["s", "a", "b", "c", "d", "A"]])
    assert read_local(tmp_path, "mmlu", 0).sha256 == before
    assert read_local(tmp_path, "mmlu", 1).sha256 != before
    write_csv(tmp_path / "mmlu/test/logic_test.csv", rows[:1])
    assert read_local(tmp_path, "mmlu", 0).sha256 != before
