"""Supervised fine-tuning with LoRA by TRL's `SFTTrainer`, with the loss on answers only."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework import models, provenance
from needlework.atomic import write_json, write_text
from needlework.examples import Example, read_examples
from needlework.progress import say
from needlework.rendering.prompt import render

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

_SAVED = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True)
class SftSettings:
    """How an adapter is trained; the keys of the study's `training` section.

    `batch` examples make one optimizer step, `batch_per_device` of them at a time.
    """

    rank: int
    alpha: int
    dropout: float
    target_modules: list[str]
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    epochs: float
    batch: int
    batch_per_device: int
    validation_loss: bool
    gradient_checkpointing: bool

    @property
    def accumulation(self) -> int:
        """Forward and backward passes per optimizer step.

        Raises:
            ValueError: `batch` is no multiple of `batch_per_device`.
        """
        if self.batch % self.batch_per_device:
            raise ValueError(
                f"batch {self.batch} is no multiple of batch_per_device {self.batch_per_device}"
            )
        return self.batch // self.batch_per_device


def train(
    base: models.Base,
    train_path: Path,
    validation_path: Path,
    output: Path,
    *,
    length: int,
    dtype: str,
    device: str,
    seed: int,
    settings: SftSettings,
    checkpoints: Path,
) -> dict[str, Any]:
    """Train an adapter and write it to `output` with `training.json` and `log.jsonl`.

    A killed run goes on from its newest checkpoint, if base, data and settings are the same; the
    checkpoints are removed at the end. Returns what `training.json` holds.

    Raises:
        ValueError: an example does not fit the length.
    """
    identity = {
        "base": base.model_dump(),
        "data": {p.name: provenance.file_hash(p) for p in (train_path, validation_path)},
        "settings": asdict(settings),
        "length": length,
        "dtype": dtype,
        "seed": seed,
    }
    resume_folder = checkpoints / provenance.value_hash(identity)[:16]
    tokenizer = models.load_tokenizer(base)
    rows = {
        path.stem: _rows(read_examples(path), tokenizer, length)
        for path in (train_path, validation_path)
    }
    trainer = _trainer(
        base, rows["train"], rows["validation"], tokenizer, resume_folder,
        dtype=dtype, device=device, seed=seed, settings=settings,
    )  # fmt: skip
    newest = _newest_checkpoint(resume_folder)
    if newest is not None:
        say(f"going on from {newest}")
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    validation_loss = trainer.evaluate()["eval_loss"] if settings.validation_loss else None
    history = trainer.state.log_history
    record = identity | {
        "steps": trainer.state.global_step,
        "tokens": {
            "prompt": sum(label == -100 for r in rows["train"] for label in r["labels"]),
            "answer": sum(label != -100 for r in rows["train"] for label in r["labels"]),
        },
        "examples": {name: len(dataset) for name, dataset in rows.items()},
        "trainable_parameters": trainer.model.num_parameters(only_trainable=True),
        "validation_loss": validation_loss,
        "versions": provenance.versions(),
    }
    _save(trainer, output, record, history)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return record


def _rows(examples: list[Example], tokenizer: PreTrainedTokenizerBase, length: int) -> Dataset:
    """Token ids and labels, -100 on the prompt: TRL uses labels as given."""
    from datasets import Dataset

    rows = []
    for example in examples:
        rendered = render(example, tokenizer, length)
        ids = rendered.prompt + rendered.answer
        rows.append({"input_ids": ids, "labels": [-100] * len(rendered.prompt) + rendered.answer})
    return Dataset.from_list(rows)


def _trainer(
    base: models.Base,
    train: Dataset,
    validation: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    dtype: str,
    device: str,
    seed: int,
    settings: SftSettings,
) -> SFTTrainer:
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    from needlework.training.answer_loss import AnswerLossTrainer
    from needlework.training.step_log import StepLog

    steps = max(1, round(len(train) * settings.epochs / settings.batch))
    config = SFTConfig(
        output_dir=str(folder),
        max_length=None,  # the default of 1024 would cut the question off without an error
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_per_device,
        per_device_eval_batch_size=settings.batch_per_device,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=device == "cpu",
        seed=seed,
        logging_steps=1,
        save_steps=max(1, steps // 4),
        save_total_limit=1,
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
    )
    set_seed(seed)  # the adapter's first weights are drawn when the trainer is made
    # On a GPU, TRL's own loss is as lean, and computed by a kernel.
    trainer = (AnswerLossTrainer if device == "cpu" else SFTTrainer)(
        model=models.load_model(base, dtype=dtype),
        args=config,
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=settings.target_modules,
            task_type="CAUSAL_LM",
        ),
    )
    if config.disable_tqdm:
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(StepLog())
    for given, kept in ((train, trainer.train_dataset), (validation, trainer.eval_dataset)):
        if len(given) != len(kept):
            raise ValueError(f"the trainer kept {len(kept)} of {len(given)} examples")
    return trainer


def _newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end: the trainer's state is saved last."""
    whole = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda p: int(p.name.split("-")[1]), default=None)


def _save(
    trainer: SFTTrainer, output: Path, record: dict[str, Any], history: list[dict[str, Any]]
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    folder = output / "saving"
    trainer.model.save_pretrained(str(folder))
    for name in _SAVED:  # a rename is whole or absent, as every output
        (folder / name).replace(output / name)
    shutil.rmtree(folder)
    write_json(output / "training.json", record)
    write_text(output / "log.jsonl", "".join(json.dumps(row) + "\n" for row in history))
