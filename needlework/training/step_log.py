"""One plain line per optimizer step, with the time left: what a log shows where no bar can move."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from needlework.progress import say


class StepLog(TrainerCallback):  # type: ignore[misc]
    """Says step, loss and the time left whenever the trainer logs."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note where the clock starts; a resumed training starts at a later step."""
        self.start, self.first = time.monotonic(), state.global_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Say how far the training is."""
        done = state.global_step - self.first
        if state.is_world_process_zero and logs and "loss" in logs and done:
            each = (time.monotonic() - self.start) / done
            left = timedelta(seconds=round(each * (state.max_steps - state.global_step)))
            say(
                f"step {state.global_step} of {state.max_steps}, loss {float(logs['loss']):.3f}, "
                f"{each:.2g} s a step, {left} left"
            )
