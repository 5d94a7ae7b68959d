"""A command that fails says why in one line; the traceback is in its log."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from needlework.command import check_room, failure_of, reason

_SCRIPT = """
import sys
from needlework.command import execute
def main():
    {body}
execute(main)
"""


def _run(root: Path, body: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(body=body)], capture_output=True, text=True,
        env={"PYTHONPATH": str(root), **options}, check=False,
    )  # fmt: skip


def test_success_says_nothing(root: Path) -> None:
    done = _run(root, "print(1)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_failure_is_one_line(root: Path) -> None:
    done = _run(root, "raise ValueError('train.jsonl, line 3: no answer; give one')")
    assert done.returncode == 1
    assert done.stderr == "error: train.jsonl, line 3: no answer; give one\n"


def test_the_traceback_is_there_for_who_asks(root: Path) -> None:
    done = _run(root, "raise KeyError('x')", NEEDLEWORK_TRACEBACK="1")
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.endswith("\nerror: KeyError: 'x'\n")


def test_a_log_has_the_traceback_and_gives_its_last_error(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    body = "print('error: not this one', file=sys.stderr); raise ValueError('two\\nlines')"
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT.format(body=body)], stdout=file, stderr=file,
            env={"PYTHONPATH": str(root)}, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in log.read_text()
    assert failure_of(log) == "two\nlines"


def test_sigterm_cleans_up(root: Path, tmp_path: Path) -> None:
    body = (
        "import time\n    from needlework.atomic import atomic_path\n"
        f"    with atomic_path({str(tmp_path / 'a.csv')!r}) as part:\n"
        "        part.touch(); print('begun', flush=True)\n        time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT.format(body=body)], text=True, env={"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said == "error: stopped by SIGTERM: cancelled, or at the end of its time\n"
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_was_killed_says_nothing_and_that_is_said(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("rows: 3 of 9\nrows: 6 of 9\n")
    said = failure_of(log)
    assert "killed from outside" in said
    assert said.endswith("the last line of its log: rows: 6 of 9")
    log.write_text("")
    assert failure_of(log).endswith("or its log found the disk full")
    assert "no such file" in failure_of(tmp_path / "none.log")


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("error: long ago\n" + "step\n" * 10_000 + "error: now\n")
    assert failure_of(log) == "now"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space", "a.csv"), "the disk is full: a.csv cannot be written"),
        (OSError(errno.EDQUOT, "Quota", "a.csv"), "the disk is full: a.csv cannot be written"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "x: no such file"),
        (MemoryError(), "memory ran out"),
        (RuntimeError("CUDA out of memory"), "CUDA out of memory"),
        (TypeError("'NoneType'"), "TypeError: 'NoneType'"),
        (ValueError(), "ValueError: "),
    ],
)
def test_errors_are_said_in_words(error: BaseException, said: str) -> None:
    assert reason(error).startswith(said)


def test_a_disk_with_room_is_let_pass_and_one_without_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_room(tmp_path)
    with pytest.raises(SystemExit):
        check_room(Path("/proc"))  # has no bytes at all
    assert "error: the disk is full: 0 bytes are left in /proc." in capsys.readouterr().err
