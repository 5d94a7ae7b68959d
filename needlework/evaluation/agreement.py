"""Whether predictions answer what they should: every test example, and each one once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from needlework.evaluation.predict import read_predictions
from needlework.examples import iter_examples
from needlework.layout import Run

_NAMED = 3  # ids in a message


def ids_by_task(examples: Sequence[Path]) -> dict[str, set[str]]:
    """The ids of the examples in files, by the task that each example names."""
    ids: dict[str, set[str]] = {}
    for path in examples:
        for example in iter_examples(path):
            ids.setdefault(example.task, set()).add(example.id)
    return ids


def check_answered(predictions: Sequence[Path], expected: Mapping[str, set[str]]) -> None:
    """Refuse predictions that answer an example twice, and plain ones that lack or add examples.

    A condition other than `plain` may answer a part of the examples, or other views of them.

    Args:
        predictions: files of predictions in the folders of their runs, named by their condition.
        expected: the ids of the test examples of each task.

    Raises:
        ValueError: a file is refused, or the examples of its task are not given.
    """
    for path in predictions:
        task = Run.of(path).task
        if task not in expected:
            raise ValueError(
                f"{path}: no test examples of the task {task} are given; add its test.jsonl to "
                "--examples"
            )
        _check_file(path, expected[task])


def _check_file(path: Path, expected: set[str]) -> None:
    counts = Counter(row["id"] for row in read_predictions(path))
    faults = {"repeats": [each for each, times in counts.items() if times > 1]}
    if path.stem == "plain":
        faults["lacks"] = sorted(expected - set(counts))
        faults["adds"] = sorted(set(counts) - expected)
    found = [f"{fault} {len(ids)} ({_named(ids)})" for fault, ids in faults.items() if ids]
    if found:
        raise ValueError(
            f"{path} does not answer each of the {len(expected)} test examples once: it "
            f"{', '.join(found)}; remove it and run again"
        )


def _named(ids: Iterable[str]) -> str:
    first = list(ids)
    return ", ".join(first[:_NAMED]) + (", ..." if len(first) > _NAMED else "")
