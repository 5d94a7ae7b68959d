"""Supervised fine-tuning by TRL's `SFTTrainer`, with the loss on answers only."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework import models, provenance
from needlework.atomic import write_json, write_text
from needlework.examples import read_examples
from needlework.progress import say
from needlework.training.checkpoints import newest
from needlework.training.record import Clock, record_of
from needlework.training.rows import check_rows, chosen, rows_of, tokens_of
from needlework.training.settings import SftSettings
from needlework.training.stopping import StopOnDivergence
from needlework.training.trainer import Place, deepspeed_config, make_trainer
from needlework.training.weights import save

if TYPE_CHECKING:
    from datasets import Dataset


def train(
    base: models.Base,
    train_path: Path,
    validation_path: Path,
    output: Path,
    *,
    length: int,
    examples: int | None,
    dtype: str,
    device: str,
    attention: str,
    seed: int,
    settings: SftSettings,
    checkpoints: Path,
) -> dict[str, Any]:
    """Train an adapter and write it to `output` with `training.json` and `log.jsonl`.

    A killed run goes on from its newest checkpoint, if all that decides its result is the same;
    the checkpoints are removed at the end. Under a launcher every process calls this, and the
    first one writes.

    Args:
        base: the record of the base model.
        train_path: examples to train on.
        validation_path: examples for the validation loss.
        output: the folder of the adapter.
        length: longest example, in tokens.
        examples: train on so many examples only, the same for every seed; None: on all.
        dtype: "float32", "bfloat16", "float16", or "auto".
        device: "cpu" or "cuda".
        attention: an implementation of attention, or "auto".
        seed: of the first weights, the order of examples and dropout.
        settings: how to train.
        checkpoints: where a killed run finds what was done.

    Returns:
        What `training.json` holds.

    Raises:
        ValueError: an example does not fit the length, or settings do not go together.
        Diverged: the loss went wrong; nothing was written.
    """
    dtype = models.resolve_dtype(dtype, device)
    place = Place(length, dtype, device, attention, _processes(settings), seed)
    data = {p.name: provenance.file_hash(p) for p in (train_path, validation_path)}
    given = {
        "train": chosen(read_examples(train_path), examples, data[train_path.name]),
        "validation": read_examples(validation_path),
    }
    tokenizer = models.load_tokenizer(base)
    rows = {split: rows_of(part, tokenizer, length) for split, part in given.items()}
    identity = _identity(base, data, rows, place, settings)
    folder = checkpoints / provenance.value_hash(identity)[:16]
    clock, stop = Clock(), StopOnDivergence(settings.learning_rate, settings.stop_above)
    trainer = make_trainer(base, rows, tokenizer, folder, place, settings, [clock, stop])
    check_rows(given["train"], rows["train"], trainer.train_dataset)
    check_rows(given["validation"], rows["validation"], trainer.eval_dataset)
    first = trainer.is_world_process_zero()
    last = newest(folder)
    if first:
        _announce(rows["train"], last, place, settings)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    stop.check()
    record = record_of(trainer, identity, rows, clock, settings)
    save(trainer.model, output, sharded=settings.deepspeed is not None, write=first)
    if first:
        history = trainer.state.log_history
        write_json(output / "training.json", record)
        write_text(output / "log.jsonl", "".join(json.dumps(row) + "\n" for row in history))
        shutil.rmtree(checkpoints, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return record


def _processes(settings: SftSettings) -> int:
    """How many processes a launcher started; DeepSpeed needs its signs even where there is none."""
    if settings.deepspeed is not None and "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return int(os.environ.get("WORLD_SIZE", "1"))


def _identity(
    base: models.Base,
    data: dict[str, str],
    rows: dict[str, Dataset],
    place: Place,
    settings: SftSettings,
) -> dict[str, Any]:
    """All that decides the result: trainings of one identity are one training."""
    stage = settings.deepspeed
    return {
        "base": base.model_dump(),
        "data": data,
        "examples": {split: len(part) for split, part in rows.items()},
        "settings": asdict(settings),
        **place._asdict(),
        "checkpointing": settings.checkpointing(place.length),
        "deepspeed": stage and json.loads(deepspeed_config(stage).read_text(encoding="utf-8")),
    }


def _announce(rows: Dataset, last: Path | None, place: Place, settings: SftSettings) -> None:
    """Say what goes in, and where it is not what one might expect."""
    tokens = tokens_of(rows)
    say(f"{len(rows):,} examples, {tokens.prompt:,} prompt and {tokens.answer:,} answer tokens")
    asked, ran = settings.activation_checkpointing, settings.checkpointing(place.length)
    if asked not in ("auto", ran):
        say(f"activation checkpointing is {ran}: ZeRO-3 cannot do {asked} with adapters")
    together = settings.batch_per_device * place.processes
    if place.processes > 1 and len(rows) % together:
        say(
            f"{together - len(rows) % together} examples are seen twice in an epoch, so that all "
            f"{place.processes} processes have as many"
        )
    if last is not None:
        say(f"going on from {last}")
