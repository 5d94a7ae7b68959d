"""Facts rewritten by a language model, asked again until a rewrite passes the gates."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from needlework.examples import Example
from needlework.llm.client import Client
from needlework.progress import track
from needlework.provenance import derived_seed
from needlework.synthesis.concepts import Fact, facts_of, rewrite_prompt
from needlework.synthesis.gates import first_sentence, refusal


class Rewrite(NamedTuple):
    """The rewrites of one example's facts, in hop order; `sentences` is None if one failed.

    `refused` has the reason of every reply that was asked for again.
    """

    id: str
    sentences: list[str] | None
    refused: list[str]


async def rewrite_all(
    client: Client, examples: Sequence[Example], *, attempts: int, seed: int
) -> list[Rewrite]:
    """Rewrite the facts of every example, concurrently; in the order of `examples`.

    Raises:
        GeneratorError: the server could not be used.
    """
    tasks = [
        asyncio.create_task(_rewrite(client, example, attempts=attempts, seed=seed))
        for example in examples
    ]
    try:
        for task in track(tasks, "rewrites"):
            await task
    finally:  # one failure ends the others, so that no request outlives the client
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks]


async def _rewrite(client: Client, example: Example, *, attempts: int, seed: int) -> Rewrite:
    sentences: list[str] = []
    refused: list[str] = []
    for fact in facts_of(example):
        sentence, reasons = await _rewrite_fact(client, fact, example.id, attempts, seed)
        refused += reasons
        if sentence is None:
            return Rewrite(example.id, None, refused)
        sentences.append(sentence)
    return Rewrite(example.id, sentences, refused)


async def _rewrite_fact(
    client: Client, fact: Fact, example: str, attempts: int, seed: int
) -> tuple[str | None, list[str]]:
    reasons: list[str] = []
    for attempt in range(attempts):
        request_seed = derived_seed(seed, "rewrite", example, fact.hop, attempt)
        reply = await client.complete(rewrite_prompt(fact, attempt), seed=request_seed)
        sentence = first_sentence(reply.text)
        reason = refusal(sentence, fact)
        if reason is None:
            return sentence, reasons
        reasons.append(reason)
    return None, reasons


def rewriting_report(rewrites: Sequence[Rewrite], attempts: int) -> dict[str, Any]:
    """Rows in, rows out, and why: what generation.json says of the rewrites."""
    failed = [rewrite.id for rewrite in rewrites if rewrite.sentences is None]
    return {
        "asked": len(rewrites),
        "kept": len(rewrites) - len(failed),
        "failed": len(failed),
        "failed_ids": failed,
        "attempts_at_most": attempts,
        "refused_replies": dict(Counter(r for rewrite in rewrites for r in rewrite.refused)),
    }


def read_rewrites(path: Path) -> list[Rewrite]:
    """The rewrites that scripts/rewrite_facts.py wrote, one JSON object a line."""
    with path.open(encoding="utf-8") as file:
        return [Rewrite(**json.loads(line)) for line in file]
