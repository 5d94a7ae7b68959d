"""Every stage of a study is killed, alone and with the whole run, and finds a full disk.

A run goes on by itself after each, or when the same command is given again, and ends with the
results of a run that nothing disturbed.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.disturbing import Disturber
from tests.faults.finals import differing, finals
from tests.workflow.running import command, environment, snakemake

KINDS = ("killed run", "SIGTERM", "SIGKILL", "full disk")


def _plan(benchmarks: Path) -> dict[str, list[tuple[str, float]]]:
    """All disturbances of every script, each within the time that it took undisturbed."""
    draw = random.Random(0)
    return {
        f"{folder.name.removesuffix('.tsv')}.py": [
            (kind, draw.uniform(0.2, 0.9) * _seconds(folder)) for kind in KINDS
        ]
        for folder in sorted(benchmarks.iterdir())
    }


def _seconds(benchmark: Path) -> float:
    """How long the first of a rule's jobs took."""
    file = min(benchmark.rglob("*.tsv")) if benchmark.is_dir() else benchmark
    return float(file.read_text().splitlines()[1].split("\t")[0])


@pytest.mark.faults
def test_every_stage_is_killed_and_finds_a_full_disk(
    begun: Callable[[], Path],
    ran: Path,
    wanted: dict[str, str],
    small_disk: Path,
    tmp_path: Path,
) -> None:
    folder = begun()
    shutil.move(folder / "results", small_disk)
    (folder / "results").symlink_to(small_disk / "results")
    plan = _plan(ran / "results/smoke/benchmarks")
    disturber = Disturber(tmp_path / "disturber", small_disk, plan)
    kills = 0
    # One more try than there are disturbances of a job, and those that a full disk hits besides.
    again = command("--retries", "8", "--nolock", "--keep-going")
    while True:
        (small_disk / ".ballast").unlink(missing_ok=True)
        run = subprocess.run(
            again, cwd=folder, env=environment() | disturber.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, check=False,
        )  # fmt: skip
        if run.returncode >= 0:
            break
        kills += 1
    happened = disturber.happened()
    for script in plan:
        print(f"{script}: {', '.join(kind for kind in KINDS if (script, kind) in happened)}")
    print(f"{kills} runs were killed, {len(happened)} disturbances in all")
    assert run.returncode == 0, run.stdout
    assert happened == {(script, kind) for script in plan for kind in KINDS}
    assert differing(finals(folder / "results/smoke"), wanted) == []
    assert "Nothing to be done" in snakemake(folder, "--dry-run")
    left = [path for path in (folder / "results").rglob(".*") if "part" in path.name]
    assert left == []
