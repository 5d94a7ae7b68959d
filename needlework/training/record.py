"""What training.json says of a training: what went in, what came out, how fast, on what."""

from __future__ import annotations

import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from needlework import provenance
from needlework.models import attention_of
from needlework.models.shapes import shape_of
from needlework.progress import say
from needlework.training.answer_loss import AnswerLossTrainer
from needlework.training.rows import token_counts, tokens_of
from needlework.training.settings import SftSettings
from needlework.training.throughput import peak_flops, training_flops
from needlework.training.weights import trainable

if TYPE_CHECKING:
    from datasets import Dataset


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds and tokens of the optimizer steps of this process, checkpoints left out.

    The trainer must log every step: on a GPU a step has ended when its loss is read.
    """

    seconds = 0.0
    tokens = 0
    first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note what an earlier process has done."""
        self.first_step, self._before = state.global_step, state.num_input_tokens_seen

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._begun = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Stop the clock at the end of a step."""
        if logs and "loss" in logs:
            self.seconds += time.monotonic() - self._begun
            self.tokens = state.num_input_tokens_seen - self._before


def record_of(
    trainer: AnswerLossTrainer,
    identity: dict[str, Any],
    rows: dict[str, Dataset],
    clock: Clock,
    settings: SftSettings,
) -> dict[str, Any]:
    """What training.json holds, after `trainer` has trained; computes the validation loss.

    Args:
        trainer: its callbacks had `clock`.
        identity: all that decides the result.
        rows: what it trained and evaluates on.
        clock: of the optimizer steps.
        settings: of the training.
    """
    device = _device_name(trainer.args.device)
    return identity | {
        "attention": attention_of(trainer.model.get_base_model()),
        "device": device,
        "steps": trainer.state.global_step,
        "tokens": tokens_of(rows["train"])._asdict(),
        **_speed(trainer, identity, rows["train"], clock, settings, device),
        "peak_memory_bytes": _peak_memory(),
        "loss": _losses(trainer.state.log_history),
        "validation_loss": trainer.evaluate()["eval_loss"] if settings.validation_loss else None,
        "trainable_parameters": _count(trainer.model),
        "versions": _versions(settings.deepspeed),
    }


def _speed(
    trainer: AnswerLossTrainer,
    identity: dict[str, Any],
    rows: Dataset,
    clock: Clock,
    settings: SftSettings,
    device: str,
) -> dict[str, Any]:
    """How fast the steps of this process were, and what share of the devices' peak that is.

    `flops` are of all steps; the rest leaves out what was done before `resumed_at_step`.
    """
    of_pass = _flops_of_pass(trainer, identity, rows, settings)
    of_token = of_pass and of_pass / sum(tokens_of(rows))
    # None where a kill came after the last checkpoint, and nothing was left to do.
    per_second = clock.tokens / clock.seconds if clock.seconds else None
    rate = of_token * per_second if of_token and per_second else None
    peak = peak_flops(device, identity["dtype"])
    return {
        "resumed_at_step": clock.first_step or None,
        "seconds": clock.seconds,
        "tokens_per_second": per_second,
        "flops": of_token and of_token * trainer.state.num_input_tokens_seen,
        "tflops_per_second": rate and rate / 1e12,
        "roofline_share": rate / (peak * identity["processes"]) if rate and peak else None,
    }


def _flops_of_pass(
    trainer: AnswerLossTrainer, identity: dict[str, Any], rows: Dataset, settings: SftSettings
) -> float | None:
    """Operations of one pass over the rows; None of an architecture that is not counted."""
    lengths, labelled = zip(*token_counts(rows), strict=True)
    try:
        return training_flops(
            shape_of(trainer.model.config),
            lengths,
            labelled,
            method=settings.method,
            target_modules=settings.target_modules,
            rank=settings.rank,
            checkpointing=identity["checkpointing"],
        )
    except ValueError as error:
        say(f"operations are not counted: {error}")
        return None


def _losses(history: list[dict[str, Any]]) -> dict[str, Any]:
    """The loss curve of a trainer's log: [step, loss] of every step, first and last beside it."""
    curve = [[row["step"], row["loss"]] for row in history if "loss" in row]
    return {"first": curve[0][1], "last": curve[-1][1], "curve": curve}


def _peak_memory() -> int:
    """Bytes at most in use so far by this process: on its GPU, or where there is none, at all."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _device_name(device: torch.device) -> str:
    """The name of a GPU, or of the processor, as the system says it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions(deepspeed: int | None) -> dict[str, str]:
    """Versions of all that can change a number; of DeepSpeed where it ran."""
    found = provenance.versions()
    return found | {"deepspeed": metadata.version("deepspeed")} if deepspeed else found


def _count(model: Any) -> int:
    """Trained numbers; ZeRO-3 leaves nothing of a parameter in place but its size."""
    return sum(getattr(p, "ds_numel", p.numel()) for p in trainable(model).values())
