"""Several processes train what one trains: plain, and with DeepSpeed's ZeRO 1, 2 and 3.

They run on the CPU in float32, so that all that is left of a difference is the order of sums, of
about 1e-7 each; Adam makes more of it where a gradient is near zero. Losses are near 5, weights
near 0.1.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from needlework import models
from needlework.training.trainer import deepspeed_config
from tests.training.trainings import (
    assert_same_weights,
    command,
    environment,
    losses,
    record,
)

Train = Callable[..., Path]
# accelerate starts several processes on GPUs only, by this launcher of torch's.
_TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
_ON_CPU = "tests/training/deepspeed_on_cpu.py"
_LONG = {"epochs": 8.0}

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_each_configuration_is_of_its_stage_and_follows_the_settings(stage: int) -> None:
    config = json.loads(deepspeed_config(stage).read_text(encoding="utf-8"))
    zero = config["zero_optimization"]
    assert zero["stage"] == stage
    assert not any("offload" in key for key in zero)
    assert config["bf16"]["enabled"] == config["gradient_clipping"] == "auto"
    assert config["train_batch_size"] == config["gradient_accumulation_steps"] == "auto"
    assert zero.get("stage3_gather_16bit_weights_on_model_save", False) == (stage == 3)


@pytest.fixture
def launch(
    tiny_base: models.Base, data: Path, root: Path, tmp_path: Path
) -> Callable[..., subprocess.Popen[str]]:
    """Starts a training of one or two processes."""

    def start(processes: int = 2, **changed: Any) -> subprocess.Popen[str]:
        launcher = _TWO if processes == 2 else [sys.executable]
        deepspeed = [_ON_CPU] if changed.get("deepspeed") else []
        return subprocess.Popen(
            [*launcher, *deepspeed, *command(tiny_base, data, tmp_path, **changed)],
            cwd=root, env=environment(root), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def finish(process: subprocess.Popen[str]) -> str:
    """What a training said, once it has ended well."""
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_two_plain_processes_train_what_one_trains(
    launch: Callable[..., subprocess.Popen[str]], plain: Path, tmp_path: Path
) -> None:
    said = finish(launch())
    assert said.count("10 examples, 2,430 prompt and 165 answer tokens") == 1  # one of them speaks
    adapter = tmp_path / "adapter"
    assert losses(adapter) == pytest.approx(losses(plain), abs=1e-5)
    assert_same_weights(adapter, plain, rtol=1e-3, atol=1e-5)
    found, alone = record(adapter), record(plain)
    assert found["processes"] == 2
    assert found["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-5)
    for key in ("steps", "tokens", "trainable_parameters", "flops"):
        assert found[key] == alone[key], key
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("changed", [
    {"deepspeed": 1}, {"deepspeed": 2}, {"deepspeed": 3},
    {"deepspeed": 2, "method": "full"}, {"deepspeed": 3, "method": "full"},
    {"deepspeed": 2, "processes": 1},
], ids=str)  # fmt: skip
def test_deepspeed_trains_what_one_process_trains(
    launch: Callable[..., subprocess.Popen[str]],
    trained: Train,
    tmp_path: Path,
    changed: dict[str, Any],
) -> None:
    finish(launch(**changed))
    adapter, alone = tmp_path / "adapter", trained(method=changed.get("method", "lora"))
    assert losses(adapter) == pytest.approx(losses(alone), abs=1e-5)
    # ZeRO-3 joins gradients in parts: 3e-6 was seen on weights of 0.1.
    assert_same_weights(adapter, alone, rtol=1e-3, atol=1e-5)
    found, expected = record(adapter), record(alone)
    assert found["deepspeed"]["zero_optimization"]["stage"] == changed["deepspeed"]
    assert found["versions"]["deepspeed"]
    assert found["trainable_parameters"] == expected["trainable_parameters"]
    assert found["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-5)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [2, 3])
def test_a_killed_training_with_deepspeed_goes_on(
    launch: Callable[..., subprocess.Popen[str]], trained: Train, tmp_path: Path, stage: int
) -> None:
    process = launch(deepspeed=stage, **_LONG)
    while not list(tmp_path.glob("checkpoints/*/checkpoint-*/trainer_state.json")):
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"it ended before a checkpoint: {finish(process)}")
    # The launcher starts each process in a group of its own.
    for started in [process, *psutil.Process(process.pid).children(recursive=True)]:
        started.kill()
    process.communicate()
    assert not (tmp_path / "adapter").exists()
    said = finish(launch(deepspeed=stage, **_LONG))
    assert "going on from" in said
    assert "step 1 of" not in said
    adapter, whole = tmp_path / "adapter", trained(**_LONG)
    assert losses(adapter) == pytest.approx(losses(whole), abs=1e-4)
    assert_same_weights(adapter, whole, rtol=1e-2, atol=1e-4)
