"""What a folder holds, beside the records of its files."""

from __future__ import annotations

from pathlib import Path


def names(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too, in their order; `.sha256` holds the records."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".sha256")
