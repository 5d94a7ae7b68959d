"""A finished study that nothing disturbed, and small disks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.finals import finals
from tests.workflow.conftest import clone, ran

__all__ = ["clone", "ran"]


@pytest.fixture(scope="session")
def wanted(ran: Path) -> dict[str, str]:
    """The results that nothing disturbed."""
    return finals(ran / "results/smoke")


@pytest.fixture
def begun(clone: Callable[[], Path], ran: Path) -> Callable[[], Path]:
    """Makes a copy of the repository that has nothing but the replies of the language model.

    A server may answer otherwise when it is asked again; what it answered is kept in any case.
    """

    def make() -> Path:
        folder = clone()
        for cache in (ran / "results").rglob("*.sqlite"):
            place = folder / cache.relative_to(ran)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(cache, place)
        return folder

    return make


@pytest.fixture
def finished(ran: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, with the times of its files."""
    return Path(shutil.copytree(ran, tmp_path / "needlework", symlinks=True))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        # Nothing may be left out where it decides.
        leave = pytest.fail if os.environ.get("CI") else pytest.skip
        leave(f"a small disk cannot be mounted, which takes root: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
