"""Files that a user gave: text, lines and JSON, read within bounds or refused in one short line.

Nothing is read that is no regular file, and no line is read beyond `LINE`: a device, a pipe, a
compressed bomb or a line of a gigabyte is refused after a bounded amount of work.
"""

from __future__ import annotations

import codecs
import gzip
import json
import math
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

LINE = 64 * 2**20
"""Bytes of the longest line, and of the largest file of a single JSON value."""

_RATIO = 200  # of text to its gzip: ten for prose, a thousand for nothing but zeros
_SHOWN = 80  # characters of a value in a message


def check_file(path: Path | str) -> Path:
    """The path of a regular file that can be read.

    Raises:
        ValueError: there is none, or it is a folder, a pipe, a device or a loop of links.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # of a NUL in the name
        raise ValueError(f"{path}: {_why(error)}; name a file") from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
        kind = next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
        raise ValueError(f"{path}: is {kind}; name a regular file")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path}: may not be read; give yourself the right to (chmod u+r)")
    return path


def lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """The lines of `all_lines` that are not blank; raises as that does."""
    return ((number, text) for number, text in all_lines(path) if text.strip())


def all_lines(path: Path | str) -> Iterator[tuple[int, str]]:
    """The lines of a text file, with their ends and with their numbers from 1.

    UTF-8, with or without a byte order mark, ended by LF or CRLF; gzipped where the name ends on
    .gz.

    Raises:
        ValueError: it is no such file, a line is not UTF-8 or longer than `LINE`, or it holds far
            more than a file of its size can; the message names the file and the line.
    """
    path = check_file(path)
    most = max(LINE, _RATIO * path.stat().st_size)
    read, number = 0, 0
    with _opened(path) as file:
        while line := _line(file, f"{path}, line {number + 1}"):
            number, read = number + 1, read + len(line)
            if read > most:
                raise ValueError(
                    f"{path}, line {number}: unpacks to more than {_RATIO} times its size; give "
                    "the file unpacked, if that is right"
                )
            yield number, _decoded(line, f"{path}, line {number}", first=number == 1)


def rows(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file of one a line, with the numbers of their lines.

    Raises:
        ValueError: as `lines` and `json_value`, or a line is no object.
    """
    for number, line in lines(path):
        where = f"{path}, line {number}"
        value = json_value(line, where)
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected a JSON object, found {shown(value)}")
        yield number, value


def read_text(path: Path | str, most: int = LINE) -> str:
    """The text of a whole file of at most `most` bytes; gzipped where it begins as gzip does.

    Raises:
        ValueError: it is no such file, is larger, or is not UTF-8.
    """
    path = check_file(path)
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if path.stat().st_size > most:
        raise ValueError(_beyond(path, most))
    with gzip.open(path) if packed else path.open("rb") as file:
        content = _guarded(file, lambda: file.read(most + 1), str(path))
    if len(content) > most:
        raise ValueError(_beyond(path, most))
    return _decoded(content, str(path), first=True)


def read_json(path: Path | str, most: int = LINE) -> Any:
    """The JSON value of a file; raises ValueError as `read_text` and `json_value` do."""
    return json_value(read_text(path, most), str(path))


def json_value(text: str, where: str, *, finite: bool = True) -> Any:
    """A JSON value: the keys of an object differ, texts are Unicode.

    Args:
        text: the value.
        where: what a message begins with.
        finite: whether NaN and infinity are refused here; they are no JSON, but Python reads them.

    Raises:
        ValueError: it is none.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_not_finite if finite else None,
            parse_float=_finite if finite else None,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        near = shown(error.doc[max(0, error.pos - 20) : error.pos + 20])
        raise ValueError(f"{where}: not JSON: {error}, near {near}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: not JSON that can be read: nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: a text has half of a character ({error.object[error.start]!a}); write the "
            "character itself, or both halves of its escape"
        ) from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return value


def shown(value: Any) -> str:
    """A value as Python writes it, cut to what fits into a message."""
    try:
        text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    except ValueError:  # a whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def short(message: str, most: int = 400) -> str:
    """A message cut in its middle to `most` characters: what it names and the fix remain."""
    half = most // 2
    return message if len(message) <= most else f"{message[:half]} ... {message[-half:]}"


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _line(file: BinaryIO, where: str) -> bytes:
    line = _guarded(file, lambda: file.readline(LINE + 1), where)
    if len(line) > LINE:
        raise ValueError(
            f"{where}: is longer than {LINE // 2**20} MB; expected one JSON object a line: are the "
            "line ends missing?"
        )
    return line


def _beyond(path: Path, most: int) -> str:
    return f"{path}: holds more than {most // 2**20} MB; is it the right file?"


def _guarded(file: Any, read: Any, where: str) -> bytes:
    """What is read, unless the file is no whole gzip."""
    try:
        content: bytes = read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{where}: is not a whole file of gzip ({error}); copy it again, or leave .gz out of "
            "its name if it is not packed"
        ) from error
    except OSError as error:
        raise ValueError(f"{where}: {_why(error)}") from error
    return content


def _decoded(content: bytes, where: str, first: bool) -> str:
    if first and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{where}: is UTF-16; save the file as UTF-8")
    try:
        return content.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: is not UTF-8: byte {error.start + 1} is 0x{content[error.start]:02x}, after "
            f"{shown(content[max(0, error.start - 20) : error.start].decode(errors='replace'))}; "
            "save the file as UTF-8"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ; json keeps the last of equal ones and drops the others."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {shown(twice)} stands there twice; remove one of the two")
    return found


def _not_finite(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON; write a finite number, or null")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return str(getattr(error, "strerror", None) or error).lower()
