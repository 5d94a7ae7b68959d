"""Facts rewritten by a language model, asked again until a rewrite passes the gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from needlework.examples import Example, Fact, Needle
from needlework.llm.client import Client, Failure, Request
from needlework.provenance import derived_seed
from needlework.synthesis.concepts import parts_of
from needlework.synthesis.gates import first_sentence, refusal
from needlework.synthesis.generated import Rewrite
from needlework.synthesis.prompts.requests import rewrite_request


class _Open(NamedTuple):
    """A fact that still has no rewrite: its example, and its place among the example's facts."""

    example: Example
    place: int
    fact: Fact
    needle: Needle

    def request(self, attempt: int, seed: int) -> Request:
        name = [seed, "rewrite", self.example.id, self.fact.hop, self.place, attempt]
        return rewrite_request(self.example, self.fact, self.needle, attempt, derived_seed(*name))


def _facts(examples: Sequence[Example]) -> list[_Open]:
    return [
        _Open(example, place, fact, needle)
        for example in examples
        for place, (fact, needle) in enumerate(parts_of(example))
    ]


def first_requests(examples: Sequence[Example], *, seed: int) -> list[Request]:
    """What `rewrite_all` asks first; at most `attempts` times as much in the end."""
    return [fact.request(0, seed) for fact in _facts(examples)]


async def rewrite_all(
    client: Client, examples: Sequence[Example], *, attempts: int, seed: int
) -> list[Rewrite]:
    """Rewrite the facts of every example; in the order of `examples`.

    Each round asks for all that is still open, so that a batch API serves a round at a time. A
    fact whose every reply is refused ends its example.

    Raises:
        GeneratorError: the server could not be used.
    """
    sentences: dict[tuple[str, int], str] = {}
    refused: dict[str, list[str]] = {example.id: [] for example in examples}
    todo = _facts(examples)
    for attempt in range(attempts):
        if not todo:
            break
        replies = await client.complete_all([fact.request(attempt, seed) for fact in todo])
        still = []
        for fact, reply in zip(todo, replies, strict=True):
            if isinstance(reply, Failure):
                reason: str | None = f"request failed: {reply.kind}"
            else:
                sentence = first_sentence(reply.text)
                reason = refusal(sentence, fact.fact)
            if reason is None:
                sentences[fact.example.id, fact.place] = sentence
            else:
                refused[fact.example.id].append(reason)
                still.append(fact)
        todo = still
    failed = {fact.example.id for fact in todo}
    return [
        Rewrite(
            example.id,
            None
            if example.id in failed
            else [sentences[example.id, place] for place in range(len(parts_of(example)))],
            refused[example.id],
        )
        for example in examples
    ]


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
