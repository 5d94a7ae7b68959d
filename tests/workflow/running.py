"""Runs Snakemake on the smallest study in a copy of the repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

STUDY = ["--configfile", "studies/smoke.yaml"]


def command(*arguments: str) -> list[str]:
    """The smallest study on two cores."""
    return ["snakemake", "--cores", "2", *STUDY, *arguments]


def environment() -> dict[str, str]:
    """Without what would let the copy find the library of the original."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def snakemake(folder: Path, *arguments: str) -> str:
    """Run the smallest study in a copy of the repository; its output."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
