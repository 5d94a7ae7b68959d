"""What a set of requests will cost before it is asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from needlework.llm.cache import ResponseCache
from needlework.llm.exchange import Exchange
from needlework.llm.generator import Generator, Request
from needlework.llm.prices import price

# What a chat template adds to a message; OpenAI's add 3 to 7, others a few more.
_TOKENS_AROUND = 8


@dataclass(frozen=True)
class Plan:
    """What is not in the cache yet, and what it will take, if every answer comes at once.

    Attributes:
        requests: requests to send; equal ones are sent once.
        cached: requests, of those given, that the cache or an equal request answers.
        kinds: requests to send, by their `kind`.
        prompt_tokens: about how many tokens the prompts have, schemas included.
        completion_tokens: the most tokens that the answers can have.
        usd_live: US dollars at most, asked live; None where the model's price is unknown.
        usd_batch: US dollars at most, through the Batch API; None likewise.
    """

    model: str
    requests: int
    cached: int
    kinds: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    usd_live: float | None
    usd_batch: float | None

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind or 'unnamed'}" for kind, number in self.kinds.items())
        if self.usd_live is None or self.usd_batch is None:
            cost = f"cost unknown: needlework/llm/prices.yaml has no price of {self.model}"
        else:
            cost = f"at most ${self.usd_live:.2f} live, ${self.usd_batch:.2f} through the Batch API"
        return (
            f"{self.requests} requests to {self.model} ({kinds or 'none'}), {self.cached} cached; "
            f"about {self.prompt_tokens} prompt tokens, at most {self.completion_tokens} "
            f"completion tokens; {cost}"
        )


def plan(
    requests: Iterable[Request],
    settings: Generator,
    cache: ResponseCache,
    count_tokens: Callable[[str], int],
) -> Plan:
    """Plan `requests`; nothing is sent, no key read. Retries and repairs come on top.

    Args:
        requests: what will be asked.
        settings: of the generator.
        cache: whose answers are not asked again.
        count_tokens: tokens of a text, by the model's tokenizer or an estimate.
    """
    seen: set[str] = set()
    kinds: Counter[str] = Counter()
    given = prompt_tokens = completion_tokens = 0
    for request in requests:
        given += 1
        exchange = Exchange(settings, request, repairs=0)
        if exchange.key in seen or cache.get(exchange.content) is not None:
            continue
        seen.add(exchange.key)
        kinds[request.kind] += 1
        schema = json.dumps(request.schema) if request.schema is not None else ""
        prompt_tokens += count_tokens(request.prompt) + count_tokens(schema) + _TOKENS_AROUND
        completion_tokens += exchange.content["max_tokens"]
    live, batch = (price(settings.model, batch=batch) for batch in (False, True))
    return Plan(
        model=settings.model,
        requests=len(seen),
        cached=given - len(seen),
        kinds=dict(kinds),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        usd_live=live.usd(prompt_tokens, completion_tokens) if live else None,
        usd_batch=batch.usd(prompt_tokens, completion_tokens) if batch else None,
    )
