"""Answers on disk, each found again by the content of its request, in one SQLite file.

The cache is what makes a run repeatable: servers do not give the same bits twice, even with a
seed, but an answer read from here is the answer of the first run, and costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from needlework.provenance import value_hash

_VERSION = 1
_TABLES = """
CREATE TABLE responses (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE refused_schemas (
    server TEXT, model TEXT, schema TEXT, PRIMARY KEY (server, model, schema)
) WITHOUT ROWID;
CREATE TABLE batches (
    token TEXT PRIMARY KEY, server TEXT NOT NULL, model TEXT NOT NULL, batch_id TEXT
) WITHOUT ROWID;
CREATE TABLE batch_items (
    key TEXT PRIMARY KEY, token TEXT NOT NULL REFERENCES batches, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX items_of_batch ON batch_items (token);
"""
_PATIENCE = 120.0  # seconds to wait for another task's transaction


class ResponseCache:
    """Requests and responses in the SQLite file `path`, made where it is not there.

    The key is the hash of the whole request, so a changed model, prompt, seed or sampling
    parameter is another entry. Both values are plain JSON; keep keys and other secrets out of
    them. Any number of tasks on one machine may share the file, and a killed one leaves it whole;
    SQLite's write-ahead log does not work between machines (sqlite.org/wal.html).

    Raises, from every method:
        ValueError: the file or an entry is damaged, or cannot be used; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._connection = _connected(path)

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        self._connection.close()

    def get(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The response that was put for an equal request, or None."""
        key = value_hash(request)
        rows = self.read("SELECT request, response, digest FROM responses WHERE key = ?", key)
        if not rows:
            return None
        asked, answered, digest = rows[0]
        if _digest(asked) != key or _digest(answered) != digest:
            raise ValueError(
                f"{self.path}, table responses, key {key} is damaged: its hashes are not those of "
                "its contents. Delete the row, and its request is asked again: sqlite3 "
                f"{shlex.quote(str(self.path))} \"DELETE FROM responses WHERE key = '{key}'\""
            )
        return dict(json.loads(answered))

    def put(self, entries: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Keep every (request, response): on disk when this returns, all of them or none.

        An entry that another task put first stays, so that all tasks report the same answer.
        """
        rows = [(*_keyed(request), *_keyed(response)[::-1]) for request, response in entries]
        with self.writing() as connection:
            connection.executemany(
                "INSERT INTO responses (key, request, response, digest) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                rows,
            )

    def read(self, query: str, *values: Any) -> list[Any]:
        """The rows of one SELECT."""
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on disk when the block ends, undone if it raises."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"{self.path} cannot be used: {error}. Expected a file of a local disk with room, "
                "that this account may write and no other program keeps locked."
            ) from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a programming error says nothing of the file
            raise ValueError(
                f"{self.path} is damaged: {error}. Expected the SQLite file of a response cache "
                f"(version {_VERSION}). Move it away, with its -wal and -shm files; everything is "
                "then asked again."
            ) from error


def _connected(path: Path) -> sqlite3.Connection:
    # Transactions are begun by hand: isolation_level None.
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")
    if version not in {0, _VERSION}:
        raise sqlite3.DatabaseError(f"it is of version {version}")
    return connection


def _keyed(value: dict[str, Any]) -> tuple[str, str]:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return _digest(text), text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
