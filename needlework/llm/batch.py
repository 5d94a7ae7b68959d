"""Requests through the Batch API: half the price, within 24 hours, across restarts.

Source: https://platform.openai.com/docs/guides/batch and the API reference of /batches and /files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from needlework.llm.asking import Asker
from needlework.llm.batch_files import absent, results
from needlework.llm.cache import ResponseCache
from needlework.llm.exchange import Exchange
from needlework.llm.generator import Failure, Generator
from needlework.llm.ledger import Ledger
from needlework.llm.submission import Submitter
from needlework.llm.transport import Trouble

_ENDED = {"completed", "failed", "expired", "cancelled"}
_RESUBMISSIONS = 2  # of a request whose failure may pass


class _Waiting(NamedTuple):
    """A batch under way, and those of its requests that are wanted."""

    token: str
    batch_id: str
    exchanges: list[Exchange]


class Batches:
    """Submits, polls and collects. What is under way is on disk, so that a restart goes on."""

    def __init__(
        self,
        settings: Generator,
        cache: ResponseCache,
        asker: Asker,
        *,
        poll: float,
        say: Callable[[str], None],
        done: Callable[[Exchange, Failure | None], None],
    ) -> None:
        """`poll` is in seconds; `done` is called when an answer is cached, or with a failure."""
        self._cache = cache
        self._asker = asker
        self._ledger = Ledger(cache, settings.identity, settings.model)
        self._poll, self._say, self._done = poll, say, done
        self._submitter = Submitter(self._ledger, asker)

    async def run(self, missing: dict[str, Exchange]) -> None:
        """Get the outcome of every exchange of `missing`, which is by key, and is emptied.

        Raises:
            GeneratorError: the run has to stop; batches under way go on, and a rerun collects them.
        """
        while missing:
            async with self._ledger.submitting():
                await self._submitter.recover()
                waiting = self._waiting(missing)
                await self._submitter.submit(self._free(missing, waiting), alone=not waiting)
            ended = [
                batch
                for batch in waiting
                if await self._collected(batch, missing, alone=len(waiting) == 1)
            ]
            if missing and not ended:
                await self._asker.limiter.sleep(self._poll)

    def _waiting(self, missing: dict[str, Exchange]) -> list[_Waiting]:
        found: dict[str, _Waiting] = {}
        for token, batch_id, key, state in self._ledger.under_way():
            if (exchange := missing.get(key)) is not None:
                exchange.resume(state)
                found.setdefault(token, _Waiting(token, batch_id, [])).exchanges.append(exchange)
        for batch in found.values():
            self._submitter.adopt(batch.token, batch.exchanges)
        return list(found.values())

    def _free(self, missing: dict[str, Exchange], waiting: list[_Waiting]) -> list[Exchange]:
        held = {exchange.key for batch in waiting for exchange in batch.exchanges}
        free = []
        for exchange in [e for key, e in missing.items() if key not in held]:
            if self._cache.get(exchange.content) is None:
                free.append(exchange)
            else:  # another task has got it meanwhile
                del missing[exchange.key]
                self._done(exchange, None)
        return free

    async def _collected(
        self, batch: _Waiting, missing: dict[str, Exchange], *, alone: bool
    ) -> bool:
        """Whether the batch has ended; if so, its outcomes are done or asked for again."""
        forget = f"If it is gone for good, give it up: {self._ledger.how_to_forget(batch.token)}"
        asker = self._asker
        body = await asker.reliably(
            lambda: asker.transport.batch(batch.batch_id), f"batch {batch.batch_id}. {forget}"
        )
        state = json.loads(body)
        counts = state.get("request_counts") or {}
        done = f"{counts.get('completed', 0)} of {counts.get('total', '?')} done"
        self._say(f"batch {batch.batch_id}: {state['status']}, {done}")
        if state["status"] not in _ENDED:
            return False
        got: dict[str, str | Trouble] = {}
        for file_id in filter(None, (state.get("output_file_id"), state.get("error_file_id"))):
            what = f"file {file_id} of batch {batch.batch_id}. {forget}"
            got |= results(await asker.reliably(partial(asker.transport.content, file_id), what))
        missed = absent(state)
        if missed.status == 429:
            self._submitter.enqueue_less(len(batch.exchanges), alone)
        self._settle(batch, got, missed, missing)
        return True

    def _settle(
        self,
        batch: _Waiting,
        got: dict[str, str | Trouble],
        missed: Trouble,
        missing: dict[str, Exchange],
    ) -> None:
        asker = self._asker
        read, written = asker.prompt_tokens, asker.completion_tokens
        ended: list[tuple[Exchange, Failure | None]] = []
        answers = []
        for exchange in batch.exchanges:
            step = asker.taken(exchange, got.get(exchange.key, missed))
            if step is missed and missed.status == 429:
                continue
            outcome = asker.settled(exchange, step, _RESUBMISSIONS)
            if isinstance(outcome, Failure):
                ended.append((exchange, outcome))
            elif isinstance(outcome, dict):
                ended.append((exchange, None))
                answers.append((exchange.content, outcome))
        self._cache.put(answers)
        spent = asker.cost(asker.prompt_tokens - read, asker.completion_tokens - written)
        self._submitter.settle(batch.token, spent)
        self._ledger.release(batch.token, [exchange.key for exchange in batch.exchanges])
        for exchange, failure in ended:
            del missing[exchange.key]
            self._done(exchange, failure)
