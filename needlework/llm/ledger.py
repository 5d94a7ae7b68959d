"""Which batches are under way and what they hold, on disk beside the answers they will give."""

from __future__ import annotations

import asyncio
import fcntl
import shlex
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from needlework.llm.cache import ResponseCache


class Ledger:
    """The batches of one server and model, in the tables `batches` and `batch_items`.

    A batch is entered under a token before it is submitted, and the server keeps the token as the
    batch's metadata. So one that was submitted by a process that was killed before it could note
    the batch's id is found again, and never submitted twice.
    """

    def __init__(self, cache: ResponseCache, server: str, model: str) -> None:
        self._cache = cache
        self._who = (server, model)

    @asynccontextmanager
    async def submitting(self) -> AsyncIterator[None]:
        """Keep other tasks from submitting meanwhile; a killed process gives the lock back."""
        path = self._cache.path.with_name(f"{self._cache.path.name}.batches.lock")
        with path.open("ab") as file:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
            yield

    def enter(self, token: str, items: Iterable[tuple[str, str]]) -> None:
        """Note a batch that is about to be submitted, with the (key, state) of every request."""
        with self._cache.writing() as connection:
            connection.execute(
                "INSERT INTO batches (token, server, model) VALUES (?, ?, ?)", (token, *self._who)
            )
            connection.executemany(
                "INSERT INTO batch_items (key, state, token) VALUES (?, ?, ?)",
                ((key, state, token) for key, state in items),
            )

    def submitted(self, token: str, batch_id: str) -> None:
        """Note the id that the server gave to a batch."""
        with self._cache.writing() as connection:
            connection.execute("UPDATE batches SET batch_id = ? WHERE token = ?", (batch_id, token))

    def unsubmitted(self) -> set[str]:
        """Tokens of batches without an id. While `submitting`, no live process works on them."""
        rows = self._cache.read(
            "SELECT token FROM batches WHERE batch_id IS NULL AND server = ? AND model = ?",
            *self._who,
        )
        return {token for (token,) in rows}

    def under_way(self) -> list[tuple[str, str, str, str]]:
        """(token, batch id, key, state) of every request that waits in a submitted batch."""
        return self._cache.read(
            "SELECT token, batch_id, key, state FROM batch_items JOIN batches USING (token)"
            " WHERE batch_id IS NOT NULL AND server = ? AND model = ? ORDER BY token",
            *self._who,
        )

    def release(self, token: str, keys: Iterable[str]) -> None:
        """Forget requests whose outcome is known; with its last one a batch is forgotten."""
        with self._cache.writing() as connection:
            connection.executemany(
                "DELETE FROM batch_items WHERE token = ? AND key = ?",
                ((token, key) for key in keys),
            )
            _forget_empty(connection)

    def drop(self, token: str) -> None:
        """Forget a batch that was never submitted."""
        with self._cache.writing() as connection:
            connection.execute("DELETE FROM batch_items WHERE token = ?", (token,))
            _forget_empty(connection)

    def forget_answered(self) -> None:
        """Forget requests whose answer was stored just before a process was killed."""
        with self._cache.writing() as connection:
            connection.execute("DELETE FROM batch_items WHERE key IN (SELECT key FROM responses)")
            _forget_empty(connection)

    def how_to_forget(self, token: str) -> str:
        """The command by which a person gives a batch up."""
        path = shlex.quote(str(self._cache.path))
        return f"sqlite3 {path} \"DELETE FROM batch_items WHERE token = '{token}'\""


def _forget_empty(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM batches WHERE token NOT IN (SELECT token FROM batch_items)")
