"""What the tests of the client share: settings for the server, and runs of a whole client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Completion, Failure, Generator, Request

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class Run(NamedTuple):
    """What came of a run."""

    outcomes: list[Completion | Failure]
    usage: dict[str, Any]

    @property
    def texts(self) -> list[str | None]:
        """The answers; None for a failure."""
        return [getattr(outcome, "text", None) for outcome in self.outcomes]


def settings(url: str, **changes: Any) -> Generator:
    """A generator at `url` whose identity is not its port."""
    plain = Generator(
        base_url=url,
        model="asked-model",
        identity="test-server",
        api_key_env=None,
        temperature=0.5,
        max_tokens=20,
        concurrency=4,
    )
    return replace(plain, **changes)


def requests(*prompts: str, **fields: Any) -> list[Request]:
    """One request per prompt, all with seed 1."""
    return [Request(prompt, **({"seed": 1} | fields)) for prompt in prompts]


def ask(generator: Generator, folder: Path, asked: Sequence[Request | str], **options: Any) -> Run:
    """A run of its own: opens the cache in `folder`, asks everything, closes."""

    async def run() -> Run:
        listed = [
            request if isinstance(request, Request) else Request(request, 1) for request in asked
        ]
        waits = {"first_wait": 0.001, "poll": 0.001, "timeout": 20.0}
        with ResponseCache(folder / "cache.sqlite") as cache:
            async with Client(generator, cache, **(waits | options)) as client:
                return Run(await client.complete_all(listed), client.usage())

    return asyncio.run(run())
