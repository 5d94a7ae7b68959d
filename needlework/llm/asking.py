"""Asking a server until there is an answer: pace, retries, repairs, and what ends the run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from needlework.llm.cache import ResponseCache
from needlework.llm.exchange import Exchange
from needlework.llm.generator import Failure, Generator
from needlework.llm.limits import Limiter, backoff
from needlework.llm.prices import price_of
from needlework.llm.transport import Transport, Trouble
from needlework.provenance import value_hash

_TRIES_TO_CONNECT = 3  # for a server that has never answered; its address may be wrong


class Asker:
    """Sends requests to one server, and counts.

    Attributes:
        requests: requests sent; `retries` counts those sent again.
        prompt_tokens: tokens that the server read, `completion_tokens` those it wrote.
    """

    def __init__(
        self,
        settings: Generator,
        cache: ResponseCache,
        *,
        timeout: float,
        max_retries: int,
        first_wait: float,
    ) -> None:
        """`timeout` and `first_wait` are in seconds.

        Raises:
            GeneratorError: a budget for a model whose price is unknown.
        """
        self.transport = Transport(settings, timeout)
        self.limiter = Limiter(settings, first_wait=first_wait, max_retries=max_retries)
        self.requests = self.retries = self.prompt_tokens = self.completion_tokens = 0
        self._cache = cache
        self._server = settings.identity, settings.model
        self._price = price_of(settings)
        self.max_retries = max_retries
        self._first_wait = first_wait
        rows = cache.read(
            "SELECT schema FROM refused_schemas WHERE server = ? AND model = ?", *self._server
        )
        self._refused = {schema for (schema,) in rows}

    async def ask(self, exchange: Exchange) -> dict[str, Any] | Failure:
        """The response for the cache, or why there is none.

        Raises:
            GeneratorError: the run has to stop.
        """
        self.prepare(exchange)
        while True:
            step = await self._exchanged(exchange)
            if isinstance(step, Trouble):
                if step.status == 429 and step.passing:
                    continue  # no fault of the request; the limiter waits
                if step.status != 200 or step.passing:
                    self.limiter.failed(step.reason)
            outcome = self.settled(exchange, step, self.max_retries)
            if isinstance(outcome, Trouble):
                wait = self.backoff(exchange.errors - 1)
                await self.limiter.sleep(max(wait, outcome.wait or 0.0))
            elif outcome is not None:
                return outcome

    def prepare(self, exchange: Exchange) -> None:
        """Put the schema in the prompt where this server is known to refuse it elsewhere."""
        if value_hash(exchange.request.schema) in self._refused:
            exchange.plain = True

    def settled(
        self, exchange: Exchange, step: dict[str, Any] | Trouble | None, tries: int
    ) -> dict[str, Any] | Failure | Trouble | None:
        """What a step means: a response, a failure for good, or to ask again (trouble or None).

        Raises:
            GeneratorError: the run has to stop.
        """
        if step is None:
            return None
        if not isinstance(step, Trouble):
            if exchange.plain:
                self._remember(value_hash(exchange.request.schema))
            return step
        lasting = not step.passing
        if step.status in {401, 403} or (step.status == 429 and lasting):
            self.stop(step)
        exchange.errors += 1
        if not step.reached and not self.limiter.successes:
            tries = min(tries, _TRIES_TO_CONNECT)
        if lasting or exchange.errors > tries:
            if not step.reached:
                self.stop(step)
            return exchange.failure(step, self.transport.fix(step))
        return step

    def count(self, exchange: Exchange) -> None:
        """Note that the exchange is sent."""
        if exchange.attempts:
            self.retries += 1
        else:
            self.requests += 1
        exchange.attempts += 1

    def taken(self, exchange: Exchange, got: str | Trouble) -> dict[str, Any] | Trouble | None:
        """What the exchange makes of `got`; its tokens are counted."""
        prompt, completion = exchange.prompt_tokens, exchange.completion_tokens
        step = exchange.take(got)
        self.prompt_tokens += exchange.prompt_tokens - prompt
        self.completion_tokens += exchange.completion_tokens - completion
        return step

    def usage(self) -> dict[str, Any]:
        """The counters, and `usd`: None where the price is unknown."""
        tokens = self.prompt_tokens, self.completion_tokens
        return {
            "requests": self.requests,
            "retries": self.retries,
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "usd": self.cost(*tokens) if self._price else None,
        }

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars; 0 where the price is unknown, which no budget allows."""
        return self._price.usd(prompt_tokens, completion_tokens) if self._price else 0.0

    def backoff(self, tries: int) -> float:
        """Seconds to wait after so many tries before this one."""
        return backoff(self._first_wait, tries)

    async def reliably(self, call: Callable[[], Awaitable[str | Trouble]], doing: str) -> str:
        """The body of a call that every request depends on, retried while trouble may pass.

        Raises:
            GeneratorError: it failed for good, or the run has been stopped.
        """
        tries = 0
        while not isinstance(got := await call(), str):
            if not got.passing or tries == self.max_retries:
                raise self.transport.error(f"{doing}: {got.reason}", self.transport.fix(got))
            await self.limiter.sleep(max(self.backoff(tries), got.wait or 0.0))
            tries += 1
        return got

    def stop(self, trouble: Trouble) -> None:
        """End the run.

        Raises:
            GeneratorError: always.
        """
        error = self.transport.error(trouble.reason, self.transport.fix(trouble))
        self.limiter.stop(str(error))
        self.limiter.check()

    async def _exchanged(self, exchange: Exchange) -> dict[str, Any] | Trouble | None:
        prompt, most = exchange.bounds()
        used = await self.limiter.enter(prompt + most, self.cost(prompt, most))
        self.count(exchange)
        got: str | Trouble | None = None
        try:
            got = await self.transport.post(exchange.path, exchange.payload())
        finally:
            # Cancelled, or without an answer: whether it was paid for cannot be known.
            if not isinstance(got, str):
                self.limiter.leave(used, tokens=0, usd=0.0)
        if isinstance(got, Trouble):
            if got.status == 429 or got.wait is not None:
                self.limiter.overloaded(used, got.wait)
            return self.taken(exchange, got)
        before = exchange.prompt_tokens, exchange.completion_tokens
        step = self.taken(exchange, got)
        read = exchange.prompt_tokens - before[0]
        written = exchange.completion_tokens - before[1]
        if isinstance(step, Trouble) and step.passing:
            self.limiter.leave(used, tokens=0, usd=0.0)
            return step
        counted = read + written > 0  # a server that counts nothing is taken at its most
        tokens, usd = (read + written, self.cost(read, written)) if counted else used[1:]
        self.limiter.leave(used, tokens=tokens, usd=usd)
        self.limiter.succeeded()
        return step

    def _remember(self, schema: str) -> None:
        if schema in self._refused:
            return
        self._refused.add(schema)
        with self._cache.writing() as connection:
            connection.execute(
                "INSERT INTO refused_schemas VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (*self._server, schema),
            )
