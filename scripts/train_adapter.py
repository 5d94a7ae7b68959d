"""Fine-tune a base model's attention on one dataset, loss on the answer tokens only.

Writes the adapter (adapter_model.safetensors, adapter_config.json), training.json (what it was
trained on and how fast, with hashes, seed and versions) and log.jsonl (the loss of every step) to
the OUTPUT folder. A killed run goes on from its newest checkpoint. On several GPUs, or with
DeepSpeed: accelerate launch --num_processes GPUS scripts/train_adapter.py ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models
from needlework.command import execute


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.training.settings import SftSettings
    from needlework.training.sft import train

    settings = {name: getattr(args, name) for name in SftSettings.__dataclass_fields__}
    if settings["target_modules"] == ["all-linear"]:
        settings["target_modules"] = "all-linear"
    train(
        models.Base.read(args.base),
        args.dataset / "train.jsonl",
        args.dataset / "validation.jsonl",
        args.output,
        length=args.length,
        examples=args.examples,
        dtype=args.dtype,
        device=args.device,
        attention=args.attention,
        seed=args.seed,
        settings=SftSettings(**settings),
        checkpoints=args.checkpoints,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="base.json of the model")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--output", type=Path, required=True, help="folder of the adapter")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder to resume from")
    parser.add_argument("--length", type=int, required=True, help="longest example in tokens")
    parser.add_argument("--examples", type=int, help="train on so many examples only (all)")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--method", choices=("lora", "full"), default="lora", help="(%(default)s)")
    parser.add_argument(
        "--target-modules", nargs="+", required=True, help="modules to train, or all-linear"
    )
    parser.add_argument("--rank", type=int, required=True, help="LoRA rank")
    parser.add_argument("--alpha", type=int, required=True, help="LoRA alpha")
    parser.add_argument("--dropout", type=float, required=True, help="LoRA dropout")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--schedule", required=True, help="constant, linear or cosine")
    parser.add_argument("--warmup", type=float, required=True, help="share of steps")
    parser.add_argument("--weight-decay", type=float, required=True)
    parser.add_argument(
        "--max-grad-norm", type=float, default=1.0, help="gradients are cut to it (%(default)s)"
    )
    parser.add_argument("--epochs", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True, help="examples per optimizer step")
    parser.add_argument("--batch-per-device", type=int, required=True, help="examples per pass")
    parser.add_argument("--validation-loss", action="store_true", help="compute it at the end")
    parser.add_argument(
        "--activation-checkpointing", choices=("none", "full", "selective", "auto"), default="auto",
        help="recompute activations to save memory (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--deepspeed", type=int, choices=(1, 2, 3), help="ZeRO stage (none)")
    parser.add_argument(
        "--stop-above", type=float, default=3.0,
        help="stop where the loss is so many times that of the start (%(default)s)",
    )  # fmt: skip
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
