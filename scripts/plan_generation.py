"""Say what a language model would be asked for a study, how many tokens, and what it would cost.

Nothing is sent. Answers that a cache holds already are not counted. Writes plan.json and prints it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from needlework import models
from needlework.atomic import write_json
from needlework.command import execute
from needlework.examples import read_examples
from needlework.llm.cache import ResponseCache
from needlework.llm.connection import add_generator_flags, generator_of
from needlework.llm.plan import plan
from needlework.synthesis.rewriting import first_requests
from needlework.synthesis.writing import document_requests, topics


def main() -> None:
    args = _arguments()
    tokenizer = models.load_tokenizer(models.Base.read(args.base))
    generator = generator_of(args, None, None if args.base_url else models.bundled_gguf())
    record: dict[str, object] = {"attempts_at_most": args.attempts}
    for task in dict.fromkeys(path.parent.name for path in args.corpora):
        paths = [path for path in args.corpora if path.parent.name == task]
        examples = [example for path in paths for example in read_examples(path)]
        asked = {}
        if args.rewrites:
            asked["rewrites"] = first_requests(examples, seed=args.seed)
        if args.written:
            names = topics(examples, at_most=args.documents, seed=args.seed)
            tokens = args.document_tokens
            asked["documents"] = document_requests(names, max_tokens=tokens, seed=args.seed)
        for name, requests in asked.items():
            cache = ResponseCache(args.generations / task / f"{name}.sqlite")
            planned = plan(requests, generator, cache, lambda text: len(tokenizer.tokenize(text)))
            print(f"{task}, {name}: {planned}")
            record[f"{task}/{name}"] = asdict(planned)
    if args.rewrites:
        print(f"A refused rewrite is asked for again, {args.attempts} times in all at most.")
    write_json(args.output, json.loads(json.dumps(record)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=Path, nargs="*", required=True, help="JSONL of examples")
    parser.add_argument(
        "--base", type=Path, required=True, help="base.json: tokens are its model's"
    )
    parser.add_argument("--rewrites", action="store_true", help="facts are rewritten")
    parser.add_argument("--written", action="store_true", help="documents are written")
    parser.add_argument("--attempts", type=int, required=True, help="tries per fact, at most")
    parser.add_argument("--documents", type=int, help="distractors written, at most; none: all")
    parser.add_argument("--document-tokens", type=int, required=True, help="longest document")
    parser.add_argument("--generations", type=Path, required=True, help="folder of the caches")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="plan to write (JSON)")
    add_generator_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
