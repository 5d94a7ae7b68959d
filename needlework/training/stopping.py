"""Stops a training whose loss has become NaN or has grown, before it spends its hours."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Single losses jump; means of so many tell a trend.
_MEAN_OF = 5


class Diverged(RuntimeError):
    """A training was stopped because its loss went wrong; nothing was written."""


def verdict(losses: list[float], stop_above: float) -> str | None:
    """What is wrong with a loss curve, in words; None where nothing is.

    Args:
        losses: the loss of every step so far, in order; at least one.
        stop_above: the mean of the last five may be so many times that of the first five.
    """
    if not math.isfinite(losses[-1]):
        return f"the loss is {losses[-1]}"
    first, last = (_mean(part) for part in (losses[:_MEAN_OF], losses[-_MEAN_OF:]))
    if len(losses) > _MEAN_OF and last > stop_above * first:
        return (
            f"the mean loss of the last {_MEAN_OF} steps, {last:.3g}, is {last / first:.3g} times "
            f"that of the first {_MEAN_OF}, {first:.3g}, and the most allowed is {stop_above:g} "
            "times (stop_above)"
        )
    return None


class StopOnDivergence(TrainerCallback):  # type: ignore[misc]
    """Ends the training at the first step where `verdict` finds something; `check` raises it.

    A trainer that runs it must log every step and have `logging_nan_inf_filter` off, which would
    write the mean of the losses before in the place of a NaN.
    """

    def __init__(self, learning_rate: float, stop_above: float) -> None:
        self.learning_rate, self.stop_above = learning_rate, stop_above
        self.error: str | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Judge the curve, that of before a resumption included."""
        losses = [row["loss"] for row in state.log_history if "loss" in row]
        if not logs or "loss" not in logs:
            return
        wrong = verdict(losses, self.stop_above)
        if wrong is not None:
            control.should_training_stop = True
            self.error = (
                f"training was stopped at step {state.global_step} of {state.max_steps}: {wrong}. "
                f"Likely the learning rate is too high (learning_rate {self.learning_rate:g}): "
                "lower it, lengthen warmup or lower max_grad_norm; a NaN at the first step points "
                "to the precision (dtype) or to the base model's weights instead"
            )

    def check(self) -> None:
        """Call after the training.

        Raises:
            Diverged: it was stopped.
        """
        if self.error is not None:
            raise Diverged(self.error)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
