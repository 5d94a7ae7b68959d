"""The whole disk of a study is full, Snakemake's own notes included."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.disturbing import Disturber
from tests.workflow.running import command, environment, snakemake

TARGET = "results/smoke/corpora/factbook_lookup/test.jsonl"


def _fill(disk: Path) -> Path:
    ballast = disk / ".ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 1):
            try:
                while True:
                    file.write(b"0" * size)
            except OSError:
                pass
    return ballast


@pytest.mark.faults
def test_a_disk_that_fills_while_a_job_runs_is_said(
    clone: Callable[[], Path], small_disk: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.move(clone(), small_disk / "needlework"))
    plan = {"build_corpus.py": [("full disk", 0.0)]}
    disturber = Disturber(tmp_path / "disturber", small_disk, plan)
    stopped = subprocess.run(
        command("--", TARGET), cwd=folder, env=environment() | disturber.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    print(stopped.stdout)
    assert stopped.returncode == 1
    assert "the disk full" in stopped.stdout.partition("Why it stopped:")[2]
    assert "Traceback" not in stopped.stdout
    assert not (folder / TARGET).exists()
    snakemake(folder, "--", TARGET)


@pytest.mark.faults
@pytest.mark.parametrize("begun_before", [False, True])
def test_a_full_disk_is_said_and_the_run_goes_on(
    clone: Callable[[], Path], small_disk: Path, begun_before: bool
) -> None:
    folder = Path(shutil.move(clone(), small_disk / "needlework"))
    if begun_before:
        snakemake(folder, "--", "results/smoke/models/tiny/base.json")
    ballast = _fill(small_disk)
    stopped = subprocess.run(
        command("--", TARGET), cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    print(stopped.stdout)
    assert stopped.returncode
    assert "error: the disk is full: 0 bytes are left in " in stopped.stdout
    assert "Traceback" not in stopped.stdout
    assert not (folder / TARGET).exists()
    ballast.unlink()
    snakemake(folder, "--", TARGET)
    assert (folder / TARGET).is_file()
