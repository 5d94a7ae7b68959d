"""A training that was killed goes on from its newest checkpoint and ends as if it had not been."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from needlework import models
from needlework.provenance import file_hash
from needlework.training.checkpoints import RecordFiles, SaveByTime, newest, save_steps
from tests.training.trainings import ADAPTER, command, environment, losses, of_the_training, record

Train = Callable[..., Path]
# Long enough to be killed in, with dropout, whose random state has to be carried over.
_LONG = {"epochs": 8.0, "dropout": 0.1}


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") is None
    for step in (2, 10, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").touch()
    (tmp_path / "checkpoint-12").mkdir()  # killed while it was written
    assert newest(tmp_path) == tmp_path / "checkpoint-10"


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("optimizer.bin", lambda old: old[:-1]),
        ("adapter_model.safetensors", lambda old: bytes([old[0] ^ 1]) + old[1:]),
        ("adapter_model.safetensors", lambda old: None),
        ("files.json", lambda old: old[:-3]),
    ],
)
def test_a_damaged_checkpoint_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, damage: Callable[..., Any]
) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("adapter_model.safetensors", "optimizer.bin", "trainer_state.json"):
            (folder / name).write_bytes(f"{name} of step {step}".encode())
        RecordFiles().on_save(args, TrainerState(global_step=step), TrainerControl())
    assert newest(tmp_path) == tmp_path / "checkpoint-10"
    damaged = tmp_path / "checkpoint-10" / file
    content = damage(damaged.read_bytes())
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    assert newest(tmp_path) == tmp_path / "checkpoint-2"
    assert "checkpoint-10 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("examples", "epochs", "batch", "steps"),
    [(10, 12.0, 4, 9), (10, 1.0, 4, 1), (1260, 1.0, 4, 79), (3, 0.5, 4, 1)],
)
def test_a_checkpoint_is_written_every_quarter(
    examples: int, epochs: float, batch: int, steps: int
) -> None:
    assert save_steps(examples, epochs, batch) == steps


def test_a_checkpoint_is_due_when_the_last_is_old(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    asked = {}
    for minutes in (0.0, 1000.0):
        callback, control = SaveByTime(minutes), TrainerControl()
        callback.on_train_begin(args, TrainerState(), control)
        callback.on_step_end(args, TrainerState(), control)
        asked[minutes] = control.should_save
    assert asked == {0.0: True, 1000.0: False}


@pytest.fixture(scope="module")
def killed(
    tiny_base: models.Base, data: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoints of a training that was killed once it had written one."""
    folder = tmp_path_factory.mktemp("killed")
    log = folder / "log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *command(tiny_base, data, folder, **_LONG)],
            cwd=root, env=environment(root), stderr=file,
        )  # fmt: skip
    try:
        while not list(folder.glob("checkpoints/*/checkpoint-*/trainer_state.json")):
            try:
                code = process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"it ended with {code} before a checkpoint: {log.read_text()}")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL  # it was not at its end yet
    assert not (folder / "adapter").exists()
    return folder / "checkpoints"


@pytest.fixture(scope="module")
def resumed(
    trained: Train, killed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The adapter of the training that went on, and what it said."""
    checkpoints = tmp_path_factory.mktemp("resumed") / "checkpoints"
    shutil.copytree(killed, checkpoints)
    said = StringIO()
    with redirect_stderr(said):
        adapter = trained(checkpoints=checkpoints, **_LONG)
    assert not checkpoints.exists()
    return adapter, said.getvalue()


def test_a_killed_training_ends_as_if_it_had_not_been_killed(
    trained: Train, resumed: tuple[Path, str], capfd: pytest.CaptureFixture[str]
) -> None:
    adapter, said = resumed
    assert "going on from" in said
    assert "step 1 of" not in said  # what was done is not done again
    torch.manual_seed(5)
    whole = trained(**_LONG)
    said = capfd.readouterr().err
    assert "going on from" not in said
    assert "step 1 of" in said
    assert file_hash(adapter / ADAPTER) == file_hash(whole / ADAPTER)
    assert losses(adapter) == losses(whole)
    assert of_the_training(adapter) == of_the_training(whole)


def test_speed_is_of_the_process_that_went_on(resumed: tuple[Path, str]) -> None:
    found = record(resumed[0])
    first = found["resumed_at_step"]
    assert first in (6, 12, 18)  # every quarter of 24
    everything = 8 * sum(found["tokens"].values())
    done = found["tokens_per_second"] * found["seconds"]
    assert done / everything == pytest.approx(1 - first / 24, rel=0.05)
    rate = found["flops"] * done / everything / found["seconds"]
    assert found["tflops_per_second"] == pytest.approx(rate / 1e12)


def test_a_training_killed_at_its_very_end_only_writes(
    trained: Train, plain: Path, tmp_path: Path
) -> None:
    """Its last checkpoint is of the last step; what ended it here is a file in the way."""
    (tmp_path / "adapter").touch()
    with pytest.raises(OSError, match="adapter"):
        trained(folder=tmp_path)
    (tmp_path / "adapter").unlink()
    adapter = trained(folder=tmp_path)
    found = record(adapter)
    assert found["resumed_at_step"] == found["steps"] == 6
    assert (found["seconds"], found["tokens_per_second"]) == (0.0, None)
    assert file_hash(adapter / ADAPTER) == file_hash(plain / ADAPTER)
    assert of_the_training(adapter) == of_the_training(plain)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"examples": 9}])
def test_checkpoints_of_another_training_are_not_taken(
    trained: Train,
    killed: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    changed: dict[str, int],
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(killed, checkpoints)
    trained(checkpoints=checkpoints, **_LONG | changed)
    assert "going on from" not in capfd.readouterr().err
    assert not checkpoints.exists()
