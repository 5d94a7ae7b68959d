"""Chat completions from any OpenAI-compatible server: bounded, retried, asked once, counted.

Every answer goes through a `ResponseCache`, so a re-run sends nothing and gives the same texts.
Without the cache it would not: llama.cpp, vLLM and hosted models batch requests differently from
run to run, and a seed does not undo that.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from pydantic import BaseModel, Field, ValidationError

from needlework.llm.cache import ResponseCache
from needlework.provenance import value_hash

if TYPE_CHECKING:  # openai takes most of a second to import; a run from the cache needs none of it
    import openai

_AGAIN = "Then run again: the answers so far are in the cache."
_FIXES = {
    400: "Its own words above say what it does not accept; a prompt plus `max_tokens` must fit "
    "its context.",
    404: "Check that `model` is one that it serves and that `base_url` ends in /v1.",
    429: f"The rate limit or the quota is used up: lower `concurrency`, wait, or buy. {_AGAIN}",
    500: f"The server itself failed, several times; see its log. {_AGAIN}",
}


class GeneratorError(RuntimeError):
    """The server gave no usable answer; the message says which server, why, and what to do."""


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
        max_tokens: the longest answer, in tokens.
        concurrency: requests under way at once.
    """

    base_url: str
    model: str
    identity: str
    api_key_env: str | None
    temperature: float
    max_tokens: int
    concurrency: int


class Completion(NamedTuple):
    """An answer; its tokens are as the server counted them, 0 where it did not count."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(BaseModel):
    """What is used of a chat completion object (OpenAI API reference, chat/object)."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


class Client:
    """Asks one generator, inside one event loop: `async with Client(settings, cache) as client`.

    Attributes:
        requests: requests sent; openai's own retries of one are not counted.
        cached: completions that came from the cache.
        prompt_tokens: tokens of the prompts that the server read, without cached ones.
        completion_tokens: tokens that the server wrote, without cached ones.
    """

    def __init__(
        self,
        settings: Generator,
        cache: ResponseCache,
        *,
        timeout: float = 600.0,
        max_retries: int = 5,
    ) -> None:
        """`timeout` is in seconds, for one try; a Retry-After of up to two minutes is kept to."""
        self.settings = settings
        self.requests = self.cached = self.prompt_tokens = self.completion_tokens = 0
        self._cache = cache
        self._timeout = timeout
        self._max_retries = max_retries
        self._slots = asyncio.Semaphore(settings.concurrency)
        # One lock per request under way; it goes when the last task that waits on it ends.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "_api" in self.__dict__:
            await self._api.close()

    async def complete(self, prompt: str, *, seed: int) -> Completion:
        """The answer to `prompt` as a user's message, from the cache where it is there.

        Equal requests under way at once are sent once. The key is read when something is first
        sent, so a run from the cache needs no key and no server.

        Raises:
            GeneratorError: no usable answer, after retries, or no key.
            ValueError: the cache's entry is damaged.
        """
        request = {
            "server": self.settings.identity,
            "model": self.settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            "seed": seed % 2**31,  # some servers take no more than 32 bits, with a sign
        }
        lock = self._locks.setdefault(value_hash(request), asyncio.Lock())
        async with lock:
            response = self._cache.get(request)
            cached = response is not None
            if response is None:
                async with self._slots:
                    response = await self._ask(request)
                self._cache.put(request, response)
        self.cached += cached
        return Completion(
            response["text"], response["prompt_tokens"], response["completion_tokens"], cached
        )

    def usage(self) -> dict[str, int]:
        """The counters, for a record of what the run cost."""
        return {
            "requests": self.requests,
            "cached": self.cached,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }

    @cached_property
    def _api(self) -> openai.AsyncOpenAI:
        import openai

        # A cluster's proxy cannot reach this machine's loopback address.
        local = urlsplit(self.settings.base_url).hostname in {"127.0.0.1", "localhost", "::1"}
        return openai.AsyncOpenAI(
            base_url=self.settings.base_url,
            api_key=_read_key(self.settings.api_key_env),
            timeout=openai.Timeout(self._timeout, connect=10.0),
            max_retries=self._max_retries,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not local),
        )

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        import openai

        api = self._api
        # openai would add these from its own environment variables, whatever the server.
        headers: dict[str, str | openai.Omit] = {
            "Authorization": f"Bearer {api.api_key}",
            "OpenAI-Organization": openai.omit,
            "OpenAI-Project": openai.omit,
        }
        sent = {name: value for name, value in request.items() if name != "server"}
        self.requests += 1
        try:
            raw = await api.chat.completions.with_raw_response.create(**sent, extra_headers=headers)
        except openai.OpenAIError as error:
            failure = self._explained(error)
        else:
            return self._read(raw.text)
        # Raised here, the error has no context: openai's own holds the request with its key.
        raise failure

    def _read(self, body: str) -> dict[str, Any]:
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError as error:
            reason = error.errors()[0]
            failure = self._error(
                f"its answer is not a chat completion: {'.'.join(map(str, reason['loc']))} "
                f"{reason['msg']}, in {body!r}",
                "Check that `base_url` is that of an OpenAI-compatible server and ends in /v1.",
            )
        else:
            return self._counted(answer)
        raise failure

    def _counted(self, answer: _Answer) -> dict[str, Any]:
        usage = answer.usage or _Usage()
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        choice = answer.choices[0]
        text = choice.message.content or ""
        if choice.finish_reason == "length" and not text:
            raise self._error(
                f"the model used its {self.settings.max_tokens} tokens without a word of answer",
                "Raise `max_tokens`: a reasoning model thinks inside this limit.",
            )
        return {
            "text": text,
            "finish_reason": choice.finish_reason,
            "model": answer.model,
            **usage.model_dump(),
        }

    def _explained(self, error: openai.OpenAIError) -> GeneratorError:
        status = getattr(error, "status_code", None)
        if status is None:
            why = f"{error} {error.__cause__ or ''}".strip()
            fix = f"Check `base_url` and that the server runs and is not overloaded. {_AGAIN}"
        elif status in {401, 403}:
            why, fix = str(error), _key_fix(self.settings.api_key_env)
        else:
            known = 500 if status >= 500 else status
            why, fix = str(error), _FIXES.get(known, _FIXES[400])
        return self._error(why, fix)

    def _error(self, why: str, fix: str) -> GeneratorError:
        if self.settings.api_key_env is not None:
            why = why.replace(self._api.api_key, "<key>")  # some servers repeat it
        settings = self.settings
        why = why[:600].rstrip(".")
        return GeneratorError(f"{settings.base_url}, model {settings.model!r}: {why}. {fix}")


def _read_key(variable: str | None) -> str:
    if variable is None:
        return "none"  # openai wants one; given none it would take OPENAI_API_KEY
    key = os.environ.get(variable, "").strip()
    # A control character would come back to light in the error about an illegal header.
    if not key or not key.isascii() or not key.isprintable():
        raise GeneratorError(
            f"the environment variable {variable} (`api_key_env`) holds no key: expected printable "
            f"ASCII characters. Set it, for example with: export {variable}=..."
        )
    return key


def _key_fix(variable: str | None) -> str:
    if variable is None:
        return "Put the key in an environment variable and name that in `api_key_env`."
    return f"Put a key that this server accepts in the environment variable {variable}."
