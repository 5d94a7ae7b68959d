"""Answer the real test examples greedily with a model, with or without an adapter.

Writes OUTPUT (JSONL), one row per example. A killed run keeps the batches it had finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models, provenance
from needlework.examples import read_examples


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.evaluation.predict import predict

    base = models.Base.read(args.base)
    identity = provenance.value_hash(
        [
            base.model_dump(),
            models.adapter_hash(args.adapter),
            provenance.file_hash(args.examples),
            [args.length, args.max_new_tokens, args.batch, args.dtype, args.device],
            provenance.versions(),
        ]
    )
    predict(
        models.load_model(base, dtype=args.dtype, device=args.device, adapter=args.adapter),
        models.load_tokenizer(base),
        read_examples(args.examples),
        args.output,
        length=args.length,
        max_new_tokens=args.max_new_tokens,
        batch=args.batch,
        identity=identity,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="base.json of the model")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter; none: untuned")
    parser.add_argument("--examples", type=Path, required=True, help="test examples (JSONL)")
    parser.add_argument("--output", type=Path, required=True, help="answers to write (JSONL)")
    parser.add_argument("--length", type=int, required=True, help="longest example in tokens")
    parser.add_argument("--max-new-tokens", type=int, required=True, help="longest answer")
    parser.add_argument("--batch", type=int, required=True, help="examples answered together")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
