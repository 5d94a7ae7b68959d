"""What a stage wrote is read as it was written, or refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from needlework import stored
from needlework.atomic import atomic_path, record_of, remove, write_json, write_text


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "train.jsonl"
    write_text(path, '{"id": "a\u2028b"}\n{"id": "Nuñoa"}\n')
    return path


def test_what_was_written_is_read(rows: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    assert stored.read_json(tmp_path / "a.json") == {"b": [1, None]}
    assert stored.read_rows(rows) == [{"id": "a\u2028b"}, {"id": "Nuñoa"}]
    assert list(stored.recorded_files(tmp_path)) == [tmp_path / "a.json", rows]


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_seen(rows: Path, place: int, bit: int) -> None:
    whole = rows.read_bytes()
    content = bytearray(whole)
    content[place % len(content)] ^= 1 << bit
    rows.write_bytes(content)
    try:
        with pytest.raises(stored.Damaged, match="is not what was written there"):
            stored.check(rows)
    finally:
        rows.write_bytes(whole)
    assert stored.check(rows) == rows


@pytest.mark.parametrize("damage", [lambda old: old[:-5], lambda old: b"", lambda old: old + b" "])
def test_a_cut_or_longer_file_is_seen(rows: Path, damage: Any) -> None:
    rows.write_bytes(damage(rows.read_bytes()))
    for read in (stored.read_text, stored.read_rows, stored.read_json):
        with pytest.raises(stored.Damaged):
            read(rows)


def test_the_message_has_the_commands_that_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "real:0.5+symbolic:0.5.csv"
    write_text(path, "x\n1\n")
    path.write_text("x\n2\n")
    with pytest.raises(stored.Damaged) as caught:
        stored.check(path)
    assert f"rm '{path}', then run the same command again" in str(caught.value)
    keep = str(caught.value).rpartition("To keep it as it is: ")[2]
    subprocess.run(keep, shell=True, check=True)  # as a user would paste it
    assert stored.read_text(path) == "x\n2\n"


def test_a_file_of_the_users_own_passes(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"a": 1}\n')
    assert stored.read_rows(tmp_path / "mine.jsonl") == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a": ', "line 2: not JSON"),
        (b"[1]\n", "line 1: not a JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_what_is_no_row_is_named_by_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "mine.jsonl").write_bytes(content)
    with pytest.raises(stored.Damaged, match=said):
        stored.read_rows(tmp_path / "mine.jsonl")


def test_records_are_those_of_sha256sum(rows: Path) -> None:
    checked = ["sha256sum", "--check", str(record_of(rows).relative_to(rows.parent))]
    subprocess.run(checked, cwd=rows.parent, check=True, capture_output=True)


def test_a_new_file_has_a_new_record_and_a_removed_one_none(rows: Path) -> None:
    write_text(rows, "{}\n")
    assert stored.read_rows(rows) == [{}]
    remove(rows)
    assert list(rows.parent.rglob("*.jsonl")) == []


def test_what_leaves_the_study_and_what_nobody_reads_has_no_record(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {}, recorded=False)
    write_text(tmp_path / "report.html", "")
    assert not (tmp_path / ".sha256").exists()


def test_a_failed_writer_leaves_the_older_file_and_its_record(rows: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(rows) as part:
        part.write_text(str(1 / 0))
    assert len(stored.read_rows(rows)) == 2


def test_files_from_the_future_keep_their_order(tmp_path: Path, rows: Path) -> None:
    now = time.time()
    files = [tmp_path / name for name in ("b.csv", "a.csv")]
    for hours, path in enumerate(files, start=5):
        path.touch()
        os.utime(path, (now, now + 3600 * hours))
    found, seconds = stored.from_the_future(tmp_path)
    assert found == sorted(files)  # not rows, which is of now
    assert seconds == pytest.approx(6 * 3600, abs=60)
    stored.set_back(found, seconds)
    assert stored.from_the_future(tmp_path) == ([], 0.0)
    earlier, later = (path.stat().st_mtime for path in files)
    assert later - earlier == pytest.approx(3600, abs=0.01)


def test_a_kill_between_a_file_and_its_record_is_no_damage(root: Path, rows: Path) -> None:
    script = (
        "import os, sys; from needlework.atomic import write_text; replace = os.replace\n"
        "def killed(*names): replace(*names); os._exit(9)\n"
        "os.replace = killed; write_text(sys.argv[1], '{\"new\": 1}\\n')"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(rows)], env={"PYTHONPATH": str(root)}, check=False
    )
    assert killed.returncode == 9
    assert stored.read_rows(rows) == [{"new": 1}]
