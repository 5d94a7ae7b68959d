"""Files that are whole or absent: written under a temporary name, then renamed, and recorded.

A file that a later stage reads has a record in the folder `.sha256` beside it, which is of the form
that the command sha256sum checks. `needlework.stored` reads such files and refuses damaged ones.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

_RECORDED = {".json", ".jsonl", ".csv", ".safetensors"}


@contextmanager
def atomic_path(path: Path | str, *, recorded: bool = True) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to; it takes the name of `path` when the block ends.

    If the block raises, the temporary file is removed and an older `path` stays as it was.

    Args:
        path: the file to be.
        recorded: whether its record is written, too: for JSON, JSONL, CSV and safetensors. False
            is for files that leave the study.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, because matplotlib and safetensors choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    _clear(path)
    try:
        yield temporary
        put(temporary, path, recorded=recorded)
    except OSError as error:
        if error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Take away what writers of the file left that were killed: one job at a time writes a file."""
    for left in path.parent.glob(f".{escape(path.stem)}.*.part{escape(path.suffix)}"):
        process = left.name.removeprefix(f".{path.stem}.").partition(".")[0]
        if process.isdecimal() and not _runs(int(process)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def put(temporary: Path, path: Path, *, recorded: bool = True) -> None:
    """Give a finished file its name, and a record where its kind has one."""
    record = record_of(path)
    # Without a record for a moment: a kill here leaves a file that is not checked, no false alarm.
    record.unlink(missing_ok=True)
    kept = recorded and path.suffix in _RECORDED
    digest = sha256(temporary) if kept else ""
    os.replace(temporary, path)
    if kept:
        record.parent.mkdir(exist_ok=True)
        part = record.with_name(f".{record.name}.{os.getpid()}.part")
        try:
            part.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
            os.replace(part, record)
        finally:
            part.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Take away a file and its record."""
    record_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def record_of(path: Path) -> Path:
    """Where the SHA-256 of a file is kept."""
    return path.parent / ".sha256" / f"{path.name}.sha256"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path | str, text: str, *, recorded: bool = True) -> None:
    """Write `text` as UTF-8 with Unix line ends, atomically."""
    with atomic_path(path, recorded=recorded) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, value: Any, *, recorded: bool = True) -> None:
    """Write `value` as readable JSON, atomically; the order of keys is the order given."""
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    write_text(path, text, recorded=recorded)
