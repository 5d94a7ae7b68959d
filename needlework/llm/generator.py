"""What is asked of a generator and what comes back: settings, requests, completions, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from needlework.llm import structured
from needlework.provenance import value_hash

# An answer ends by the model's own end, at a text that the request names, or at its longest.
Ended = Literal["end", "stop", "limit"]


class GeneratorError(RuntimeError):
    """The server cannot be used; the message says which server, why, and what to do."""


class RequestFailed(GeneratorError):
    """One request failed for good; others may succeed. `failure` says why."""

    def __init__(self, settings: Generator, failure: Failure) -> None:
        super().__init__(f"{settings.base_url}, model {settings.model!r}: {failure.reason}")
        self.failure = failure


@dataclass(frozen=True)
class Generator:
    """What answers requests, and how.

    Attributes:
        base_url: the server's address, ending in `/v1`.
        model: the name by which the server knows the model.
        identity: what the cache records as the server: the base URL, or `embedded:<file name>`
            for the local server, whose port changes.
        api_key_env: name of the environment variable that holds the key; None where none is
            needed.
        temperature: of sampling.
        max_tokens: the longest answer, in tokens, of a request that does not say its own.
        concurrency: requests under way at once, at most; fewer while the server is overloaded.
        batch: ask through the Batch API: half the price, answers within 24 hours.
        requests_per_minute: a cap on what is sent; None for none.
        tokens_per_minute: a cap on prompt and answer tokens together; None for none.
        budget_usd: US dollars that one client may spend; None for no limit.
    """

    base_url: str
    model: str
    identity: str
    api_key_env: str | None
    temperature: float
    max_tokens: int
    concurrency: int
    batch: bool = False
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    budget_usd: float | None = None

    def content(self, request: Request) -> dict[str, Any]:
        """Everything that determines the answer to `request`: its hash is the cache's key.

        `messages`, `temperature`, `max_tokens`, `seed`, `stop` and `stop_token_ids` are sent as
        they are, and `tokens` as what they are the hash of: a cache of prompts of 32,768 tokens
        would be larger than the models. Where there is a schema, the words that ask for it and for
        a repair are part of it too.
        """
        content: dict[str, Any] = {
            "server": self.identity,
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": request.max_tokens or self.max_tokens,
            "seed": request.seed % 2**31,  # some servers take no more than 32 bits, with a sign
        }
        if request.tokens is None:
            content["messages"] = [{"role": "user", "content": request.prompt}]
            if request.system:
                content["messages"].insert(0, {"role": "system", "content": request.system})
        else:
            content["tokens"] = value_hash(request.tokens)
        if request.stop:
            content["stop"] = list(request.stop)
        if request.stop_tokens:
            content["stop_token_ids"] = list(request.stop_tokens)
        if request.schema is None:
            return content
        return content | {"schema": request.schema, "schema_words": structured.WORDS}


@dataclass(frozen=True)
class Request:
    """One prompt: a user's message, or tokens that the server's model is to go on from.

    Attributes:
        prompt: the message; not sent where there are `tokens`.
        seed: of sampling; another seed is another request.
        max_tokens: the longest answer; None takes the generator's.
        schema: a JSON schema that the answer must be valid for; None for free text.
        kind: name of the prompt's template, for counts; it does not determine the answer.
        system: a system message before the prompt, if any.
        tokens: the whole prompt in the model's own tokens, for a text completion.
        stop: texts at the first of which the answer ends, and which are no part of it.
        stop_tokens: tokens that end an answer beside the model's own; vLLM knows them (its
            `stop_token_ids`), llama.cpp passes over them.
    """

    prompt: str
    seed: int
    max_tokens: int | None = None
    schema: dict[str, Any] | None = None
    kind: str = ""
    system: str = ""
    tokens: Sequence[int] | None = None
    stop: Sequence[str] = ()
    stop_tokens: Sequence[int] = ()


class Completion(NamedTuple):
    """An answer; its tokens are as the server counted them, 0 where it did not count.

    With a schema, `text` is JSON that is valid for it, and the tokens include those of replies
    that were not. `ended` is what ended the text; None where the server does not tell "end" from
    "stop", or says nothing.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    ended: Ended | None = None


class Failure(NamedTuple):
    """Why a request has no answer: a line of failures.jsonl.

    `key` is the request's hash; `status` the last HTTP status, None where none came; `attempts`
    how often it was sent.
    """

    key: str
    kind: str
    status: int | None
    reason: str
    attempts: int
