"""What should not change a training does not; what a seed changes is the seed's alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from needlework import models
from needlework.provenance import file_hash
from needlework.training.rows import rows_of
from needlework.training.trainer import Place, make_trainer
from tests.training.trainings import (
    ADAPTER,
    LENGTH,
    OF_A_PROCESS,
    assert_same_weights,
    example,
    losses,
    record,
    settings,
)

Train = Callable[..., Path]


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_per_device": 4},
        {"attention": "eager"},
        {"activation_checkpointing": "full"},
        {"activation_checkpointing": "selective"},
    ],
    ids=str,
)
def test_what_only_saves_time_or_memory_does_not_change_the_training(
    trained: Train, plain: Path, changed: dict[str, Any]
) -> None:
    """Ten examples in batches of four: the last step of an epoch has two.

    Sums of float32 in another order differ by about 1e-7; Adam makes more of it where a gradient
    is near zero.
    """
    other = trained(**changed)
    assert losses(other) == pytest.approx(losses(plain), rel=1e-4)
    assert_same_weights(other, plain, rtol=1e-2, atol=1e-4)


def test_a_seed_gives_the_same_bytes(trained: Train, plain: Path) -> None:
    torch.manual_seed(99)  # what was drawn before must not matter
    assert file_hash(trained() / ADAPTER) == file_hash(plain / ADAPTER)


def test_seeds_differ_in_nothing_but_the_seed(trained: Train, plain: Path) -> None:
    other = trained(seed=1)
    assert file_hash(other / ADAPTER) != file_hash(plain / ADAPTER)
    found, expected = record(other), record(plain)
    differ = {key for key in expected if found[key] != expected[key]}
    assert "seed" in differ
    assert differ <= {"seed", "loss", "validation_loss", *OF_A_PROCESS}


def test_a_seed_draws_the_first_weights_and_the_order(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    rows = rows_of([example(number) for number in range(10)], tokenizer, LENGTH)
    drawn = []
    for seed in (0, 0, 1):
        trainer = make_trainer(
            tiny_base, {"train": rows, "validation": rows}, tokenizer, tmp_path,
            Place(LENGTH, "float32", "cpu", "sdpa", 1, seed), settings(), [],
        )  # fmt: skip
        order = [tuple(batch["input_ids"][0].tolist()) for batch in trainer.get_train_dataloader()]
        first = [p.sum().item() for n, p in trainer.model.named_parameters() if "lora_A" in n]
        drawn.append((order, first))
    (order, first), again, (other_order, other_first) = drawn
    assert again == (order, first)
    assert other_order != order
    assert sorted(other_order) == sorted(order)
    assert all(one != other for one, other in zip(first, other_first, strict=True))
