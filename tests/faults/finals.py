"""What a run has to end with, whatever disturbed it: its results without what a clock measured."""

from __future__ import annotations

import csv
import io
from pathlib import Path

# Seconds, memory and speed; and where a run was taken up again.
_MEASURED = {
    "seconds", "tokens_per_second", "tflops_per_second", "roofline_share", "peak_memory_gb",
    "resumed_at_step", "memory_mb",
}  # fmt: skip
_TABLES = ("statistics/*.csv", "tables/main.*", "tables/heads.*", "tables/interventions.*")
_FILES = ("corpora/*/*.jsonl", "datasets/*/*/*.jsonl", "predictions/**/*.jsonl", "figures/*.csv")


def finals(results: Path) -> dict[str, str]:
    """The text of every table, and of what they are computed from, by its path."""
    paths = [path for pattern in (*_TABLES, *_FILES) for path in sorted(results.glob(pattern))]
    return {str(path.relative_to(results)): _lasting(path) for path in paths}


def _lasting(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".csv" or not _MEASURED & set(text.partition("\n")[0].split(",")):
        return text
    rows = csv.DictReader(io.StringIO(text))
    return repr([{key: row[key] for key in row if key not in _MEASURED} for row in rows])


def differing(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """The paths whose texts differ, or that one of the two lacks."""
    return sorted(
        name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
    )
