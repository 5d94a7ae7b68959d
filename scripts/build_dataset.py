"""Make one variant of a task's training data from its real examples.

Writes train.jsonl, validation.jsonl, dataset.json, which counts what came in, what went out, and
why the rest did not, and README.md, the dataset's card, to the OUTPUT folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models, stored
from needlework.command import execute
from needlework.examples import iter_examples
from needlework.rendering.room import Room
from needlework.synthesis.building import Builder
from needlework.synthesis.dataset import write_dataset
from needlework.synthesis.generated import read_rewrites, read_written
from needlework.synthesis.leaks import EvaluationData
from needlework.synthesis.names import possible_names
from needlework.synthesis.variants import Materials


def main() -> None:
    args = _arguments()
    tokenizers = {
        base.parent.name: models.load_tokenizer(models.Base.read(base)) for base in args.bases
    }
    materials = Materials(
        room=Room(list(tokenizers.values()), args.length),
        seed=args.seed,
        names=possible_names(tokenizers.values()),
        rewrites=read_rewrites(args.rewrites) if args.rewrites else {},
        documents=read_written(args.documents) if args.documents else {},
    )
    evaluation = EvaluationData.of(iter_examples(args.corpus / "test.jsonl"))
    records = [stored.read_json(path) for path in args.generations]
    told = {
        f"{record['kind']}, {key}": value
        for record in records
        for key, value in (record | record["usage"]).items()
        if key in ("model", "server", "asked", "kept", "requests", "usd") or key.endswith("_tokens")
    }
    write_dataset(
        Builder(materials, tokenizers, args.length, evaluation, fills=not args.unfilled),
        args.variant,
        args.corpus,
        {"train": args.train, "validation": args.validation},
        args.output,
        workers=args.threads,
        generator=told or None,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="its name, or a mixture with shares")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the real examples")
    parser.add_argument("--bases", type=Path, nargs="+", required=True, help="base.json of models")
    parser.add_argument("--length", type=int, required=True, help="tokens of prompt and answer")
    parser.add_argument("--unfilled", action="store_true", help="contexts may be shorter")
    parser.add_argument("--rewrites", type=Path, help="what rewrite_facts wrote, if needed")
    parser.add_argument("--documents", type=Path, help="what write_documents wrote, if needed")
    parser.add_argument(
        "--generations", type=Path, action="append", default=[], help="what both say of their costs"
    )
    parser.add_argument("--train", type=int, required=True, help="training examples wanted")
    parser.add_argument("--validation", type=int, required=True, help="validation examples wanted")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1, help="processes; they change no byte")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
