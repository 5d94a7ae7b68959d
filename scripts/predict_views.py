"""Answer the test examples in other views: at other lengths, with the gold document at chosen
places, among other distractors, without documents.

Writes OUTPUT/<view>.jsonl, one row per example. A killed run keeps the batches it had finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import adapters, models
from needlework.command import execute
from needlework.evaluation.predict import add_answer_flags, answer_identity, predict_views
from needlework.evaluation.views import view_of
from needlework.examples import read_examples
from needlework.provenance import file_hash


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    base = models.base_of(args.base)
    folders = {"run": args.adapter} if args.adapter else {}
    files = {"test": args.examples} | {path.stem: path for path in args.other_examples}
    model = models.load_model(base, dtype=args.dtype, device=args.device, attention=args.attention)
    predict_views(
        adapters.attach(model, base, folders),
        models.load_tokenizer(base),
        [view_of(name, args.length) for name in args.views],
        {split: read_examples(path) for split, path in files.items()},
        args.output,
        max_new_tokens=args.max_new_tokens,
        batch=args.batch,
        identity=answer_identity(
            args,
            base.model_dump(),
            adapters.adapter_hash(args.adapter),
            [file_hash(path) for path in args.other_examples],
            args.views,
        ),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_answer_flags(parser)
    add = parser.add_argument
    add("--views", nargs="+", required=True, help="names, such as length4096, position5of20")
    add(
        "--other-examples",
        type=Path,
        nargs="*",
        default=[],
        help="test-random.jsonl for random, ...",
    )
    add("--adapter", type=Path, help="folder of an adapter; none: untuned")
    add("--output", type=Path, required=True, help="folder for the answers")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
