"""The smallest study on a real Slurm, through the profile as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.running import Job, finish, jobs, started, write_study

pytestmark = pytest.mark.slurm

READ_BY_MODELS = {"score_heads", "predict_answers", "trace_attention", "mask_heads", "patch_heads"}
FETCHED = {"prepare_model", "download_source"}


@pytest.fixture(scope="module")
def study(cluster: Cluster, clone: Callable[[], Path]) -> tuple[Path, list[Job]]:
    """A folder in which the study has run as on GPUs, and its jobs."""
    folder = clone()
    file = write_study(folder, "slurm", compute={"device": "cuda", "gpus": 1, "memory_mb": 2000})
    # One core on this side: what jobs get is not bound by it.
    with started(folder, file, "--cores", "1") as process:
        finish(folder, process)
    return folder, jobs(folder)


def test_study_ends_with_its_tables_and_report(study: tuple[Path, list[Job]]) -> None:
    results = study[0] / "results/smoke"
    names = {file.name for file in (results / "statistics").glob("*.csv")}
    assert {"scores.csv", "comparisons.csv", "training.csv", "interventions.csv"} <= names
    assert (results / "report.html").stat().st_size > 100_000


def test_jobs_ask_for_what_their_rule_says(study: tuple[Path, list[Job]]) -> None:
    asked = {
        rule: {(job.partition, job.gpus, job.cpus, job.memory, job.minutes) for job in of_rule}
        for rule in ("train_adapter", "build_dataset", "render_report")
        if (of_rule := [job for job in study[1] if job.rule.startswith(f"rule_{rule}")])
    }
    assert asked == {
        "train_adapter": {("gpu", 1, 1, 2400, 720)},
        "build_dataset": {("cpu", 0, 2, 4400, 120)},
        "render_report": {("cpu", 0, 1, 2400, 30)},
    }


def test_jobs_of_a_group_take_turns_at_one_gpu(study: tuple[Path, list[Job]]) -> None:
    folder, all_jobs = study
    groups = [job for job in all_jobs if "reading" in job.rule]
    # Ten in groups of eight.
    assert [(job.gpus, job.cpus, job.memory) for job in groups] == [(1, 1, 2400)] * 2
    assert sorted(job.minutes for job in groups) == [2 * 60, 8 * 60]
    measured = folder / "results/smoke/benchmarks"
    tables = [*measured.glob("score_heads/**/*.tsv"), *measured.glob("predict_answers/**/*.tsv")]
    spent = [float(table.read_text().splitlines()[1].split("\t")[0]) for table in tables]
    assert len(spent) == 10
    assert sum(spent) < sum(job.took for job in groups)


def test_network_is_for_the_login_node(study: tuple[Path, list[Job]]) -> None:
    calls = [line.split() for line in (study[0] / "calls.txt").read_text().splitlines()]
    by_rule = {Path(script).stem: (job, offline, gpu) for script, job, offline, gpu in calls}
    for rule, (job, offline, gpu) in by_rule.items():
        on_node = job != "0"
        assert offline == ("1" if on_node else "0"), rule
        assert (gpu in ("0", "1")) == (rule in READ_BY_MODELS | {"train_adapter"}), rule
        assert not (on_node and rule in FETCHED), rule
    assert by_rule["build_corpus"][0] != "0"


def test_every_job_has_a_log_and_slurm_leaves_none(study: tuple[Path, list[Job]]) -> None:
    folder = study[0]
    logged = {log.relative_to(folder / "results/smoke/logs") for log in
              (folder / "results/smoke/logs").rglob("*.log")}  # fmt: skip
    calls = (folder / "calls.txt").read_text().splitlines()
    assert len(logged) == len(calls)
    assert not list((folder / "logs/slurm").rglob("*.log"))
