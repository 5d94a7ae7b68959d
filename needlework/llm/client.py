"""Chat completions from any OpenAI-compatible server: paced, retried, asked once, counted.

Every answer goes through a `ResponseCache`, so a re-run sends nothing and gives the same texts.
Without the cache it would not: llama.cpp, vLLM and hosted models batch requests differently from
run to run, and a seed does not undo that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

from needlework.llm.asking import Asker
from needlework.llm.batch import Batches
from needlework.llm.cache import ResponseCache
from needlework.llm.exchange import Exchange
from needlework.llm.failures import FailureLog
from needlework.llm.generator import (
    Completion,
    Failure,
    Generator,
    GeneratorError,
    Request,
    RequestFailed,
)
from needlework.llm.group_writer import GroupWriter
from needlework.llm.structured import check_schema

__all__ = [
    "Client", "Completion", "Failure", "Generator", "GeneratorError", "Request", "RequestFailed",
]  # fmt: skip


class Client:
    """Asks one generator, inside one event loop: `async with Client(settings, cache) as client`.

    A request that fails for good does not end the run: it is a line of failures.jsonl, and a rerun
    asks for it again. What ends the run, with a GeneratorError, is a refused key, an unreachable
    server, too many errors, and the budget.
    """

    def __init__(
        self,
        settings: Generator,
        cache: ResponseCache,
        *,
        failures: Path | None = None,
        each: Callable[[Completion | Failure], None] = lambda outcome: None,
        say: Callable[[str], None] = lambda line: None,
        timeout: float = 600.0,
        max_retries: int = 8,
        repairs: int = 2,
        first_wait: float = 0.5,
        poll: float = 30.0,
    ) -> None:
        """Nothing is sent, and no key read, before an answer is missing from the cache.

        Args:
            settings: the generator.
            cache: where answers are kept.
            failures: the file of failures; by default failures.jsonl beside the cache. Tasks that
                share a cache need one each.
            each: called with every outcome as it comes, as for a progress bar.
            say: takes a line at each look at a batch.
            timeout: seconds for one try.
            max_retries: further tries of a request whose failure may pass.
            repairs: how often a reply that is not valid for its schema is asked for again.
            first_wait: seconds before the first retry where the server does not say; they double.
            poll: seconds between two looks at a batch.

        Raises:
            GeneratorError: a budget for a model whose price is unknown.
        """
        self.settings = settings
        self._cached = 0
        self._cache = cache
        self._repairs, self._poll, self._each, self._say = repairs, poll, each, say
        self._failures = FailureLog(failures or cache.path.with_name("failures.jsonl"))
        self._failed: dict[str, Failure] = {}
        self._fresh: set[str] = set()  # answered by a batch in this run, and not yet reported
        self._writer = GroupWriter(cache)
        self._asker = Asker(
            settings, cache, timeout=timeout, max_retries=max_retries, first_wait=first_wait
        )
        self._slots = asyncio.Semaphore(settings.concurrency)
        # One lock per request under way; it goes when the last task that waits on it ends.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __aenter__(self) -> Client:
        self._failures.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.flush()
        await self._asker.transport.close()

    async def complete(self, request: Request) -> Completion:
        """The answer, from the cache where it is there. Equal requests at once are sent once.

        With `batch` it is a batch of one, of its own: ask for many with `complete_all`.

        Raises:
            RequestFailed: no answer to this request, after retries and repairs.
            GeneratorError: the run has to stop; see the class.
            ValueError: the cache is damaged, or the schema is no JSON schema.
        """
        (outcome,) = await self.complete_all([request])
        if isinstance(outcome, Failure):
            raise RequestFailed(self.settings, outcome)
        return outcome

    async def complete_all(self, requests: Sequence[Request]) -> list[Completion | Failure]:
        """The outcome of every request, in order: live, or with `batch` through the Batch API.

        Raises:
            GeneratorError: the run has to stop; see the class. What was under way has ended, and
                its answers are in the cache.
            ValueError: the cache is damaged, or a schema is no JSON schema.
        """
        for request in requests:
            if request.schema is not None:
                check_schema(request.schema)
        if self.settings.batch:
            await self._ask_in_batches(requests)
        outcomes: dict[int, Completion | Failure] = {}
        errors: list[Exception] = []
        numbers = iter(range(len(requests)))

        async def work() -> None:
            try:
                for number in numbers:  # shared: every worker takes the next
                    outcomes[number] = await self._outcome(requests[number])
                    self._each(outcomes[number])
            except Exception as error:  # the others stop as well, and end what they have begun
                errors.append(error)
                self._asker.limiter.stop(str(error))

        workers = min(self.settings.concurrency, len(requests))
        await asyncio.gather(*(work() for _ in range(workers)))
        if errors:
            raise errors[0]
        return [outcomes[number] for number in range(len(requests))]

    def usage(self) -> dict[str, Any]:
        """What the run cost so far.

        `requests` were sent, and `retries` times one of them again, repairs included; `cached`
        answers came from the cache; `failed` requests have none. Tokens are as the server counted
        them, without cached ones. `usd` is None where the price is unknown.
        """
        spent = self._asker.usage()
        return spent | {"cached": self._cached, "failed": len(self._failed)}

    async def _outcome(self, request: Request) -> Completion | Failure:
        exchange = Exchange(self.settings, request, repairs=self._repairs)
        key = exchange.key
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key in self._failed:
                return self._failed[key]
            response = self._cache.get(exchange.content)
            cached = response is not None and key not in self._fresh
            self._fresh.discard(key)
            if response is None:
                async with self._slots:
                    answer = await self._asker.ask(exchange)
                    if isinstance(answer, Failure):
                        return self._fail(answer)
                    await self._writer.put(exchange.content, answer)
                # Not `answer`: another task that shares the file may have put its own first.
                response = self._cache.get(exchange.content) or answer
        self._cached += cached
        return Completion(
            response["text"],
            response["prompt_tokens"],
            response["completion_tokens"],
            cached,
            response.get("ended"),  # not in entries of versions that did not ask for it
        )

    def _fail(self, failure: Failure) -> Failure:
        self._failed[failure.key] = failure
        self._failures.add(failure)
        return failure

    async def _ask_in_batches(self, requests: Sequence[Request]) -> None:
        exchanges = (Exchange(self.settings, r, repairs=self._repairs) for r in requests)
        missing = {
            exchange.key: exchange
            for exchange in exchanges
            if exchange.key not in self._failed and self._cache.get(exchange.content) is None
        }
        batches = Batches(
            self.settings,
            self._cache,
            self._asker,
            poll=self._poll,
            say=self._say,
            done=self._batched,
        )
        await batches.run(missing)

    def _batched(self, exchange: Exchange, failure: Failure | None) -> None:
        if failure is None:
            self._fresh.add(exchange.key)
        else:
            self._fail(failure)
