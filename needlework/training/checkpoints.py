"""Checkpoints of a training: when they are written, and from which a killed one goes on."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# The most that a kill may cost.
_SAVE_MINUTES = 30.0


def save_steps(examples: int, epochs: float, batch: int) -> int:
    """Steps between two checkpoints: a quarter of all steps of a training."""
    return max(1, math.ceil(epochs * math.ceil(examples / batch) / 4))


def newest(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end: the trainer's state is saved last."""
    whole = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda p: int(p.name.split("-")[1]), default=None)


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
