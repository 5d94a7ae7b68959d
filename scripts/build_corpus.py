"""Draw the real examples of a task: train (with spare ones), validation and test.

Writes train.jsonl, validation.jsonl, test.jsonl and corpus.json, which counts what was left out and
why, to the OUTPUT folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_json
from needlework.corpora.tasks import TASKS
from needlework.examples import write_examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--train", type=int, required=True, help="training examples")
    parser.add_argument("--spare", type=int, default=0, help="further training examples")
    parser.add_argument("--validation", type=int, required=True, help="validation examples")
    parser.add_argument("--test", type=int, required=True, help="test examples")
    parser.add_argument("--documents", type=int, required=True, help="documents of a context")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    corpus = TASKS[args.task].build(
        train=args.train + args.spare,
        validation=args.validation,
        test=args.test,
        documents=args.documents,
        seed=args.seed,
    )
    for split in ("train", "validation", "test"):
        write_examples(args.output / f"{split}.jsonl", getattr(corpus, split))
    write_json(args.output / "corpus.json", corpus.counts)


if __name__ == "__main__":
    main()
