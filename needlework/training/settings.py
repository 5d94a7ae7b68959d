"""How an adapter is trained: the keys of the study's `training` section, checked together."""

from __future__ import annotations

from dataclasses import dataclass

# From this length on, activations take more memory than weights of this size leave (auto).
_LONG = 4096


@dataclass(frozen=True)
class SftSettings:
    """The keys of the study's `training` section.

    `method` "lora" trains low-rank updates of `target_modules`; "full" trains copies of those
    modules themselves, in float32, and `rank`, `alpha`, `dropout` say nothing. `batch` examples
    make one optimizer step, `batch_per_device` of them at a time in each process. `deepspeed` is a
    ZeRO stage. A mean loss above `stop_above` times that of the start stops the training.

    Raises:
        ValueError: values that do not go together.
    """

    method: str
    target_modules: list[str] | str
    rank: int
    alpha: int
    dropout: float
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    max_grad_norm: float
    epochs: float
    batch: int
    batch_per_device: int
    validation_loss: bool
    activation_checkpointing: str
    deepspeed: int | None
    stop_above: float

    def __post_init__(self) -> None:
        if self.method not in ("lora", "full"):
            raise ValueError(f"method {self.method!r}; expected lora or full")
        if self.activation_checkpointing not in ("none", "full", "selective", "auto"):
            raise ValueError(
                f"activation_checkpointing {self.activation_checkpointing!r}; expected none, full, "
                "selective or auto"
            )
        if isinstance(self.target_modules, str) and self.target_modules != "all-linear":
            raise ValueError(
                f"target_modules {self.target_modules!r}; expected a list of module names, or "
                "all-linear"
            )
        if self.method == "full" and self.target_modules == "all-linear":
            raise ValueError(
                "target_modules all-linear goes with method lora only: with full, copies of nearly "
                "all weights would be trained; name the modules, such as q_proj k_proj v_proj "
                "o_proj"
            )

    def accumulation(self, processes: int) -> int:
        """Forward and backward passes of one process per optimizer step.

        Raises:
            ValueError: `batch` is no multiple of what all processes take at a time.
        """
        at_a_time = self.batch_per_device * processes
        if self.batch % at_a_time:
            raise ValueError(
                f"batch {self.batch} is no multiple of {at_a_time} (batch_per_device "
                f"{self.batch_per_device} x {processes} processes); change one of them"
            )
        return self.batch // at_a_time

    def checkpointing(self, length: int) -> str:
        """Which activations are recomputed on examples of `length` tokens: none, full, selective.

        "auto" recomputes nothing below 4,096 tokens. TRL refuses selective checkpointing of PEFT
        models under ZeRO-3, which gets "full" instead.
        """
        chosen = self.activation_checkpointing
        if chosen == "auto":
            chosen = "none" if length < _LONG else "selective"
        return "full" if chosen == "selective" and self.deepspeed == 3 else chosen
