"""Time steps of needlework's trainer against stock TRL, on the same rows with the same LoRA.

`make bench-training` runs it on a CPU, on the bundled SmolLM2, at 1,024 and 4,096 tokens; with
MODEL=folder on a model of your own. Where there is a GPU it runs there, in bfloat16 and at 32,768
tokens. Stock is `trl.SFTTrainer` with the defaults of its `SFTConfig`, but for device, precision,
batch, learning rate, `max_length=None`, which keeps the rows whole, and `logging_steps=1`. Each
measurement is a process of its own, for its peak memory; the trainers take turns, and the medians
of the ratios turn by turn are given. The bars: at least as fast, and no more memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from needlework import models
from needlework.examples import read_examples, write_examples

# What is compared: whose trainer, and with which checkpointing of activations. Stock TRL's is full.
SIDES = {"needlework": "auto", "needlework-full": "full", "stock": "full"}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
RANK, LEARNING_RATE, SEED = 8, 1e-4, 42


def main() -> None:
    """Make one example of each length, train on it in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", help="folder, hub id or base.json; none: the bundled SmolLM2")
    add("--lengths", type=int, nargs="+", help="tokens (1024 4096; 32768 on a GPU)")
    add("--repeats", type=int, default=3, help="turns (%(default)s)")
    add("--steps", type=int, default=1, help="timed steps of a turn, after one (%(default)s)")
    add("--one", choices=SIDES, help=argparse.SUPPRESS)
    add("--examples", type=Path, help=argparse.SUPPRESS)
    models.add_compute_flags(parser)
    parser.set_defaults(threads=2, device=None, dtype=None)
    args = parser.parse_args()
    if args.one:
        models.limit_threads(args.threads)
        print(json.dumps(_one(args)))
        return
    import torch

    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = args.dtype or ("float32" if args.device == "cpu" else "bfloat16")
    args.dtype = models.resolve_dtype(dtype, args.device)
    args.lengths = args.lengths or ([1024, 4096] if args.device == "cpu" else [32_768])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = _base(args.model, folder / "model")
        args.model = str(folder / "base.json")
        Path(args.model).write_text(base.model_dump_json(), encoding="utf-8")
        for length in args.lengths:
            args.examples = folder / f"{length}.jsonl"
            _draw(base, length, args.examples)
            turns = [
                {side: _child(args, side, length) for side in SIDES} for _ in range(args.repeats)
            ]
            for line in _lines(args, length, turns):
                print(line, flush=True)


def _base(model: str | None, folder: Path) -> models.Base:
    if model is None:
        return models.prepare("smollm2-135m-instruct", folder)
    return models.base_of(model)


def _draw(base: models.Base, length: int, path: Path) -> None:
    """One real example of the Factbook, whose answer is a few tokens."""
    from needlework.corpora.factbook_lookup import factbook_lookup
    from needlework.rendering.room import Room

    room = Room([models.load_tokenizer(base)], length)
    write_examples(path, factbook_lookup(train=1, validation=1, test=1, seed=0, room=room).train)


