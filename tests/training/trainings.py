"""What the tests of training share: short examples, settings, and how results are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from needlework import models
from needlework.examples import Document, Example, Needle
from needlework.training.settings import SftSettings

LENGTH = 420
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
ADAPTER = "adapter_model.safetensors"
SETTINGS: dict[str, Any] = {
    "method": "lora", "target_modules": TARGETS, "rank": 4, "alpha": 8, "dropout": 0.0,
    "learning_rate": 1e-2, "schedule": "linear", "warmup": 0.0, "weight_decay": 0.0,
    "max_grad_norm": 1.0, "epochs": 2.0, "batch": 4, "batch_per_device": 1,
    "validation_loss": True, "activation_checkpointing": "none", "deepspeed": None,
    "stop_above": 2.0,
}  # fmt: skip
# What a record says of one process, and not of the training.
OF_A_PROCESS = {
    "seconds", "tokens_per_second", "tflops_per_second", "roofline_share", "peak_memory_bytes",
    "resumed_at_step",
}  # fmt: skip


def settings(**changed: Any) -> SftSettings:
    """The settings of the tests, some of them changed."""
    return SftSettings(**SETTINGS | changed)


def example(number: int) -> Example:
    """A question about one of two towns; prompts and answers are of different lengths."""
    answer = f"{'very ' * (number % 3)}old bell {number}"
    texts = [f"The town {number} has the {answer}.", f"No bell hangs in town {'x' * number}."]
    documents = [
        Document(id=f"d{i}", title="", text=text, gold=i == 0) for i, text in enumerate(texts)
    ]
    start = texts[0].index(answer)
    needle = Needle(document="d0", start=start, end=start + len(answer), role="answer")
    return Example(
        id=f"e{number}", task="t", variant="real", question=f"What has town {number}?",
        answers=[answer], documents=documents[:: 1 - 2 * (number % 2)], needles=[needle],
        cluster=f"c{number}", source={},
    )  # fmt: skip


def command(base: models.Base, data: Path, folder: Path, **changed: Any) -> list[str]:
    """The script and its flags; it writes to `folder`/adapter."""
    flags: list[str] = []
    for name, value in (SETTINGS | changed).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            flags += [flag] * value
        elif value is not None:
            flags += [flag, *map(str, value if isinstance(value, list) else [value])]
    return [
        "scripts/train_adapter.py", "--base", str(Path(base.path).parent / "base.json"),
        "--dataset", str(data), "--output", str(folder / "adapter"),
        "--checkpoints", str(folder / "checkpoints"), "--length", str(LENGTH), "--seed", "0",
        "--dtype", "float32", "--attention", "sdpa", *flags,
    ]  # fmt: skip


def environment(root: Path) -> dict[str, str]:
    """Of a process that runs a script of this checkout."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def losses(adapter: Path) -> list[float]:
    """The loss of every step, as the log has it."""
    rows = [json.loads(line) for line in (adapter / "log.jsonl").open(encoding="utf-8")]
    return [row["loss"] for row in rows if "loss" in row]


def record(adapter: Path) -> dict[str, Any]:
    """What training.json holds."""
    found: dict[str, Any] = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    return found


def of_the_training(adapter: Path) -> dict[str, Any]:
    """The record without what another process would measure otherwise."""
    return {key: value for key, value in record(adapter).items() if key not in OF_A_PROCESS}


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    """The weights of an adapter by name."""
    found: dict[str, torch.Tensor] = load_file(adapter / ADAPTER)
    return found


def assert_same_weights(one: Path, other: Path, *, rtol: float, atol: float) -> None:
    """Both adapters have the same weights, within a tolerance."""
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, expected[name], rtol=rtol, atol=atol)
