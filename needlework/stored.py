"""Reading what another stage wrote: a damaged file is refused, by name and with what mends it.

A file with a record in the folder `.sha256` beside it (see `needlework.atomic`) has to be what was
written, byte for byte. A file without one passes: it is the user's own.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from needlework.atomic import record_of, sha256

_SKEW = 2.0  # seconds by which clocks of one network may differ


class Damaged(ValueError):
    """A file is not what a stage wrote, or cannot be read as what it should be."""


def check(path: Path | str) -> Path:
    """The path, if the file there is what was written.

    Raises:
        Damaged: its bytes are not those of its record; the message says how to make it anew.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    record = record_of(path)
    if record.is_file():
        wanted = record.read_text(encoding="utf-8", errors="replace")[:64]
        if (found := sha256(path)) != wanted:
            raise Damaged(
                f"{path} is not what was written there: its SHA-256 is {found[:12]}…, its record "
                f"says {wanted[:12]}… The file was damaged, or changed by hand. To "
                f"make it anew: rm {shlex.quote(str(path))}, then run the same command again. To "
                f"keep it as it is: rm {shlex.quote(str(record))}"
            )
    return path


def recorded_files(folder: Path) -> Iterator[Path]:
    """The files of a folder, and of those below, that have a record."""
    for record in sorted(folder.rglob(".sha256/*.sha256")):
        path = record.parent.parent / record.stem
        if path.is_file():  # Snakemake takes away the outputs of failed jobs, but no records
            yield path


def from_the_future(folder: Path) -> tuple[list[Path], float]:
    """The files of a folder, and of those below, that are newer than now, and by how much at most.

    They were written before a clock was set back. Snakemake takes what is made from them, now, for
    older than they are.

    Returns:
        the files, and the seconds between now and the newest (0.0 where there is none).
    """
    now = time.time()
    times = {path: path.stat().st_mtime for path in folder.rglob("*") if path.is_file()}
    ahead = {path: at - now for path, at in times.items() if at > now + _SKEW}
    return sorted(ahead), max(ahead.values(), default=0.0)


def set_back(files: Iterable[Path], seconds: float) -> None:
    """Give files times that are so much earlier: their order in time stays."""
    for path in files:
        earlier = path.stat().st_mtime_ns - round(seconds * 1e9)
        os.utime(path, ns=(earlier, earlier))


def read_text(path: Path | str) -> str:
    """The text of a file.

    Raises:
        Damaged: as `check` does, or the file is not UTF-8.
    """
    try:
        return check(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises:
        Damaged: as `read_text` does, or the file is not JSON; the message names line and column.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise Damaged(f"{path} is not JSON: {error}") from error


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """The objects of a JSONL file, in its order.

    Raises:
        Damaged: as `read_text` does, or a line is no JSON object; the message names it.
    """
    rows = []
    # Not splitlines, which would also break at U+2028.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line:
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise Damaged(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise Damaged(f"{path}, line {number}: not a JSON object, but {line[:60]}")
            rows.append(row)
    return rows
