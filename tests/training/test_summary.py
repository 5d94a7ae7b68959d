"""One row per training, with what its training.json says, or a reason why not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from needlework.training.summary import (
    CURVE_COLUMNS,
    TRAINING_COLUMNS,
    curve_table,
    training_table,
)

_RECORD: dict[str, Any] = {
    "settings": {"method": "lora", "rank": 8},
    "dtype": "bfloat16", "attention": "sdpa", "checkpointing": "selective",
    "steps": 12, "examples": {"train": 48, "validation": 16},
    "tokens": {"prompt": 1000, "answer": 24},
    "seconds": 20.5, "tokens_per_second": 99.9, "tflops_per_second": 410.25,
    "roofline_share": 0.41, "peak_memory_bytes": 45_500_000_000,
    "loss": {"first": 2.5, "last": 0.5, "curve": [[1, 2.5], [12, 0.5]]},
    "validation_loss": 0.75, "trainable_parameters": 6_815_744,
}  # fmt: skip


def _written(root: Path, run: str, record: dict[str, Any]) -> Path:
    path = root / "adapters" / run / "training.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_a_row_says_what_the_record_says(tmp_path: Path) -> None:
    path = _written(tmp_path, "llama/mdqa/real:0.5+symbolic:0.5/seed3", _RECORD)
    (row,) = training_table([path]).to_dict("records")
    assert row == {
        "model": "llama", "task": "mdqa", "variant": "real:0.5+symbolic:0.5", "seed": 3,
        "examples": 48, "steps": 12, "tokens": 1024, "seconds": 20.5, "tokens_per_second": 99.9,
        "tflops_per_second": 410.25, "roofline_share": 0.41, "peak_memory_gb": 45.5,
        "attention": "sdpa", "dtype": "bfloat16", "checkpointing": "selective", "method": "lora",
        "trainable_parameters": 6_815_744, "loss_first": 2.5, "loss_last": 0.5,
        "validation_loss": 0.75,
    }  # fmt: skip
    assert list(row) == TRAINING_COLUMNS


def test_the_command_writes_a_row_per_run_in_the_order_given(tmp_path: Path, root: Path) -> None:
    unknown = {
        "roofline_share": None, "validation_loss": None, "tflops_per_second": None,
        "peak_memory_bytes": None,
    }  # fmt: skip
    paths = [
        _written(tmp_path, f"llama/mdqa/{variant}/seed0", _RECORD | changed)
        for variant, changed in (("symbolic", unknown), ("real", {}))
    ]
    output = tmp_path / "statistics" / "training.csv"
    curves = output.with_name("training_curves.csv")
    script = root / "scripts" / "summarise_training.py"
    command = [sys.executable, script, "--output", output, "--curves", curves]
    subprocess.run([*command, "--records", *paths], check=True)
    table = pd.read_csv(output)
    assert list(table.columns) == TRAINING_COLUMNS
    assert list(table["variant"]) == ["symbolic", "real"]
    empty = ["tflops_per_second", "roofline_share", "peak_memory_gb", "validation_loss"]
    assert table[empty].isna().all(axis=1).tolist() == [True, False]
    assert table["tokens"].tolist() == [1024, 1024]
    assert curves.read_text().splitlines() == [
        "model,task,variant,seed,step,loss",
        "llama,mdqa,symbolic,0,1,2.5", "llama,mdqa,symbolic,0,12,0.5",
        "llama,mdqa,real,0,1,2.5", "llama,mdqa,real,0,12,0.5",
    ]  # fmt: skip
    subprocess.run(command, check=True)  # a study whose models are all tuned elsewhere
    assert output.read_text().splitlines() == [",".join(TRAINING_COLUMNS)]
    assert curves.read_text().splitlines() == [",".join(CURVE_COLUMNS)]


@pytest.mark.parametrize(
    ("lost", "key"), [("seconds", "seconds"), ("loss", "loss.first"), ("tokens", "tokens.prompt")]
)
def test_an_older_file_is_refused_by_its_key(tmp_path: Path, lost: str, key: str) -> None:
    record = {name: value for name, value in _RECORD.items() if name != lost}
    path = _written(tmp_path, "llama/mdqa/real/seed0", record)
    with pytest.raises(ValueError, match=rf"training\.json has no {key}: .* delete the file"):
        training_table([path])


def test_a_record_without_its_curve_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, "llama/mdqa/real/seed0", _RECORD | {"loss": {"first": 2.5}})
    with pytest.raises(ValueError, match=r"training\.json has no loss\.curve"):
        curve_table([path])


def test_another_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    path.write_text(json.dumps(_RECORD), encoding="utf-8")
    with pytest.raises(ValueError, match="not of the form"):
        training_table([path])
