"""Checkpoints of a training: when they are written, and from which a killed one goes on."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from needlework import stored
from needlework.atomic import sha256, write_json
from needlework.progress import say

# The most that a kill may cost.
_SAVE_MINUTES = 30.0
_RECORD = "files.json"


def save_steps(examples: int, epochs: float, batch: int) -> int:
    """Steps between two checkpoints: a quarter of all steps of a training."""
    return max(1, math.ceil(epochs * math.ceil(examples / batch) / 4))


def newest(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end, and is still as it was written.

    The trainer's state is saved last, but for the record of all files.
    """
    ended = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json")]
    for checkpoint in sorted(ended, key=lambda p: int(p.name.split("-")[1]), reverse=True):
        record = checkpoint / _RECORD
        try:
            if not record.is_file() or stored.read_json(record) == _digests(checkpoint):
                return checkpoint
        except stored.Damaged:
            pass  # said below, as where a file is
        say(f"{checkpoint} is damaged: it is left out, and what it held is done again")
    return None


def _digests(checkpoint: Path) -> dict[str, str]:
    files = (p for p in sorted(checkpoint.rglob("*")) if p.is_file() and p.name != _RECORD)
    return {p.relative_to(checkpoint).as_posix(): sha256(p) for p in files}


class RecordFiles(TrainerCallback):  # type: ignore[misc]
    """Has the hashes of a checkpoint's files written beside them, once all processes are done."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the record; the first process does it for all."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(checkpoint / _RECORD, _digests(checkpoint), recorded=False)


class SaveByTime(TrainerCallback):  # type: ignore[misc]
    """Has a checkpoint written wherever the last one is more than `minutes` old."""

    def __init__(self, minutes: float = _SAVE_MINUTES) -> None:
        self.seconds = 60 * minutes

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.saved = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint; the first process decides, for all of them have to save at once."""
        due = torch.tensor(time.monotonic() - self.saved > self.seconds, device=args.device)
        if broadcast(due):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock anew."""
        self.saved = time.monotonic()
