"""The lean loss is TRL's loss: same value, same gradients, on ragged batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from needlework import models
from needlework.training.answer_loss import AnswerLossTrainer

ROWS = [
    {"input_ids": [5, 9, 20, 31, 44, 8, 1], "labels": [-100, -100, -100, -100, -100, 8, 1]},
    {"input_ids": [5, 60, 61, 1], "labels": [-100, 60, 61, 1]},
    {"input_ids": [5, 7, 9, 11, 13, 1], "labels": [-100, -100, -100, 11, 13, 1]},
]


def loss_and_gradients(
    trainer_class: type[Any], base: models.Base, folder: Path, rows: list[dict[str, list[int]]]
) -> tuple[float, dict[str, torch.Tensor]]:
    """One forward and backward pass of a trainer on one batch."""
    set_seed(3)
    config = SFTConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, max_length=None, report_to="none",
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trainer_class(
        model=models.load_model(base, dtype="float32"),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=models.load_tokenizer(base),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    weights = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    for name, weight in weights.items():  # LoRA starts at zero, where half the gradients vanish
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    labelled = sum(label != -100 for row in rows for label in row["labels"])
    batch = trainer.data_collator(rows)
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(labelled))
    loss.backward()
    return float(loss.detach()), {name: weight.grad for name, weight in weights.items()}


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[1:2]], ids=["ragged", "one", "early"])
def test_loss_and_gradients_are_those_of_trl(
    tiny_base: models.Base, tmp_path: Path, rows: list[dict[str, list[int]]]
) -> None:
    loss, gradients = loss_and_gradients(AnswerLossTrainer, tiny_base, tmp_path, rows)
    expected, wanted = loss_and_gradients(SFTTrainer, tiny_base, tmp_path, rows)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)
