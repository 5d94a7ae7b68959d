"""Let a language model write documents on the topics of the real ones, for contexts of level high.

Writes the documents (JSONL, one row per topic) and a report: counts, reasons, tokens, cost. As in
rewrite_facts, answers are cached, and without a --base-url a server is started here.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from needlework import models
from needlework.atomic import write_json, write_text
from needlework.command import execute
from needlework.examples import read_examples
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client
from needlework.llm.connection import add_text_flags, connected
from needlework.llm.generator import Generator
from needlework.progress import say, ticks
from needlework.synthesis.generated import Written
from needlework.synthesis.writing import topics, write_documents, writing_report


def main() -> None:
    args = _arguments()
    examples = [example for path in args.examples for example in read_examples(path)]
    wanted = topics(examples, at_most=args.documents, seed=args.seed)
    gguf = None if args.base_url else models.bundled_gguf()
    with connected(args, gguf) as generator:
        written, usage = asyncio.run(_write(generator, wanted, args))
    rows = (json.dumps(document._asdict(), ensure_ascii=False) for document in written)
    write_text(args.output, "".join(row + "\n" for row in rows))
    record = {"kind": "documents", "model": args.model, "server": generator.identity}
    write_json(args.report, record | writing_report(written) | {"usage": usage})


async def _write(
    generator: Generator, wanted: list[str], args: argparse.Namespace
) -> tuple[list[Written], dict[str, object]]:
    failures = args.report.with_name("documents.failures.jsonl")
    each = ticks("documents", len(wanted))
    cache = ResponseCache(args.cache)
    async with Client(
        generator, cache, failures=failures, each=each, say=say, timeout=args.timeout
    ) as client:
        written = await write_documents(
            client, wanted, max_tokens=args.document_tokens, seed=args.seed
        )
    return written, client.usage()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, help="distractors written, at most; none: all")
    parser.add_argument("--document-tokens", type=int, required=True, help="longest document")
    add_text_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
