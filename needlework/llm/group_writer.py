"""Answers that arrive together, put into the cache together."""

from __future__ import annotations

import asyncio
from typing import Any

from needlework.llm.cache import ResponseCache


class GroupWriter:
    """Puts answers that arrive together in one transaction; each waits until it is on disk.

    A disk takes in a few hundred transactions a second; while it takes in one, the next gathers.
    """

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache
        self._waiting: list[tuple[dict[str, Any], dict[str, Any], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, request: dict[str, Any], response: dict[str, Any]) -> None:
        """Return when the response is on disk; it goes there even if the caller is cancelled."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((request, response, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        await asyncio.shield(future)

    async def close(self) -> None:
        """Return when everything is on disk."""
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)
            group, self._waiting = self._waiting, []
            try:
                self._cache.put(entry[:2] for entry in group)
            except ValueError as error:
                for *_, future in group:
                    future.set_exception(error)
            else:
                for *_, future in group:
                    future.set_result(None)
