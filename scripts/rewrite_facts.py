"""Let a language model rewrite the facts of real examples; refused rewrites are asked for again.

Requests go to the OpenAI-compatible server at --base-url, or to one started here on the loopback
address with the bundled model. Answers are cached, so a killed run pays for nothing twice. Writes
the rewrites (JSONL) and a report: counts, reasons, tokens, cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from needlework import models
from needlework.atomic import write_json, write_text
from needlework.command import execute
from needlework.examples import Example, read_examples
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client
from needlework.llm.connection import add_text_flags, connected
from needlework.llm.generator import Generator
from needlework.progress import say, ticks
from needlework.synthesis.generated import Rewrite
from needlework.synthesis.rewriting import rewrite_all, rewriting_report


def main() -> None:
    args = _arguments()
    examples = [example for path in args.examples for example in read_examples(path)]
    gguf = None if args.base_url else models.bundled_gguf()
    with connected(args, gguf) as generator:
        rewrites, usage = asyncio.run(_rewrite(generator, examples, args))
    rows = (json.dumps(rewrite._asdict(), ensure_ascii=False) for rewrite in rewrites)
    write_text(args.output, "".join(row + "\n" for row in rows))
    record = {"kind": "rewrites", "model": args.model, "server": generator.identity}
    write_json(args.report, record | rewriting_report(rewrites, args.attempts) | {"usage": usage})


async def _rewrite(
    generator: Generator, examples: list[Example], args: argparse.Namespace
) -> tuple[list[Rewrite], dict[str, object]]:
    failures = args.report.with_name("rewrites.failures.jsonl")
    each = ticks("rewrites", len(examples))
    cache = ResponseCache(args.cache)
    async with Client(
        generator, cache, failures=failures, each=each, say=say, timeout=args.timeout
    ) as client:
        rewrites = await rewrite_all(client, examples, attempts=args.attempts, seed=args.seed)
    return rewrites, client.usage()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, required=True, help="tries per fact, at most")
    add_text_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
