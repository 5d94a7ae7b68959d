"""Training the weights of the attention layers themselves (Xiong et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from needlework import models
from needlework.adapters import attach, using
from needlework.training.rows import rows_of
from needlework.training.trainer import Place, make_trainer
from tests.training.trainings import LENGTH, TARGETS, example, losses, record, settings, weights

Train = Callable[..., Path]
RATE = 5e-6  # Xiong et al.


@pytest.fixture(scope="module")
def full(trained: Train) -> Path:
    """Trained at the published learning rate, on a base in bfloat16."""
    return trained(method="full", learning_rate=RATE, schedule="constant", dtype="bfloat16")


def _base_weights(base: models.Base) -> dict[str, torch.Tensor]:
    return {
        name: weight.bfloat16().float()
        for name, weight in load_file(Path(base.path) / "model.safetensors").items()
    }


def test_whole_attention_weights_are_trained_and_nothing_else(
    tiny_base: models.Base, full: Path
) -> None:
    base = _base_weights(tiny_base)
    wanted = {name for name in base if any(f".{target}." in name for target in TARGETS)}
    found = weights(full)
    assert {name.removeprefix("base_model.model.") for name in found} == wanted
    assert record(full)["trainable_parameters"] == sum(base[name].numel() for name in wanted)


def test_updates_are_kept_that_bfloat16_would_lose(tiny_base: models.Base, full: Path) -> None:
    """Adam moves a weight by the learning rate in a step: by much less than its last bit there."""
    base = _base_weights(tiny_base)
    steps = record(full)["steps"]
    for name, weight in weights(full).items():
        assert weight.dtype == torch.float32
        before = base[name.removeprefix("base_model.model.")]
        moved = (weight - before).abs()
        assert moved.max() <= 1.01 * steps * RATE
        assert (moved > 0.1 * RATE).float().mean() > 0.9
        last_bit = 2.0 ** (torch.floor(torch.log2(before.abs().median())) - 7)
        assert moved.max() < last_bit


def test_what_is_trained_is_float32_on_any_base(tiny_base: models.Base, tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    rows = rows_of([example(0)], tokenizer, LENGTH)
    for method in ("lora", "full"):
        trainer = make_trainer(
            tiny_base, {"train": rows, "validation": rows}, tokenizer, tmp_path,
            Place(LENGTH, "bfloat16", "cpu", "sdpa", 1, 0), settings(method=method), [],
        )  # fmt: skip
        kinds = {(p.requires_grad, p.dtype) for p in trainer.model.parameters()}
        assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_it_loads_as_an_adapter_and_can_be_put_aside(
    tiny_base: models.Base, trained: Train
) -> None:
    adapter = trained(method="full", learning_rate=1e-3)
    model = attach(models.load_model(tiny_base, dtype="float32"), tiny_base, {"full": adapter})
    ids = torch.arange(50)[None]
    with torch.no_grad():
        with_adapter = model(ids).logits
        with using(model, None):
            without = model(ids).logits
        plain = models.load_model(tiny_base, dtype="float32")(ids).logits
    torch.testing.assert_close(without, plain)
    assert (with_adapter - without).abs().max() > 1e-3


def test_the_loss_falls(trained: Train) -> None:
    found = losses(trained(method="full", learning_rate=3e-3, epochs=4.0))
    assert sum(found[-3:]) / 3 < found[0] - 0.15
