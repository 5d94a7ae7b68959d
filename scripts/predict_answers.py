"""Answer the real test examples greedily with a model, with or without an adapter.

Writes OUTPUT (JSONL), one row per example. A killed run keeps the batches it had finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import adapters, models
from needlework.evaluation.predict import add_answer_flags, answer_identity, predict
from needlework.examples import read_examples


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    base = models.base_of(args.base)
    folders = {"run": args.adapter} if args.adapter else {}
    predict(
        adapters.attach(
            models.load_model(base, dtype=args.dtype, device=args.device), base, folders
        ),
        models.load_tokenizer(base),
        read_examples(args.examples),
        args.output,
        length=args.length,
        max_new_tokens=args.max_new_tokens,
        batch=args.batch,
        identity=answer_identity(args, base.model_dump(), adapters.adapter_hash(args.adapter)),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_answer_flags(parser)
    parser.add_argument("--adapter", type=Path, help="folder of an adapter; none: untuned")
    parser.add_argument("--output", type=Path, required=True, help="answers to write (JSONL)")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
