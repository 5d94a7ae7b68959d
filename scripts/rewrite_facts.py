"""Let a language model rewrite the facts of real examples; refused rewrites are asked for again.

Requests go to the OpenAI-compatible server at --base-url, or to one started here on the loopback
address with the bundled model. Answers are cached, so a killed run pays for nothing twice. Writes
the rewrites (JSONL) and generation.json: counts, reasons, tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import nullcontext
from pathlib import Path

from needlework import models
from needlework.atomic import write_json, write_text
from needlework.examples import Example, read_examples
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Generator
from needlework.llm.local_server import local_server
from needlework.synthesis.rewriting import Rewrite, rewrite_all, rewriting_report


def main() -> None:
    args = _arguments()
    examples = [example for path in args.examples for example in read_examples(path)]
    gguf = None if args.base_url else models.bundled_gguf()
    server = (
        local_server(gguf, threads=args.threads, parallel=args.concurrency)
        if gguf
        else nullcontext(args.base_url)
    )
    with server as url:
        generator = Generator(
            base_url=url,
            model=args.model,
            identity=f"embedded:{gguf.name}" if gguf else args.base_url,
            api_key_env=args.api_key_env,
            temperature=args.temperature,
            max_tokens=args.max_tokens,
            concurrency=args.concurrency,
        )
        rewrites, usage = asyncio.run(_rewrite(generator, examples, args))
    rows = (json.dumps(rewrite._asdict(), ensure_ascii=False) for rewrite in rewrites)
    write_text(args.output, "".join(row + "\n" for row in rows))
    report = rewriting_report(rewrites, args.attempts)
    write_json(
        args.report,
        {"model": args.model, "server": generator.identity} | report | {"usage": usage},
    )


async def _rewrite(
    generator: Generator, examples: list[Example], args: argparse.Namespace
) -> tuple[list[Rewrite], dict[str, int]]:
    async with Client(generator, ResponseCache(args.cache)) as client:
        rewrites = await rewrite_all(client, examples, attempts=args.attempts, seed=args.seed)
    return rewrites, client.usage()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=Path, nargs="+", required=True, help="JSONL of examples")
    parser.add_argument("--base-url", help="OpenAI-compatible server; none: one is started here")
    parser.add_argument("--model", required=True, help="the model's name on the server")
    parser.add_argument("--api-key-env", help="environment variable that holds the key")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--max-tokens", type=int, required=True, help="longest reply")
    parser.add_argument("--attempts", type=int, required=True, help="tries per fact, at most")
    parser.add_argument("--concurrency", type=int, required=True, help="requests at a time")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of cached replies")
    parser.add_argument("--output", type=Path, required=True, help="rewrites to write (JSONL)")
    parser.add_argument("--report", type=Path, required=True, help="generation.json to write")
    parser.add_argument("--threads", type=int, default=1, help="threads of a server started here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
