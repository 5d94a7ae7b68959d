"""Write a dataset as chats, one JSON object a line, the form that hosted fine-tuning APIs take."""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models
from needlework.atomic import atomic_path
from needlework.command import execute
from needlework.examples import iter_examples
from needlework.synthesis.chat import chat_lines


def main() -> None:
    args = _arguments()
    tokenizer = models.load_tokenizer(models.Base.read(args.base))
    for source, target in zip(args.examples, args.output, strict=True):
        with atomic_path(target, recorded=False) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(chat_lines(iter_examples(source), tokenizer, args.length, args.form))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", type=Path, required=True, help="base.json: lengths are its model's"
    )
    parser.add_argument("--examples", type=Path, nargs="+", required=True, help="JSONL of examples")
    parser.add_argument("--length", type=int, required=True, help="tokens of prompt and answer")
    parser.add_argument(
        "--form",
        choices=["openai", "mistral"],
        required=True,
        help="with or without a system message",
    )
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="one for each input")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
