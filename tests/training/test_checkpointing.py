"""What is kept and what is computed again: the operations that one training step really runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from needlework import models
from needlework.training.rows import rows_of
from needlework.training.trainer import Place, make_trainer
from tests.training.trainings import example, settings

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_LINEAR = torch.ops.aten.mm.default


class Operations(TorchDispatchMode):  # type: ignore[misc]
    """Counts what is run; what selective checkpointing takes from its cache does not come here."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Any] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func] += 1
        return func(*args, **(kwargs or {}))


def operations(base: models.Base, folder: Path, kind: str) -> Counter[Any]:
    """How often one forward and backward pass runs each operation."""
    tokenizer = models.load_tokenizer(base)
    rows = rows_of([example(0)], tokenizer, 4000)
    trainer = make_trainer(
        base, {"train": rows, "validation": rows}, tokenizer, folder,
        Place(4000, "float32", "cpu", "sdpa", 1, 0),
        settings(activation_checkpointing=kind, epochs=1.0, batch=1), [],
    )  # fmt: skip
    with Operations() as run:
        trainer.train()
    return run.counts


def test_selective_checkpointing_runs_attention_once_and_linear_maps_twice(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    none, full, selective = (
        operations(tiny_base, tmp_path / kind, kind) for kind in ("none", "full", "selective")
    )
    assert none[_ATTENTION] == tiny_base.layers
    assert full[_ATTENTION] == 2 * tiny_base.layers
    assert selective[_ATTENTION] == tiny_base.layers
    assert none[_LINEAR] < selective[_LINEAR] == full[_LINEAR]


@pytest.mark.parametrize(
    ("asked", "length", "stage", "ran"),
    [
        ("auto", 4095, None, "none"),
        ("auto", 4096, None, "selective"),
        ("auto", 4096, 2, "selective"),
        ("auto", 4096, 3, "full"),
        ("selective", 100, 3, "full"),
        ("selective", 100, None, "selective"),
        ("none", 100_000, None, "none"),
    ],
)
def test_what_is_asked_is_what_runs_where_it_can(
    asked: str, length: int, stage: int | None, ran: str
) -> None:
    chosen = settings(activation_checkpointing=asked, deepspeed=stage)
    assert chosen.checkpointing(length) == ran
