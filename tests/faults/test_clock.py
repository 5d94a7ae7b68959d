"""A clock that jumps while a study runs: forwards does no harm, backwards is said and mended."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.faults.finals import differing, finals
from tests.workflow.running import command, environment, snakemake

DAY = 86_400


def _shift(results: Path, seconds: int) -> None:
    """As if all had been written so much later."""
    for path in results.rglob("*"):
        if path.is_file():
            at = path.stat().st_mtime + seconds
            os.utime(path, (at, at))


def _lose_the_end(results: Path) -> None:
    for file in ("statistics/scores.csv", "report.html"):
        (results / file).unlink()


@pytest.mark.faults
def test_a_clock_that_jumps_forwards_does_no_harm(finished: Path, wanted: dict[str, str]) -> None:
    results = finished / "results/smoke"
    _shift(results, -DAY)
    assert "Nothing to be done" in snakemake(finished, "--dry-run")
    _lose_the_end(results)
    snakemake(finished)
    assert "Nothing to be done" in snakemake(finished, "--dry-run")
    assert differing(finals(results), wanted) == []


@pytest.mark.faults
def test_a_clock_that_jumps_backwards_is_said_and_mended(
    finished: Path, wanted: dict[str, str]
) -> None:
    results = finished / "results/smoke"
    _shift(results, DAY)
    _lose_the_end(results)
    stopped = subprocess.run(
        command(), cwd=finished, env=environment(), capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 1
    said = stopped.stderr.partition("Why it stopped:")[2]
    assert "files are from the future" in said, stopped.stderr
    mend = said.partition("Mend their times: ")[2].partition("\n")[0]
    print(mend)
    subprocess.run(mend, shell=True, cwd=finished, check=True)
    snakemake(finished)
    assert "Nothing to be done" in snakemake(finished, "--dry-run")
    assert differing(finals(results), wanted) == []
