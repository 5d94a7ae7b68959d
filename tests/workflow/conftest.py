"""Copies of the repository to run Snakemake in, apart from the one under test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflow.running import snakemake


@pytest.fixture(scope="session")
def clone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a fresh copy of the repository, without results."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("clone") / "needlework"
        skipped = shutil.ignore_patterns(".*", "results", "tests", "__pycache__", "*.egg-info")
        shutil.copytree(root, folder, ignore=skipped)
        return folder

    return make


@pytest.fixture(scope="session")
def ran(clone: Callable[[], Path]) -> Path:
    """A copy of the repository in which the smallest study has run."""
    folder = clone()
    snakemake(folder)
    return folder