def _child(args: argparse.Namespace, side: str, length: int) -> dict[str, Any]:
    """What one measurement gives in a fresh process."""
    flags = vars(args) | {"one": side, "lengths": length}
    command = [sys.executable, __file__]
    for key, value in flags.items():
        command += [f"--{key}", str(value)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _lines(
    args: argparse.Namespace, length: int, turns: list[dict[str, dict[str, Any]]]
) -> Iterator[str]:
    """One line for each side, then the comparisons with stock."""
    for side in SIDES:
        found = [turn[side] for turn in turns]
        seconds, first = median(each["seconds"] for each in found), found[0]
        parts = [
            f"{seconds:.3g} s a step", f"{first['tokens'] / seconds:.0f} tokens/s",
            f"{first['flops'] / seconds / 1e12:.3g} TFLOP/s",
        ]  # fmt: skip
        if first["peak"]:
            parts.append(f"{first['flops'] / seconds / first['peak']:.0%} of the roofline")
        parts.append(f"peak memory {median(each['memory'] for each in found) / 1e9:.2f} GB")
        how = f"{first['attention']}, checkpointing {first['checkpointing']}, on {first['device']}"
        yield f"{length} tokens, {side} ({how}, {args.dtype}): {', '.join(parts)}"
    for side in ("needlework", "needlework-full"):
        faster, memory = (
            median(turn["stock"][key] / turn[side][key] for turn in turns)
            for key in ("seconds", "memory")
        )
        losses = [abs(turn[side]["loss"] - turn["stock"]["loss"]) for turn in turns]
        met = "met" if faster >= 1 and memory >= 1 else "not met"
        yield (
            f"{length} tokens, {side} against stock: {faster:.3f} times as fast, "
            f"{1 / memory:.3f} of its memory, loss differs by {max(losses):.1e}; bars {met}"
        )


# --- One measurement, in a process of its own ---------------------------------------------------


def _one(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from needlework.models.shapes import shape_of
    from needlework.training.rows import rows_of, token_counts
    from needlework.training.throughput import peak_flops, training_flops

    base, (length,) = models.Base.read(args.model), args.lengths
    tokenizer = models.load_tokenizer(base)
    rows = rows_of(read_examples(args.examples) * (1 + args.steps), tokenizer, length)
    tokens, labelled = token_counts(rows)[0]
    clock = _clock()
    with tempfile.TemporaryDirectory() as folder:
        make = _stock if args.one == "stock" else _ours
        trainer, checkpointing = make(args, base, tokenizer, rows, folder, clock)
        trainer.train()
    device = torch.cuda.get_device_name() if args.device == "cuda" else "the CPU"
    return {
        "seconds": median(clock.seconds[1:]),
        "memory": _peak_memory(args.device),
        "loss": next(row["loss"] for row in trainer.state.log_history if "loss" in row),
        "tokens": tokens,
        "flops": training_flops(
            shape_of(trainer.model.config), [tokens], [labelled], method="lora",
            target_modules=TARGETS, rank=RANK, checkpointing=checkpointing,
        ),
        "peak": peak_flops(device, args.dtype),
        "device": device,
        "attention": models.attention_of(trainer.model.get_base_model()),
        "checkpointing": checkpointing,
    }  # fmt: skip


def _peak_memory(device: str) -> int:
    """Bytes: of this process, or of the GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _clock() -> Any:
    """A callback that times every step."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.begun = time.monotonic()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds.append(time.monotonic() - self.begun)

    return Clock()


def _ours(
    args: argparse.Namespace, base: models.Base, tokenizer: Any, rows: Any, folder: str, clock: Any
) -> tuple[Any, str]:
    from needlework.training.settings import SftSettings
    from needlework.training.trainer import Place, make_trainer

    settings = SftSettings(
        method="lora", target_modules=TARGETS, rank=RANK, alpha=RANK, dropout=0.0,
        learning_rate=LEARNING_RATE, schedule="linear", warmup=0.0, weight_decay=0.0,
        max_grad_norm=1.0, epochs=1.0, batch=1, batch_per_device=1, validation_loss=False,
        activation_checkpointing=SIDES[args.one], deepspeed=None, stop_above=1e9,
    )  # fmt: skip
    (length,) = args.lengths
    attention = models.choose_attention(args.attention, args.device, args.dtype)
    place = Place(length, args.dtype, args.device, attention, 1, SEED)
    data = {"train": rows, "validation": rows}
    trainer = make_trainer(base, data, tokenizer, Path(folder), place, settings, [clock])
    return trainer, settings.checkpointing(length)


def _stock(
    args: argparse.Namespace, base: models.Base, tokenizer: Any, rows: Any, folder: str, clock: Any
) -> tuple[Any, str]:
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, set_seed
    from trl import SFTConfig, SFTTrainer

    set_seed(SEED)
    config = SFTConfig(
        output_dir=folder, max_length=None, num_train_epochs=1, per_device_train_batch_size=1,
        learning_rate=LEARNING_RATE, logging_steps=1, report_to="none",
        bf16=args.dtype == "bfloat16", fp16=args.dtype == "float16", use_cpu=args.device == "cpu",
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            base.path,
            dtype=getattr(torch, args.dtype),
            use_safetensors=True,
            trust_remote_code=False,
        ),
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS),
        callbacks=[clock],
    )
    return trainer, "full" if config.gradient_checkpointing else "none"


if __name__ == "__main__":
    main()
