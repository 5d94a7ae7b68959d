"""How the trainings of a study went, from the training.json files: a row per run, and losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd

from needlework import stored
from needlework.layout import Run

# Each column, and where training.json has it.
_FOUND = {
    "examples": "examples.train",
    "steps": "steps",
    "tokens_prompt": "tokens.prompt",
    "tokens_answer": "tokens.answer",
    "seconds": "seconds",
    "tokens_per_second": "tokens_per_second",
    "tflops_per_second": "tflops_per_second",
    "roofline_share": "roofline_share",
    "peak_memory_bytes": "peak_memory_bytes",
    "attention": "attention",
    "dtype": "dtype",
    "checkpointing": "checkpointing",
    "method": "settings.method",
    "trainable_parameters": "trainable_parameters",
    "loss_first": "loss.first",
    "loss_last": "loss.last",
    "validation_loss": "validation_loss",
}
TRAINING_COLUMNS = [
    *Run._fields,
    "examples", "steps", "tokens", "seconds", "tokens_per_second", "tflops_per_second",
    "roofline_share", "peak_memory_gb", "attention", "dtype", "checkpointing", "method",
    "trainable_parameters", "loss_first", "loss_last", "validation_loss",
]  # fmt: skip
CURVE_COLUMNS = [*Run._fields, "step", "loss"]


def training_table(paths: Sequence[Path]) -> pd.DataFrame:
    """One row per run, with the columns `TRAINING_COLUMNS`.

    `tokens` are those of one pass over the training examples, prompts and answers;
    `peak_memory_gb` is in units of 1e9 bytes. What a file has as null is left empty.

    Args:
        paths: files adapters/<model>/<task>/<variant>/seed<n>/training.json.

    Raises:
        ValueError: a path does not have that form, or a file lacks a key.
    """
    rows = []
    for path in paths:
        run, record = _read(path)
        found = {column: _value(record, key, path) for column, key in _FOUND.items()}
        memory = found["peak_memory_bytes"]
        rows.append(
            run._asdict()
            | found
            | {
                "tokens": found["tokens_prompt"] + found["tokens_answer"],
                "peak_memory_gb": None if memory is None else memory / 1e9,
            }
        )
    return pd.DataFrame(rows, columns=TRAINING_COLUMNS)


def curve_table(paths: Sequence[Path]) -> pd.DataFrame:
    """The training loss of every step that a record has, with the columns `CURVE_COLUMNS`.

    Args:
        paths: as `training_table`.

    Raises:
        ValueError: as `training_table`.
    """
    rows = []
    for path in paths:
        run, record = _read(path)
        rows += [(*run, step, loss) for step, loss in _value(record, "loss.curve", path)]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def _read(path: Path) -> tuple[Run, dict[str, Any]]:
    return Run.of(path), stored.read_json(path)


def _value(record: dict[str, Any], key: str, path: Path) -> Any:
    try:
        return reduce(lambda part, name: part[name], key.split("."), record)
    except KeyError:
        raise ValueError(
            f"{path} has no {key}: another version of needlework wrote it; delete the file and "
            "run again to train anew"
        ) from None
