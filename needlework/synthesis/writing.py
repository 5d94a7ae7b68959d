"""Documents that a language model writes on the topics of the real ones, each asked for once."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from needlework.examples import Example
from needlework.llm.client import Client, Failure, Request
from needlework.provenance import derived_seed
from needlework.synthesis.contexts import topic_of
from needlework.synthesis.generated import Written
from needlework.synthesis.prompts.requests import document_request

# Shorter prose is no document.
_FEWEST_WORDS = 25
# A line with "#", in bold as a whole, or that announces what follows.
_HEADING = re.compile(r"\s*(?:#.*|(\*\*|__)(?:(?!\1).)+(?<![.!?])\1\s*|.*:[\s*_]*)")
# Markdown's emphasis, and what begins an entry of a list.
_MARKS = re.compile(r"[*_`]+|^\s*(?:[-*+•]|\d{1,2}[.)])\s+")


def topics(examples: Sequence[Example], *, at_most: int | None, seed: int) -> list[str]:
    """The topics of all gold documents, and of distractors so many as `at_most` lets.

    Args:
        examples: training and validation examples.
        at_most: number of distractors' topics; None takes all.
        seed: draws which.
    """
    gold: dict[str, None] = {}
    others: dict[str, None] = {}
    for example in examples:
        for document in example.documents:
            (gold if document.gold else others)[topic_of(document)] = None
    rest = [topic for topic in others if topic not in gold]
    if at_most is not None and len(rest) > at_most:
        rest = random.Random(derived_seed(seed, "topics")).sample(rest, at_most)
    return [*gold, *rest]


def document_requests(names: Sequence[str], *, max_tokens: int, seed: int) -> list[Request]:
    """One request for each topic."""
    return [
        document_request(topic, derived_seed(seed, "document", topic), max_tokens)
        for topic in names
    ]


async def write_documents(
    client: Client, names: Sequence[str], *, max_tokens: int, seed: int
) -> list[Written]:
    """A document on each topic.

    Raises:
        GeneratorError: the server could not be used.
    """
    replies = await client.complete_all(document_requests(names, max_tokens=max_tokens, seed=seed))
    return [
        Written(topic, None, f"request failed: {reply.kind}")
        if isinstance(reply, Failure)
        else _read(topic, reply.text)
        for topic, reply in zip(names, replies, strict=True)
    ]


def _read(topic: str, reply: str) -> Written:
    """The whole sentences of a reply, as one paragraph without headings and marks."""
    lines = [_MARKS.sub("", line) for line in reply.splitlines() if not _HEADING.fullmatch(line)]
    text = " ".join(" ".join(lines).split())
    end = re.search(r".*[.!?](?=\s|$)", text)  # a reply cut by its limit ends in half a sentence
    whole = end[0] if end else ""
    if len(whole.split()) < _FEWEST_WORDS:
        return Written(topic, None, "too short")
    sentences = re.split(r"(?<=[.!?])\s+", whole)
    if len(set(sentences)) < len(sentences):  # small models fall into repeating themselves
        whole = " ".join(dict.fromkeys(sentences))
        if len(whole.split()) < _FEWEST_WORDS:
            return Written(topic, None, "repeats itself")
    return Written(topic, whole, None)


def writing_report(written: Sequence[Written]) -> dict[str, Any]:
    """Rows in, rows out, and why."""
    failed = [document for document in written if document.text is None]
    return {
        "asked": len(written),
        "kept": len(written) - len(failed),
        "failed": dict(Counter(document.reason for document in failed)),
    }
