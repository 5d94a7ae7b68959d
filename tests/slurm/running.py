"""Runs Snakemake through the cluster's profile, and reads what Slurm knows of its jobs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.slurm.cluster import environment, run, wait_until

# Looks at jobs sooner than is good for a real cluster, so that the tests end sooner.
HASTE = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]


class Job(NamedTuple):
    """What Slurm knows of a job: memory in MB, the limit in minutes, `took` in seconds."""

    number: int
    rule: str
    state: str
    partition: str
    cpus: int
    gpus: int
    memory: int
    minutes: int
    took: int
    folder: str


def jobs(folder: Path, rule: str = "") -> list[Job]:
    """The jobs of a folder, of one rule or of all, ended ones too, in their order."""
    lines = run("scontrol show job --oneliner").stdout.splitlines()
    found = [_job(line) for line in lines if line.startswith("JobId=")]
    return sorted(job for job in found if rule in job.rule and job.folder == str(folder))


def _job(line: str) -> Job:
    known = dict(re.findall(r"(\S+?)=(\S*)", line))
    gpus = re.fullmatch(r"gres:gpu:(?:[a-z]\w*:)?(\d+)", known.get("TresPerJob", ""))
    return Job(
        number=int(known["JobId"]),
        rule=known.get("Comment", ""),
        state=known["JobState"],
        partition=known["Partition"],
        cpus=int(known["NumCPUs"]),
        gpus=int(gpus.group(1)) if gpus else 0,
        memory=int(known["MinMemoryNode"].rstrip("M")),
        minutes=_seconds(known["TimeLimit"]) // 60,
        took=_seconds(known["RunTime"]),
        folder=known["WorkDir"],
    )


def _seconds(time: str) -> int:
    days, _, clock = time.rpartition("-")
    hours, minutes, seconds = clock.split(":")
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)


def write_study(folder: Path, name: str, base: str = "smoke", **sections: dict[str, Any]) -> str:
    """A study like another one, but for some keys of its sections; the path of its file."""
    study = yaml.safe_load((folder / f"studies/{base}.yaml").read_text())
    for section, keys in sections.items():
        study[section] = {**study.get(section, {}), **keys} if isinstance(keys, dict) else keys
    path = f"studies/{name}.yaml"
    (folder / path).write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def without_gpu(folder: Path) -> dict[str, str]:
    """An environment whose python runs on the CPU what is to run on a GPU: Slurm's are pretended.

    It notes in calls.txt what a rule started, in which job, whether offline, and with what GPU.
    """
    stand_in = folder / "bin/python"
    stand_in.parent.mkdir(exist_ok=True)
    noted = "$1 ${SLURM_JOB_ID:-0} ${HF_HUB_OFFLINE:-0} ${CUDA_VISIBLE_DEVICES:-none}"
    stand_in.write_text(
        f'#!/bin/bash\necho "{noted}" >> {folder}/calls.txt\n'
        f'exec {sys.executable} "${{@/#cuda/cpu}}"\n'
    )
    stand_in.chmod(0o755)
    own = {key: value for key, value in environment().items() if key != "PYTHONPATH"}
    return own | {"PATH": f"{stand_in.parent}:{own['PATH']}", "OMP_NUM_THREADS": "1"}


@contextmanager
def started(folder: Path, study: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Snakemake through the profile, in the background; killed when the context ends."""
    command = ["snakemake", "--cores", "all", "--profile", "slurm", "--configfile", study]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *HASTE, *arguments], cwd=folder, env=without_gpu(folder),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def finish(folder: Path, process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a Snakemake that is to end with a code; what it said."""
    process.wait(timeout=1200)  # alone, a study takes five minutes
    said = (folder / "run.log").read_text()
    assert process.returncode == code, said
    return said


def running(folder: Path, rule: str) -> Job:
    """The job of a rule that runs, waited for."""

    def found() -> list[Job]:
        return [job for job in jobs(folder, rule) if job.state == "RUNNING"]

    wait_until(lambda: bool(found()), 120, f"{rule} to run")
    return found()[0]
