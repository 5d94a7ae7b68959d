"""How a command ends: with its work done, or with one line that says why not."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

TRACEBACK = "NEEDLEWORK_TRACEBACK"
"""Environment variable: where it is 1, a failed command shows its traceback anywhere."""

SPARE_BYTES = 1_000_000
"""A disk with less room counts as full."""

_ERROR = "error: "
_TAIL = 20_000  # bytes of a log that are searched
_FULL = {errno.ENOSPC, errno.EDQUOT}


def execute(main: Callable[[], None]) -> None:
    """Run a script's `main`; a failure ends in a line `error: ...` on standard error.

    The traceback comes before it where standard error is a file (a rule's log), or where
    NEEDLEWORK_TRACEBACK is 1. SIGTERM, which a scheduler sends before it kills, ends the command
    as an exception does: temporary files are removed.

    Raises:
        SystemExit: 1 after a failure, 130 after Ctrl-C, 143 after SIGTERM.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        main()
    except KeyboardInterrupt:
        _end("stopped by Ctrl-C; the same command goes on where it was", 130)
    except Exception as error:
        if _goes_to_a_file() or os.environ.get(TRACEBACK) == "1":
            traceback.print_exc()
        _end(reason(error), 1)


def reason(error: BaseException) -> str:
    """What an error says to a user, in words."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"the disk is full: {error.filename or 'a file'} cannot be written. Free some room "
            "(df -h shows how much there is), then run the same command again"
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror.lower()}"
    if isinstance(error, MemoryError):
        return f"memory ran out{f': {error}' if str(error) else ''}"
    if isinstance(error, (ValueError, RuntimeError, NotImplementedError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def check_room(folder: Path) -> None:
    """Stop where a disk has no room left: not even a log could be sure of its last line.

    Raises:
        SystemExit: it is so, with the message.
    """
    if (free := shutil.disk_usage(folder).free) < SPARE_BYTES:
        _end(
            f"the disk is full: {free:,} bytes are left in {folder.resolve()}. Free some room, "
            "then run the same command again",
            1,
        )


def failure_of(log: Path) -> str:
    """Why a command failed, as its log says it: what follows the last line `error: ...` began.

    A command that was killed leaves none; then it is that, and the log's last line.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").rstrip().split("\n")
    except OSError as error:
        return f"its log cannot be read ({reason(error)})"
    starts = [i for i, line in enumerate(lines) if line.startswith(_ERROR)]
    if starts:
        return "\n".join(lines[starts[-1] :]).removeprefix(_ERROR)
    last = f"; the last line of its log: {lines[-1][:200]}" if lines[-1] else ""
    return (
        "it ended without a word: killed from outside, most often because it took more memory "
        "than it was given (`compute.memory_mb` for models), or its log found the disk "
        f"full{last}"
    )


def _stop(number: int, frame: FrameType | None) -> None:
    # Once is enough: a second signal must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end("stopped by SIGTERM: cancelled, or at the end of its time", 143)


def _end(message: str, code: int) -> None:
    print(f"{_ERROR}{message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def _goes_to_a_file() -> bool:
    return stat.S_ISREG(os.fstat(2).st_mode)  # sys.stderr may be no file at all, as in a notebook
