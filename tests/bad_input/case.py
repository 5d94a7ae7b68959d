"""What a case of bad input is, and what has to be true of the message that it gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Case(NamedTuple):
    """Bad input: `given` makes it in a folder, or is it; the message holds each text of `said`."""

    name: str
    given: Any
    said: tuple[str, ...]

    def __repr__(self) -> str:
        return self.name


def check(message: str, case: Case) -> None:
    """The message of a case names what it should, in a few lines, and repeats little of it."""
    missing = [text for text in case.said if text not in message]
    assert not missing, f"{missing} in: {message[:2000]}"
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 12
    assert len(message) <= 6000


def refused(case: Case, read: Callable[[], Any]) -> None:
    """`read` raises what a command shows in one line, and it is the right one."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        read()
    check(str(caught.value), case)


def by_name(case: Any) -> str:
    """The id of a case in pytest's output."""
    return str(case.name)


def written(name: str, content: bytes | str) -> Callable[[Path], Path]:
    """A maker of a file with this content."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make
