"""Answers that arrive together, put into the cache together."""

from __future__ import annotations

import asyncio
from typing import Any

from needlework.llm.cache import ResponseCache


class GroupWriter:
    """Puts the answers of one turn of the event loop in one transaction; each waits for the disk.

    The loop stands still for the few milliseconds that a disk needs. Answers that come meanwhile
    are the next group. A thread would free the loop, but hands over late when cores are busy:
    measured with 32 requests in flight, answers then waited three times as long.
    """

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache
        self._waiting: list[tuple[dict[str, Any], dict[str, Any], asyncio.Future[None]]] = []

    async def put(self, request: dict[str, Any], response: dict[str, Any]) -> None:
        """Return when the response is on disk; it goes there even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self.flush)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((request, response, future))
        await future

    def flush(self) -> None:
        """Put everything that waits."""
        group, self._waiting = self._waiting, []
        if not group:
            return
        failed: ValueError | None = None
        try:
            self._cache.put((request, response) for request, response, _ in group)
        except ValueError as error:
            failed = error
        for *_, future in group:
            if failed is not None and not future.done():
                future.set_exception(failed)
            elif not future.done():
                future.set_result(None)
