"""One HTTP exchange with the server at a time: the key, the headers, and errors put into words.

Nothing is retried here, so that the limiter sees every answer. Errors come back as values: one of
openai's exceptions holds its request, and with it the key.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from needlework.llm.generator import Generator, GeneratorError
from needlework.llm.keys import scrubbed
from needlework.llm.retry_after import seconds_to_wait

if TYPE_CHECKING:  # openai takes most of a second to import; a run from the cache needs none of it
    import openai

AGAIN = "Then run again: the answers so far are in the cache."
_FIXES = {
    400: "Its own words above say what it does not accept; a prompt plus `max_tokens` must fit "
    "its context.",
    404: "Check that `model` is one that it serves and that `base_url` ends in /v1.",
    429: f"The rate limit or the quota is used up: lower `concurrency`, wait, or buy. {AGAIN}",
    500: f"The server itself failed, several times; see its log. {AGAIN}",
}
_PASSING = {408, 409, 425, 429}
_TALKING = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")  # loggers of the libraries below


class Trouble(NamedTuple):
    """An exchange that gave no answer.

    `status` is None where no HTTP answer came; `wait` has the seconds that the server asks to
    wait; `passing` says that the same request may succeed later; `reached` is False where there
    was no connection at all; `fix` says what to do where the status alone does not.
    """

    status: int | None
    reason: str
    wait: float | None = None
    passing: bool = False
    reached: bool = True
    fix: str = ""


class Server(NamedTuple):
    """Where requests go, where no more than that has to be known; as in `Generator`."""

    base_url: str
    model: str
    api_key_env: str | None


class Transport:
    """The server of `settings`. The key is read when something is first sent."""

    def __init__(self, settings: Generator | Server, timeout: float) -> None:
        """`timeout` is in seconds, for one exchange."""
        self.settings = settings
        self._timeout = timeout

    async def close(self) -> None:
        """Close the connections."""
        if "_api" in self.__dict__:
            await self._api.close()

    async def post(self, path: str, body: dict[str, Any]) -> str | Trouble:
        """The body of what is made at a path of the API, such as "/chat/completions"."""
        # Not openai's own methods: they copy every message into typed dictionaries, and their
        # modules take another second to import.
        return await self._sent(
            lambda headers: self._api.post(
                path, cast_to=str, body=body, options={"headers": headers}
            )
        )

    async def get(self, path: str, query: dict[str, Any] | None = None) -> str | Trouble:
        """The body of what lies at a path of the API."""
        return await self._sent(
            lambda headers: self._api.get(
                path, cast_to=str, options={"headers": headers, "params": query or {}}
            )
        )

    async def upload(
        self,
        lines: bytes,
        name: str = "requests.jsonl",
        purpose: Literal["batch", "fine-tune"] = "batch",
    ) -> str | Trouble:
        """The body of a file object: uploaded, by default as the input of a batch."""
        create = self._api.files.with_raw_response.create
        return await self._sent(
            lambda headers: create(file=(name, lines), purpose=purpose, extra_headers=headers)
        )

    async def content(self, file_id: str) -> str | Trouble:
        """What is in a file on the server."""
        content = self._api.files.with_raw_response.content
        return await self._sent(lambda headers: content(file_id, extra_headers=headers))

    async def create_batch(self, file_id: str, token: str) -> str | Trouble:
        """The body of a batch object: new, and found again by its metadata `token`."""
        create = self._api.batches.with_raw_response.create
        return await self._sent(
            lambda headers: create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"token": token},
                extra_headers=headers,
            )
        )

    async def batch(self, batch_id: str) -> str | Trouble:
        """The body of a batch object as it is now."""
        retrieve = self._api.batches.with_raw_response.retrieve
        return await self._sent(lambda headers: retrieve(batch_id, extra_headers=headers))

    async def batches(self, after: str | None) -> str | Trouble:
        """The body of a page of batch objects, newest first."""
        import openai

        page = self._api.batches.with_raw_response.list
        start = openai.omit if after is None else after
        return await self._sent(lambda headers: page(after=start, limit=100, extra_headers=headers))

    def scrubbed(self, text: str) -> str:
        """`text` without the key: some servers repeat it."""
        return text if self.settings.api_key_env is None else scrubbed(text, self._api.api_key)

    def error(self, why: str, fix: str) -> GeneratorError:
        """An error that names the server."""
        settings = self.settings
        why = why[:600].rstrip(".")
        return GeneratorError(f"{settings.base_url}, model {settings.model!r}: {why}. {fix}")

    def fix(self, trouble: Trouble) -> str:
        """What to do about a trouble that stays."""
        if trouble.fix:
            return trouble.fix
        if trouble.status is None:
            return f"Check `base_url` and that the server runs and is not overloaded. {AGAIN}"
        if trouble.status in {401, 403}:
            return _key_fix(self.settings.api_key_env)
        return _FIXES.get(500 if trouble.status >= 500 else trouble.status, _FIXES[400])

    @cached_property
    def _api(self) -> openai.AsyncOpenAI:
        import openai

        # Their debug lines show headers as the server sent them, and some servers repeat the key.
        for name in _TALKING:
            logging.getLogger(name).setLevel(logging.WARNING)
        # A cluster's proxy cannot reach this machine's loopback address.
        local = urlsplit(self.settings.base_url).hostname in {"127.0.0.1", "localhost", "::1"}
        return openai.AsyncOpenAI(
            base_url=self.settings.base_url,
            api_key=_read_key(self.settings.api_key_env),
            timeout=openai.Timeout(self._timeout, connect=10.0),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not local),
        )

    async def _sent(self, call: Callable[[dict[str, Any]], Awaitable[Any]]) -> str | Trouble:
        import openai

        # openai would add these from its own environment variables, whatever the server.
        headers = {
            "Authorization": f"Bearer {self._api.api_key}",
            "OpenAI-Organization": openai.omit,
            "OpenAI-Project": openai.omit,
        }
        try:
            answer = await call(headers)
        except openai.APIStatusError as error:
            status = error.status_code
            # OpenAI's guide to error codes: a used-up quota comes as 429 too, and does not pass.
            quota = error.code == "insufficient_quota"
            return Trouble(
                status,
                self.scrubbed(str(error)),
                wait=seconds_to_wait(error.response.headers),
                passing=(status in _PASSING or status >= 500) and not quota,
            )
        except openai.APIError as error:
            cause = type(error.__cause__).__name__
            reason = f"{error} {error.__cause__ or cause}".strip()
            reached = cause not in {"ConnectError", "ConnectTimeout"}
            return Trouble(None, self.scrubbed(reason), passing=True, reached=reached)
        return self.scrubbed(answer if isinstance(answer, str) else answer.text)


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
