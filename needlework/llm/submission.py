"""Putting batches under way so that none is submitted twice, and no more than is allowed."""

from __future__ import annotations

import json
import uuid
from functools import partial

from needlework.llm.asking import Asker
from needlework.llm.batch_files import MOST_REQUESTS, line, split
from needlework.llm.exchange import Exchange
from needlework.llm.ledger import Ledger
from needlework.llm.transport import Trouble

_NO_BATCHES = "If this server has no Batch API, set `batch: false`."


class Submitter:
    """Submits batches and keeps their money reserved; every method wants `Ledger.submitting`."""

    def __init__(self, ledger: Ledger, asker: Asker) -> None:
        self._ledger = ledger
        self._asker = asker
        self._most = MOST_REQUESTS
        self._singly = False  # since the server said that too many tokens are enqueued
        self._reserved: dict[str, float] = {}
        self._stumbles = 0

    async def recover(self) -> None:
        """Find what was submitted without its id being noted; forget what was not submitted."""
        self._ledger.forget_answered()
        lost = self._ledger.unsubmitted()
        after: str | None = None
        while lost:
            page_call = partial(self._asker.transport.batches, after)
            page = json.loads(await self._asker.reliably(page_call, "batches cannot be listed"))
            for batch in page["data"]:
                if (token := (batch.get("metadata") or {}).get("token")) in lost:
                    self._ledger.submitted(token, batch["id"])
                    lost.discard(token)
            if not page["data"] or not page.get("has_more"):
                break
            after = page["data"][-1]["id"]
        for token in lost:
            self._ledger.drop(token)
            self.settle(token, 0.0)

    async def submit(self, free: list[Exchange], *, alone: bool) -> None:
        """Submit what the budget allows; `alone` says that nothing is under way."""
        if self._singly and not alone:
            return
        for exchange in free:
            self._asker.prepare(exchange)
        for group in split(((e, line(e)) for e in free), self._most):
            exchanges = [exchange for exchange, _ in group]
            usd = self._bound(exchanges)
            if not self._asker.limiter.afford(usd):
                return  # a batch under way may turn out cheaper than it can be
            for exchange in exchanges:
                self._asker.count(exchange)
            token = uuid.uuid4().hex
            self._ledger.enter(token, [(e.key, e.state()) for e in exchanges])
            self._reserve(token, usd)
            await self._create(token, b"".join(content for _, content in group))
            if self._singly:
                return

    async def _create(self, token: str, lines: bytes) -> None:
        asker = self._asker
        body = await asker.reliably(
            lambda: asker.transport.upload(lines), f"no batch can be uploaded. {_NO_BATCHES}"
        )
        created = await asker.transport.create_batch(json.loads(body)["id"], token)
        if isinstance(created, str):
            self._stumbles = 0
            self._ledger.submitted(token, json.loads(created)["id"])
            return
        # Whether it was created is not known: the next round finds it, or submits it again.
        self._stumbles += 1
        if not created.passing or self._stumbles > asker.max_retries:
            asker.stop(created._replace(reason=f"{created.reason}. {_NO_BATCHES}"))
        await asker.limiter.sleep(max(asker.backoff(self._stumbles - 1), created.wait or 0.0))

    def enqueue_less(self, size: int, alone: bool) -> None:
        """One batch at a time from now on, and a smaller one where this was the only one."""
        self._singly = True
        if alone:
            self._most = max(1, size // 2)
            if size == 1:
                self._asker.stop(
                    Trouble(429, "the limit of enqueued tokens is too low for a single request")
                )

    def adopt(self, token: str, exchanges: list[Exchange]) -> None:
        """Reserve the money of a batch that an earlier run submitted."""
        if token not in self._reserved:
            self._reserve(token, self._bound(exchanges))

    def settle(self, token: str, spent: float) -> None:
        """Count what a batch has cost instead of what was reserved for it."""
        self._asker.limiter.release(self._reserved.pop(token, 0.0), spent)

    def _reserve(self, token: str, usd: float) -> None:
        self._reserved[token] = usd
        self._asker.limiter.reserve(usd)

    def _bound(self, exchanges: list[Exchange]) -> float:
        """US dollars that the exchanges cost at most."""
        bounds = [exchange.bounds() for exchange in exchanges]
        return self._asker.cost(sum(b[0] for b in bounds), sum(b[1] for b in bounds))
