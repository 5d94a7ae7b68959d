"""The TRL trainer of an adapter: every setting, and nothing left to a default that could bite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig
from trl.models.selective_activation_checkpointing import enable_selective_activation_checkpointing

from needlework import models
from needlework.training.answer_loss import AnswerLossTrainer
from needlework.training.checkpoints import RecordFiles, SaveByTime, save_steps
from needlework.training.settings import SftSettings
from needlework.training.step_log import StepLog
from needlework.training.weights import check_targets, in_float32, peft_config

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

# One file per ZeRO stage; the trainer fills in what is "auto" in them.
_DEEPSPEED = Path(__file__).parents[2] / "workflow" / "deepspeed"


class Place(NamedTuple):
    """Where and how exactly a model is trained.

    Attributes:
        length: longest example, in tokens.
        dtype: "float32", "bfloat16" or "float16".
        device: "cpu" or "cuda".
        attention: an implementation of attention, or "auto".
        processes: how many train together, one device each.
        seed: of the first weights, the order of examples and dropout.
    """

    length: int
    dtype: str
    device: str
    attention: str
    processes: int
    seed: int


def deepspeed_config(stage: int) -> Path:
    """The DeepSpeed configuration of a ZeRO stage."""
    return _DEEPSPEED / f"zero{stage}.json"


def make_trainer(
    base: models.Base,
    rows: dict[str, Dataset],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    place: Place,
    settings: SftSettings,
    callbacks: list[TrainerCallback],
) -> AnswerLossTrainer:
    """A trainer of `rows["train"]`, with `rows["validation"]` to evaluate on.

    Args:
        base: the record of the base model.
        rows: what `rows_of` made.
        tokenizer: of the base model; only its padding token is used.
        folder: where checkpoints go.
        place: where to train.
        settings: how to train.
        callbacks: those of the caller, besides the log and the checkpoints.

    Raises:
        ValueError: a target module is not in the model, or `batch` does not divide.
    """
    # Before the model: under ZeRO-3 it is loaded in parts once this is there.
    config = _config(folder, len(rows["train"]), place, settings)
    model = models.load_model(
        base, dtype=place.dtype, device=str(config.device), attention=place.attention
    )
    check_targets(model, settings.target_modules)
    if settings.checkpointing(place.length) == "selective":
        # TRL 1.16 wraps a method of the PEFT model, which transformers 5.23 passes by.
        enable_selective_activation_checkpointing(model)
    trainer = AnswerLossTrainer(
        model=model.train(),
        args=config,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        peft_config=peft_config(settings),
        callbacks=[SaveByTime(), RecordFiles(), *callbacks],
    )
    if settings.deepspeed is None:  # it keeps its own float32 copy of what is trained
        in_float32(trainer.model)
    if config.disable_tqdm:
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(StepLog())
    return trainer


def _config(folder: Path, examples: int, place: Place, settings: SftSettings) -> SFTConfig:
    checkpointing = settings.checkpointing(place.length)
    options: dict[str, Any] = {}
    if checkpointing == "selective":
        options["gradient_checkpointing_kwargs"] = {"selective": True}
    if settings.deepspeed is not None:
        options["deepspeed"] = str(deepspeed_config(settings.deepspeed))
    elif place.device == "cpu":
        options["use_cpu"] = True
        if place.processes > 1:
            options["ddp_backend"] = "gloo"
    return SFTConfig(
        output_dir=str(folder),
        max_length=None,  # the default of 1024 would cut the question off without an error
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_per_device,
        per_device_eval_batch_size=settings.batch_per_device,
        gradient_accumulation_steps=settings.accumulation(place.processes),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=checkpointing != "none",
        bf16=place.dtype == "bfloat16",
        fp16=place.dtype == "float16",
        seed=place.seed,  # the trainer sets it before the adapter's first weights are drawn
        data_seed=place.seed,
        ddp_find_unused_parameters=False,
        include_num_input_tokens_seen="non_padding",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would log the losses before in the place of a NaN
        save_steps=save_steps(examples, settings.epochs, settings.batch),
        save_total_limit=1,
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        **options,
    )
