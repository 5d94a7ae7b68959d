"""Ask a model, with or without an adapter, the benchmarks of general abilities through lm-eval.

Writes OUTPUT/general.json and OUTPUT/items.jsonl. A killed run keeps the benchmarks it had
finished.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from needlework import adapters, models
from needlework.command import execute
from needlework.evaluation.general import BENCHMARKS, evaluate


def main() -> None:
    args = _arguments()
    if not sys.stderr.isatty():  # read when tqdm is imported: lm-eval has a bar for every subject
        os.environ |= {"TQDM_DELAY": "10", "TQDM_MININTERVAL": "60"}
    if args.data:
        os.environ["HF_HUB_OFFLINE"] = "1"
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    models.limit_threads(args.threads)
    base = models.base_of(args.base)
    folders = {"run": args.adapter} if args.adapter else {}
    model = models.load_model(base, dtype=args.dtype, device=args.device, attention=args.attention)
    evaluate(
        adapters.attach(model, base, folders),
        models.load_tokenizer(base),
        benchmarks=args.benchmarks,
        data=args.data,
        limit=args.limit,
        batch=args.batch,
        seed=args.seed,
        shots=dict(args.shots),
        about={
            "base": base.model_dump(),
            "adapter": adapters.adapter_hash(args.adapter),
            "device": args.device,
            "dtype": models.resolve_dtype(args.dtype, args.device),
            "attention": models.attention_of(model),
        },
        output=args.output,
    )


def _shots(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if name not in BENCHMARKS or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: takes <benchmark>=<number>, such as mmlu=0")
    return name, int(count)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--base", required=True, help="base.json of a study, folder of a model, or hub id")
    add("--adapter", type=Path, help="folder of an adapter; none: untuned")
    add("--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="(all)")
    add("--data", type=Path, help="folder of local files; none: from the hub")
    add("--limit", type=int, help="only the first items of a benchmark, or of an MMLU subject")
    add("--shots", type=_shots, nargs="*", default=[], help="other numbers, as mmlu=0")
    add("--batch", type=int, default=8, help="prompts processed together (%(default)s)")
    add("--seed", type=int, default=0, help="of the examples drawn from the hub (%(default)s)")
    add("--output", type=Path, required=True, help="folder to write to")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
