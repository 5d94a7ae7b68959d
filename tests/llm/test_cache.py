"""The response cache: what is put comes back, requests do not mix, tasks share, damage is named."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.llm.cache import ResponseCache
from needlework.llm.group_writer import GroupWriter

_text = st.text(st.characters(codec="utf-8"), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(_text, _values, max_size=4)


@settings(max_examples=30)  # each opens files
@given(first=_objects, second=_objects, response=_objects)
def test_a_response_comes_back_for_its_own_request_only(
    first: dict[str, Any], second: dict[str, Any], response: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "cache.sqlite"
        with ResponseCache(path) as cache:
            cache.put([(first, response)])
        with ResponseCache(path) as cache:
            backwards = dict(reversed(first.items()))
            assert cache.get(backwards) == response
            if json.dumps(first, sort_keys=True) != json.dumps(second, sort_keys=True):
                assert cache.get(second) is None


def test_what_was_put_first_stays(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "c.sqlite") as one, ResponseCache(tmp_path / "c.sqlite") as two:
        one.put([({"seed": 1}, {"text": "first"})])
        two.put([({"seed": 1}, {"text": "second"}), ({"seed": 2}, {"text": "third"})])
        assert two.get({"seed": 1}) == one.get({"seed": 1}) == {"text": "first"}
        assert one.get({"seed": 2}) == {"text": "third"}


def test_a_group_is_on_disk_whole_or_not_at_all(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "c.sqlite") as cache:
        with pytest.raises(TypeError):
            cache.put([({"seed": 1}, {"text": "whole"}), ({"seed": 2}, {"text": object()})])
        assert cache.get({"seed": 1}) is None
        cache.put([({"seed": 1}, {"text": "later"})])
        assert cache.get({"seed": 1}) == {"text": "later"}


def test_the_file_is_as_sqlite_with_a_log_and_full_synchronisation(tmp_path: Path) -> None:
    with ResponseCache(tmp_path / "c.sqlite") as cache, cache.writing() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


_WRITER = """
import sys
from pathlib import Path
from needlework.llm.cache import ResponseCache
with ResponseCache(Path(sys.argv[1])) as cache:
    for n in range(int(sys.argv[3])):
        cache.put([({"task": sys.argv[2], "n": n}, {"text": "x" * 500})])
        print(n, flush=True)
"""


def _writer(path: Path, task: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path), task, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_tasks_that_start_and_write_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    writers = [_writer(path, str(task), 40) for task in range(5)]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0] * 5
    with ResponseCache(path) as cache:
        found = [cache.get({"task": str(t), "n": n}) for t in range(5) for n in range(40)]
    assert None not in found


def test_what_a_killed_task_reported_is_there_and_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    writer = _writer(path, "t", 10**9)
    assert writer.stdout is not None
    while int(writer.stdout.readline()) < 50:
        pass
    writer.send_signal(signal.SIGKILL)
    reported = [50, *map(int, writer.stdout.read().split("\n")[:-1])][-1]
    writer.wait()
    with ResponseCache(path) as cache:
        assert all(cache.get({"task": "t", "n": n}) is not None for n in range(reported + 1))
        assert cache.read("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    "edit",
    [
        'UPDATE responses SET response = \'{"text": "edited"}\'',
        "UPDATE responses SET request = '{\"seed\": 2}'",
        "UPDATE responses SET response = substr(response, 1, 5)",
        "UPDATE responses SET digest = ''",
    ],
)
def test_a_damaged_row_is_an_error_that_names_it_and_the_fix(tmp_path: Path, edit: str) -> None:
    path = tmp_path / "c.sqlite"
    with ResponseCache(path) as cache:
        cache.put([({"seed": 1}, {"text": "whole"}), ({"seed": 3}, {"text": "too"})])
    connection = sqlite3.connect(path)
    connection.execute(f"{edit} WHERE request = '{{\"seed\":1}}'")
    connection.commit()
    with ResponseCache(path) as cache:
        assert cache.get({"seed": 3}) == {"text": "too"}
        with pytest.raises(ValueError, match=r"damaged.*Delete the row") as caught:
            cache.get({"seed": 1})
        assert str(path) in str(caught.value)
    (statement,) = [part for part in str(caught.value).split('"') if part.startswith("DELETE")]
    assert connection.execute(statement).rowcount == 1
    connection.commit()
    connection.close()
    with ResponseCache(path) as cache:
        assert cache.get({"seed": 1}) is None


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at", b"{}"])
def test_a_file_of_another_kind_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(content * 100)
    with pytest.raises(ValueError, match=r"damaged.*Move it away") as caught:
        ResponseCache(path)
    assert str(path) in str(caught.value)


def test_a_file_with_overwritten_pages_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with ResponseCache(path) as cache:
        cache.put([({"n": n}, {"text": "x" * 300}) for n in range(500)])
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with ResponseCache(path) as cache, pytest.raises(ValueError, match=f"{path}.* damaged"):
        assert [cache.get({"n": n}) for n in range(500)]


def test_a_file_of_another_version_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match=r"version 99.*version 1"):
        ResponseCache(path)


def test_a_folder_in_its_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be used"):
        ResponseCache(tmp_path)


def test_answers_that_come_together_share_a_transaction_and_are_there_when_reported(
    tmp_path: Path,
) -> None:
    async def run(cache: ResponseCache) -> None:
        writer = GroupWriter(cache)

        async def put(n: int) -> None:
            await writer.put({"n": n}, {"text": str(n)})
            with ResponseCache(cache.path) as another:
                assert another.get({"n": n}) == {"text": str(n)}

        await asyncio.gather(*map(put, range(50)))

    begun: list[str] = []
    with ResponseCache(tmp_path / "c.sqlite") as cache:
        with cache.writing() as connection:
            connection.set_trace_callback(begun.append)
        begun.clear()
        asyncio.run(run(cache))
    assert begun.count("COMMIT") == 1


def test_a_caller_that_is_cancelled_does_not_lose_its_answer(tmp_path: Path) -> None:
    async def run(cache: ResponseCache) -> None:
        writer = GroupWriter(cache)
        task = asyncio.create_task(writer.put({"n": 1}, {"text": "1"}))
        await asyncio.sleep(0)
        task.cancel()
        writer.flush()

    with ResponseCache(tmp_path / "c.sqlite") as cache:
        asyncio.run(run(cache))
        assert cache.get({"n": 1}) == {"text": "1"}
