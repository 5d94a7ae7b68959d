"""Draw the real examples of a task: train.jsonl, validation.jsonl, test.jsonl and corpus.json.

Each example holds a little more text than LENGTH tokens of any of the models, so that it can be cut
to each. corpus.json counts the questions considered, made and left out, by reason. Where OPTIONS
have `positions`, every test example can be shown in them. Where a task asks its test questions in
other contexts as well, those are further files, such as test-random.jsonl.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from needlework import models
from needlework.atomic import write_json
from needlework.command import execute
from needlework.corpora.tasks import TASKS
from needlework.examples import write_examples
from needlework.progress import say
from needlework.rendering.placing import Positions
from needlework.rendering.prompt import check_shown
from needlework.rendering.room import Room


def main() -> None:
    args = _arguments()
    tokenizers = [models.load_tokenizer(models.Base.read(base)) for base in args.bases]
    options = json.loads(args.options)
    positions = options.pop("positions", None)
    room = Room(tokenizers, args.length, positions and Positions(**positions))
    made = TASKS[args.task].build(
        train=args.train + args.spare,
        validation=args.validation,
        test=args.test,
        seed=args.seed,
        room=room,
        **options,
    )
    check_shown(made.test, room.check_positions)
    splits = {"train": made.train, "validation": made.validation, "test": made.test}
    for example in made.further:
        splits.setdefault(example.source["split"], []).append(example)
    for split, examples in splits.items():
        write_examples(args.output / f"{split}.jsonl", examples)
        say(f"{split}: {len(examples)} examples")
    write_json(
        args.output / "corpus.json",
        {"task": args.task, "seed": args.seed, "length": args.length, "splits": made.counts},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--bases", type=Path, nargs="+", required=True, help="base.json of models")
    parser.add_argument("--length", type=int, required=True, help="tokens of prompt and answer")
    parser.add_argument("--train", type=int, required=True, help="training examples")
    parser.add_argument("--spare", type=int, default=0, help="further training examples")
    parser.add_argument("--validation", type=int, required=True, help="validation examples")
    parser.add_argument("--test", type=int, required=True, help="test examples")
    parser.add_argument(
        "--options", default="{}", help="JSON: the task's other keys in docs/configuration.md"
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
