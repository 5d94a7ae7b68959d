"""One generator for the length of a job: the server that a study names, or one started here."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from needlework.llm.generator import Generator
from needlework.llm.local_server import API_KEY_ENV, local_server


def add_generator_flags(parser: ArgumentParser) -> None:
    """The flags of the study's section `generator` that say who answers, and how fast."""
    parser.add_argument("--base-url", help="OpenAI-compatible server; none: one is started here")
    parser.add_argument("--model", required=True, help="the model's name on the server")
    parser.add_argument("--api-key-env", help="environment variable that holds the key")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--max-tokens", type=int, required=True, help="longest rewrite")
    parser.add_argument("--concurrency", type=int, required=True, help="requests at a time")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds (%(default)s)")
    parser.add_argument("--batch-api", action="store_true", help="ask through the Batch API")
    parser.add_argument("--requests-per-minute", type=int, help="at most")
    parser.add_argument("--tokens-per-minute", type=int, help="at most")
    parser.add_argument("--budget-usd", type=float, help="stop before more is spent")


def add_text_flags(parser: ArgumentParser) -> None:
    """The flags of a job that has a generator write texts for examples."""
    parser.add_argument("--examples", type=Path, nargs="+", required=True, help="JSONL of examples")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="SQLite file of cached replies")
    parser.add_argument("--output", type=Path, required=True, help="texts to write (JSONL)")
    parser.add_argument("--report", type=Path, required=True, help="counts to write (JSON)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a server started here")
    add_generator_flags(parser)


def generator_of(args: Namespace, url: str | None, gguf: Path | None) -> Generator:
    """The settings in `args`; `gguf` is the model of a server started here, at `url`."""
    return Generator(
        base_url=url or args.base_url or "",
        model=args.model,
        identity=f"embedded:{gguf.name}" if gguf else args.base_url,
        api_key_env=API_KEY_ENV if gguf else args.api_key_env,
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        concurrency=args.concurrency,
        batch=args.batch_api,
        requests_per_minute=args.requests_per_minute,
        tokens_per_minute=args.tokens_per_minute,
        budget_usd=args.budget_usd,
    )


@contextmanager
def connected(args: Namespace, gguf: Path | None) -> Iterator[Generator]:
    """The generator in `args`; its server runs here while the block does, if it names none."""
    if gguf is None:
        yield generator_of(args, None, None)
    else:
        with local_server(gguf, threads=args.threads, parallel=args.concurrency) as url:
            yield generator_of(args, url, gguf)
