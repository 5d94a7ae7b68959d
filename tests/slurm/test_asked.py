"""What jobs would ask a cluster for, by a dry run: no Slurm is needed for that."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.running import write_study
from tests.workflow.running import snakemake

GPUS = {"device": "cuda", "gpus": 4, "threads": 8, "memory_mb": 50_000}
HOSTED = {"source": "gpt", "hosted": {}, "tokenizer": "tiny-random-llama"}


@pytest.fixture(scope="module")
def folder(clone: Callable[[], Path]) -> Path:
    """A copy of the repository with a study for GPUs, and the profile of a site that has some."""
    made = clone()
    write_study(made, "gpus", compute=GPUS, models={"behind": HOSTED})
    profile = made / "slurm/config.yaml"
    ours, theirs = "  gpu_partition: gpu ", "  gpu_type: a100\n  gpu_partition: batch-gpu "
    assert ours in profile.read_text()
    profile.write_text(profile.read_text().replace(ours, theirs))
    return made


def asked(folder: Path, *arguments: str) -> dict[str, str]:
    """What a dry run says that jobs of each rule ask for."""
    said = snakemake(folder, "-n", "--configfile", "studies/gpus.yaml", *arguments)
    return dict(re.findall(r"^(\w+) asks for (.*)$", said, re.M))


def test_partition_gpus_and_cpus_are_those_of_the_kind_of_job(folder: Path) -> None:
    found = asked(folder, "--profile", "slurm")
    gpus = "slurm_partition=batch-gpu gpu={} gpu_model=a100 cpus_per_task=8 mem_mb=50400 runtime={}"
    cpus = "slurm_partition=cpu cpus_per_task={} mem_mb={} runtime={}"
    expected = {
        "train_adapter": gpus.format(4, 720),  # on two cores, which bound threads but not this
        "predict_answers": gpus.format(1, 60),
        "mask_heads": gpus.format(1, 480),
        "rewrite_facts": cpus.format(8, 2400, 480),
        "build_dataset": cpus.format(2, 4400, 120),
        "render_report": cpus.format(1, 2400, 30),
    }
    assert {rule: found[rule] for rule in expected} == expected


def test_a_later_try_has_more_within_the_limits(folder: Path) -> None:
    found = asked(folder, "--profile", "slurm", "--attempt", "3")
    assert found["train_adapter"].endswith("mem_mb=150400 runtime=1440")  # not 2160: the limit
    assert found["build_dataset"].endswith("mem_mb=12400 runtime=360")


def test_what_needs_the_network_is_no_job(folder: Path) -> None:
    found = asked(folder, "--profile", "slurm")
    assert {"prepare_model", "tune_hosted", "predict_hosted"}.isdisjoint(found)
    write_study(folder, "gpus", compute=GPUS, generator={"base_url": "https://x.example/v1"})
    assert {"rewrite_facts", "write_documents"}.isdisjoint(asked(folder, "--profile", "slurm"))


def test_without_a_profile_nothing_is_asked(folder: Path) -> None:
    assert asked(folder) == {}
