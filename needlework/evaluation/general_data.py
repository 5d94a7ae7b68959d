"""Local files of the benchmarks, as the rows that lm-eval's tasks would read from the hub.

Only the rows are made here; prompts, choices, filters and metrics stay those of lm-eval.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from needlework import given
from needlework.provenance import file_hash, value_hash

Row = dict[str, Any]


class Splits(NamedTuple):
    """The rows of one task: those shown as examples, and those scored; none is in both."""

    shots: list[Row]
    scored: list[Row]


class Local(NamedTuple):
    """A benchmark in a folder.

    `splits` is by lm-eval's name of the task, `sha256` of all files read, `shots_from` says where
    the examples in the prompts are from (null without any).
    """

    splits: dict[str, Splits]
    sha256: str
    shots_from: str | None


def read_local(data: Path, benchmark: str, shots: int) -> Local:
    r"""Read the files of a benchmark below `data`.

    - mmlu: `mmlu/test/<subject>_test.csv`, and `mmlu/dev/<subject>_dev.csv` for the examples
      (question, A, B, C, D, answer; no header), as Hendrycks et al. publish them.
    - gsm8k: `gsm8k/test.jsonl` (question, answer), as Cobbe et al. publish it.
    - hellaswag: one `hellaswag/*.jsonl` (context, endings, label, activity_label). The hub has the
      context in two parts; where it ends on an unfinished sentence, that is the second.
    - triviaqa: one `triviaqa/*.jsonl.gz` (context "Question: ...\nAnswer:", aliases).
    - nq_open: one `nq_open/*.jsonl` (question, answer: a list).

    Only MMLU has a split of examples. Of the others the first `shots` rows are set aside for it
    and never scored: ours, and the same for every model.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a row is not of this form, there are fewer examples than `shots`, or one of
            them is scored as well.
    """
    if benchmark == "mmlu":
        return _read_mmlu(data / "mmlu", shots)
    pattern, convert = _FILES[benchmark]
    path = _only(data / benchmark, pattern)
    rows = [_converted(convert, row, path, n) for n, row in given.rows(path)]
    splits = _checked(Splits(rows[:shots], rows[shots:]), path, shots)
    origin = f"the first {shots} rows, which are not scored" if shots else None
    return Local({benchmark: splits}, file_hash(path), origin)


def _read_mmlu(folder: Path, shots: int) -> Local:
    found: dict[str, Splits] = {}
    hashes: dict[str, str] = {}
    tests = sorted((folder / "test").glob("*_test.csv"))
    if not tests:
        raise FileNotFoundError(f"{folder / 'test'} holds no <subject>_test.csv; put them there")
    for test in tests:
        subject = test.name.removesuffix("_test.csv")
        dev = folder / "dev" / f"{subject}_dev.csv"
        files = {"test": test} | ({"dev": dev} if shots else {})
        rows = {split: _read_csv(path) for split, path in files.items()}
        splits = Splits(rows.get("dev", [])[:shots], rows["test"])
        found[f"mmlu_{subject}"] = _checked(splits, dev, shots)
        hashes |= {f"{split}/{path.name}": file_hash(path) for split, path in files.items()}
    return Local(found, value_hash(hashes), "dev" if shots else None)


def _checked(splits: Splits, path: Path, shots: int) -> Splits:
    if len(splits.shots) < shots or not splits.scored:
        raise ValueError(
            f"{path} gives {len(splits.shots)} of {shots} examples for the prompts and leaves "
            f"{len(splits.scored)} rows to score; ask for fewer shots, or add rows"
        )
    if shown := [row for row in splits.shots if row in splits.scored]:
        raise ValueError(
            f"{path}: an example for the prompts is scored as well: {shown[0]}; remove one of the "
            "two rows"
        )
    return splits


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(f"{folder} has to hold one {pattern}; found {names}")
    return found[0]


def _read_csv(path: Path) -> list[Row]:
    # Not through pandas: it reads "None" and "NA" as missing, and "0.50" as 0.5.
    read = csv.reader(line for _, line in given.all_lines(path))
    try:
        return [_converted(_mmlu, row, path, n) for n, row in enumerate(read, start=1)]
    except csv.Error as error:
        raise ValueError(f"{path}, line {read.line_num}: not a table: {error}") from error


def _converted(convert: Callable[[Any], Row], row: Any, path: Path, number: int) -> Row:
    try:
        return convert(row)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(given.short(f"{path}, row {number}: {reason}")) from error


def _mmlu(row: list[str]) -> Row:
    if len(row) != 6 or row[5] not in ("A", "B", "C", "D"):
        raise ValueError(f"takes question, A, B, C, D and one of these letters, got {row}")
    return {"question": row[0], "choices": row[1:5], "answer": "ABCD".index(row[5])}


def _gsm8k(row: Row) -> Row:
    if "#### " not in row["answer"]:
        raise ValueError(f"the answer has to end on '#### <number>', got {row['answer']!r}")
    return {"question": row["question"], "answer": row["answer"]}


def _hellaswag(row: Row) -> Row:
    if row["label"] not in range(len(row["endings"])):
        raise ValueError(f"label is {row['label']!r}; there are {len(row['endings'])} endings")
    # Greedy: after the last end of a sentence. Rows of WikiHow end on a whole sentence.
    unfinished = re.fullmatch(r"(.*[.!?]) (.*[^.!?\s])\s*", row["context"], re.DOTALL)
    first, second = unfinished.groups() if unfinished else (row["context"], "")
    return {
        "activity_label": row["activity_label"],
        "ctx_a": first,
        "ctx_b": second,
        "endings": row["endings"],
        "label": str(row["label"]),
    }


def _triviaqa(row: Row) -> Row:
    asked = re.fullmatch(r"Question: (.+)\nAnswer:", row["context"], re.DOTALL)
    if asked is None:
        raise ValueError(f"context is {row['context']!r}, takes 'Question: ...\\nAnswer:'")
    return {"question": asked[1], "answer": {"aliases": _texts(row["aliases"])}}


def _nq_open(row: Row) -> Row:
    return {"question": row["question"], "answer": _texts(row["answer"])}


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ValueError(f"takes a list of accepted answers, got {value!r}")
    return value


_FILES: dict[str, tuple[str, Callable[[Any], Row]]] = {
    "gsm8k": ("test.jsonl", _gsm8k),
    "hellaswag": ("*.jsonl", _hellaswag),
    "triviaqa": ("*.jsonl.gz", _triviaqa),
    "nq_open": ("*.jsonl", _nq_open),
}
