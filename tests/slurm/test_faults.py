"""Jobs that are killed, cancelled or kept waiting on a real Slurm: the study still ends whole."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import NODE, Cluster, run, wait_until
from tests.slurm.running import finish, jobs, running, started, write_study
from tests.workflow.running import snakemake

pytestmark = pytest.mark.slurm

ADAPTER = "results/smoke/adapters/tiny/factbook_lookup/{}/seed0/adapter_model.safetensors"
REAL, LOW = ADAPTER.format("real"), ADAPTER.format("low_low")


@pytest.fixture(scope="module")
def prepared(
    cluster: Cluster, clone: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Makes folders in which the data of two variants are there and nothing is trained."""
    folder = clone()
    cards = [
        f"results/smoke/datasets/factbook_lookup/{name}/README.md" for name in ("real", "low_low")
    ]
    snakemake(folder, "--", *cards)

    def make(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path_factory.mktemp(name) / "needlework"))

    return make


@pytest.fixture(scope="module", autouse=True)
def long_training(
    prepared: Callable[[str], Path],
) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A training of two minutes that gets one minute, beside the other tests."""
    folder = prepared("limit")
    study = write_study(folder, "long", training={"epochs": 90.0})
    limit = ["--set-resources", "train_adapter:runtime=attempt"]
    with started(folder, study, REAL, *limit) as process:
        yield folder, process


def test_job_killed_for_memory_gets_more(prepared: Callable[[str], Path]) -> None:
    folder = prepared("memory")
    study = write_study(folder, "small", compute={"memory_mb": 300})
    with started(folder, study, LOW) as process:
        said = finish(folder, process)
    asked = [job.memory for job in jobs(folder)]
    assert asked in ([700, 1000], [700, 1000, 1300])
    assert said.count("Trying to restart job") == len(asked) - 1
    logs = "".join(log.read_text() for log in (folder / "logs/slurm").rglob("*.log"))
    assert "exceeded memory limit" in logs


def test_cancelled_job_stops_its_branch_alone(prepared: Callable[[str], Path]) -> None:
    folder = prepared("cancelled")
    with started(folder, "studies/smoke.yaml", REAL, LOW, "--retries", "0") as process:
        run(f"scancel {running(folder, '_real_').number}")
        finish(folder, process, code=1)
    assert (folder / LOW).exists()
    assert not (folder / REAL).exists()
    with started(folder, "studies/smoke.yaml", REAL, LOW) as process:
        finish(folder, process)
    assert (folder / REAL).exists()
    ended = [(job.state, "low_low" in job.rule) for job in jobs(folder)]
    assert sorted(ended) == [("CANCELLED", False), ("COMPLETED", False), ("COMPLETED", True)]


def test_job_waits_for_a_drained_node(prepared: Callable[[str], Path]) -> None:
    folder = prepared("drained")
    run(f"scontrol update nodename={NODE} state=drain reason=test")
    with started(folder, "studies/smoke.yaml", LOW) as process:
        try:
            wait_until(
                lambda: [job.state for job in jobs(folder)] == ["PENDING"], 60, "a job that waits"
            )
            assert not (folder / LOW).exists()
        finally:
            run(f"scontrol update nodename={NODE} state=resume")
        finish(folder, process)
    assert (folder / LOW).exists()


def test_job_outlives_a_restarted_controller(
    cluster: Cluster, prepared: Callable[[str], Path]
) -> None:
    folder = prepared("controller")
    with started(folder, "studies/smoke.yaml", LOW) as process:
        number = running(folder, "train_adapter").number
        wait_until((folder / "calls.txt").exists, 60, "the training to start")
        cluster.stop("slurmctld")
        cluster.start_controller()
        said = finish(folder, process)
    assert [(job.number, job.state) for job in jobs(folder)] == [(number, "COMPLETED")]
    assert "Trying to restart job" not in said


def test_training_goes_on_after_its_time(
    long_training: tuple[Path, subprocess.Popen[str]],
) -> None:
    folder, process = long_training
    finish(folder, process)
    tries = jobs(folder)
    assert tries[0].state == "TIMEOUT"
    assert [job.minutes for job in tries] == list(range(1, len(tries) + 1))
    log = folder / "results/smoke/logs/train_adapter/tiny/factbook_lookup/real/seed0.log"
    assert "going on from" in log.read_text()
