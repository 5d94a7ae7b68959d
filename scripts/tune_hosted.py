"""Fine-tune a hosted model through an API of OpenAI's form, on the dataset that local models get.

Writes hosted.json to the OUTPUT folder: the tuned model's name, its job, what it was tuned on, with
hashes, and what happened in the job. A killed run finds its files and its job again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models
from needlework.command import execute
from needlework.training.hosted import HostedSettings, tune


def main() -> None:
    args = _arguments()
    base = models.Base.read(args.base)
    if base.kind != "hosted":
        raise SystemExit(f"{args.base}: a {base.kind} model; scripts/train_adapter.py tunes it")
    tune(
        HostedSettings(
            base_url=args.base_url,
            api_key_env=args.api_key_env,
            epochs=args.epochs,
            batch=args.batch,
            learning_rate_multiplier=args.learning_rate_multiplier,
            suffix=args.suffix,
        ),
        base.source,
        args.dataset / "train.jsonl",
        args.dataset / "validation.jsonl",
        args.output,
        tokenizer=models.load_tokenizer(base),
        length=args.length,
        examples=args.examples,
        seed=args.seed,
        state=args.state,
        poll=args.poll,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="base.json of the hosted model")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--output", type=Path, required=True, help="folder of hosted.json")
    parser.add_argument("--state", type=Path, required=True, help="folder to go on from")
    parser.add_argument("--length", type=int, required=True, help="longest example in tokens")
    parser.add_argument("--examples", type=int, help="how many to train on; by default all")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--base-url", required=True, help="address of the server, ending in /v1")
    parser.add_argument("--api-key-env", help="environment variable that holds the key")
    parser.add_argument("--epochs", type=_auto_or_whole, default="auto", help="auto or a number")
    parser.add_argument(
        "--batch", type=_auto_or_whole, default="auto", help="examples of a step, or auto"
    )
    parser.add_argument(
        "--learning-rate-multiplier", type=_auto_or_number, default="auto", help="auto or a number"
    )
    parser.add_argument("--poll", type=float, default=60.0, help="seconds between two looks")
    parser.add_argument("--suffix", help="part of the tuned model's name")
    return parser.parse_args()


def _auto_or_whole(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _auto_or_number(text: str) -> float | str:
    return text if text == "auto" else float(text)


if __name__ == "__main__":
    execute(main)
