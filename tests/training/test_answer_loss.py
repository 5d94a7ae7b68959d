"""The lean loss is TRL's loss: same value, same gradients, on ragged batches, in little memory."""

from __future__ import annotations

import subprocess
import sys
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
from tests.training.trainings import environment

ROWS = [
    {"input_ids": [5, 9, 20, 31, 44, 8, 1], "labels": [-100, -100, -100, -100, -100, 8, 1]},
    {"input_ids": [5, 60, 61, 1], "labels": [-100, 60, 61, 1]},
    {"input_ids": [5, 7, 9, 11, 13, 1], "labels": [-100, -100, -100, 11, 13, 1]},
]
# Labels in the middle, apart, and at the very first token, which nothing predicts.
APART = [
    {"input_ids": [5, 9, 20, 31, 44, 8, 1], "labels": [5, 9, -100, -100, 44, -100, -100]},
    {"input_ids": [5, 60, 61, 1, 9, 3, 4], "labels": [-100, -100, 61, -100, -100, -100, 4]},
]


def trainer_of(
    trainer_class: type[Any], base: models.Base, folder: Path, rows: list[dict[str, list[int]]]
) -> Any:
    """A trainer of LoRA whose gradients are all there."""
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
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:  # it starts at zero, where half the gradients vanish
            torch.nn.init.normal_(weight, std=0.1)
    return trainer


def loss_and_gradients(
    trainer: Any, rows: list[dict[str, list[int]]]
) -> tuple[float, dict[str, torch.Tensor]]:
    """One forward and backward pass of a trainer on one batch."""
    labelled = sum(label != -100 for row in rows for label in row["labels"][1:])
    batch = trainer.data_collator(rows)
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(labelled))
    loss.backward()
    weights = {n: p.grad for n, p in trainer.model.named_parameters() if p.requires_grad}
    return float(loss.detach()), weights


@pytest.mark.parametrize(
    "rows", [ROWS, ROWS[:1], ROWS[1:2], APART], ids=["ragged", "one", "early", "apart"]
)
def test_loss_and_gradients_are_those_of_trl(
    tiny_base: models.Base, tmp_path: Path, rows: list[dict[str, list[int]]]
) -> None:
    trainers = [
        trainer_of(kind, tiny_base, tmp_path, rows) for kind in (AnswerLossTrainer, SFTTrainer)
    ]
    (loss, gradients), (expected, wanted) = (loss_and_gradients(t, rows) for t in trainers)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_only_what_precedes_a_label_is_projected(tiny_base: models.Base, tmp_path: Path) -> None:
    trainer = trainer_of(AnswerLossTrainer, tiny_base, tmp_path, APART)
    shapes = []
    head = trainer.model.get_output_embeddings()
    head.register_forward_hook(lambda *called: shapes.append(tuple(called[2].shape)))
    loss_and_gradients(trainer, APART)
    assert shapes == [(2, 4, 258)]  # before 9, before 61, before 44, before the last 4


def test_without_a_count_it_is_the_mean(tiny_base: models.Base, tmp_path: Path) -> None:
    trainer = trainer_of(AnswerLossTrainer, tiny_base, tmp_path, ROWS)
    batch = trainer.data_collator(ROWS)
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model, batch)
        logits = trainer.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100
    )
    torch.testing.assert_close(found, expected)


# A vocabulary as large as Llama-3's: logits of 8,192 positions would be 4.2 GB in float32.
_STEP = """
import re, sys
from pathlib import Path
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig
from needlework import models
from needlework.training.answer_loss import AnswerLossTrainer

def peak():
    # of this program alone: getrusage counts what started it, too (the tests, by then large)
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:[^0-9]*([0-9]+) kB", status)[1])

def row(start, end):
    ids = torch.randint(0, 128_256, (8192,)).tolist()
    return {"input_ids": ids, "labels": [-100] * start + ids[start:end] + [-100] * (8192 - end)}

config = LlamaConfig(
    vocab_size=128_256, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=8192,
)
batches = [[row(8180, 8192)], [row(4000, 4008), row(5000, 5008)]]
trainer = AnswerLossTrainer(
    model=LlamaForCausalLM(config),
    args=SFTConfig(
        output_dir=sys.argv[2], use_cpu=True, bf16=False, max_length=None, report_to="none",
        gradient_checkpointing=False,
    ),
    train_dataset=Dataset.from_list(batches[0]),
    processing_class=models.load_tokenizer(models.Base.read(sys.argv[1])),
    peft_config=LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
)
for batch in batches:
    trainer.compute_loss(trainer.model, trainer.data_collator(batch)).backward()
    assert any(p.grad is not None for p in trainer.model.parameters())
    print(peak())
"""


def test_memory_does_not_grow_with_vocabulary_times_context(
    tiny_base: models.Base, tmp_path: Path, root: Path
) -> None:
    """One row with labels at its end; two with labels in the middle, at different places."""
    base = Path(tiny_base.path).parent / "base.json"
    found = subprocess.run(
        [sys.executable, "-c", _STEP, str(base), str(tmp_path)],
        env=environment(root), capture_output=True, text=True, check=True,
    )  # fmt: skip
    one, two = (int(line) for line in found.stdout.split()[-2:])
    print(f"peak of a step: {one / 1e9:.2f} GB of one row, {two / 1e9:.2f} GB of two")
    assert one <= two < 1.5e9
