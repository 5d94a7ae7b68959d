"""The cache of a language model's replies is damaged: said, mended as the message says, gone on."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.workflow.running import command, environment

FOLDER = "results/smoke/generations/factbook_lookup"


@pytest.fixture
def cache(finished: Path) -> Iterator[Path]:
    """The cache of rewrites of a finished study, in one file."""
    path = finished / FOLDER / "rewrites.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def _rewrite(folder: Path) -> subprocess.CompletedProcess[str]:
    """Have the facts rewritten once more: what is in the cache costs nothing."""
    return subprocess.run(
        command("--forcerun", "rewrite_facts", "--until", "rewrite_facts"), cwd=folder,
        env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip


@pytest.mark.faults
def test_a_damaged_reply_is_asked_again(finished: Path, cache: Path) -> None:
    with closing(sqlite3.connect(cache)) as connection:
        (reply,) = connection.execute("SELECT response FROM responses LIMIT 1").fetchone()
        rows = connection.execute("SELECT count(*) FROM responses").fetchone()
    text = re.search(r'"content": ?"(.{12})', reply) or re.search(r"([A-Za-z ]{12})", reply)
    assert text is not None
    content = cache.read_bytes()
    place = content.index(text.group(1).encode())
    cache.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    stopped = _rewrite(finished)
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stdout
    said = stopped.stdout.partition("Why it stopped:")[2]
    print(said)
    assert f"{FOLDER}/rewrites.sqlite, table responses" in said
    mend = re.search(r'"(DELETE FROM responses WHERE key = .*?)"', said)
    assert mend is not None, stopped.stdout
    with closing(sqlite3.connect(cache)) as connection:
        connection.execute(mend.group(1))
        connection.commit()
    again = _rewrite(finished)
    assert again.returncode == 0, again.stdout
    with closing(sqlite3.connect(cache)) as connection:
        assert connection.execute("SELECT count(*) FROM responses").fetchone() == rows


@pytest.mark.faults
def test_a_cache_that_was_cut_is_made_anew(finished: Path, cache: Path) -> None:
    os.truncate(cache, cache.stat().st_size // 2)
    stopped = _rewrite(finished)
    assert stopped.returncode == 1
    said = stopped.stdout.partition("Why it stopped:")[2]
    print(said)
    assert "rewrites.sqlite is damaged" in said
    assert "Move it away" in said
    for part in cache.parent.glob("rewrites.sqlite*"):
        part.rename(part.with_name(f"damaged-{part.name}"))
    again = _rewrite(finished)
    assert again.returncode == 0, again.stdout
