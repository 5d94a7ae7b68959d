"""failures.jsonl: the reason of every request that has no answer."""

from __future__ import annotations

import json
from pathlib import Path

from needlework.llm.generator import Failure


class FailureLog:
    """Appends each failure as a line of JSON, on its way to the disk at once.

    The file is of one run: `start` empties it, because a rerun asks for every failed request
    again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self) -> None:
        """Make the file, empty."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", encoding="utf-8")

    def add(self, failure: Failure) -> None:
        """Append one line, whole even if other tasks append too."""
        line = json.dumps(failure._asdict(), ensure_ascii=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())
