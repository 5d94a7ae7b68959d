"""A Slurm for all tests here, and copies of the repository that run on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing, slurm
from tests.workflow.conftest import clone  # noqa: F401


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The Slurm; where there can be none, the tests are skipped, but not on a build server."""
    reason = missing()
    if reason and not os.environ.get("CI"):
        pytest.skip(f"{reason}; make test-slurm installs and starts it")
    with slurm() as started:
        yield started
