"""The Snakefile plans the study that was asked for, and refuses one that cannot be run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml


def plan(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A dry run with the reasons and commands of its jobs."""
    return subprocess.run(
        ["snakemake", "--cores", "2", "-n", "-p", *arguments],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip


def test_a_named_study_replaces_the_default_one(root: Path, tmp_path: Path) -> None:
    study = yaml.safe_load((root / "studies/smoke.yaml").read_text(encoding="utf-8"))
    del study["training"]  # config.yaml has this section: merged, its learning rate would show
    study["name"] = "elsewhere"
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    planned = plan(root, "--configfile", str(path))
    assert planned.returncode == 0, planned.stderr
    assert "results/elsewhere/report.html" in planned.stdout
    assert "--learning-rate 0.0001" in planned.stdout
    assert "smollm2-135m/" not in planned.stdout


def test_one_key_can_be_overridden(root: Path) -> None:
    planned = plan(root, "--config", "name=other", "length=300")
    assert planned.returncode == 0, planned.stderr
    assert "results/other/report.html" in planned.stdout
    assert "--length 300" in planned.stdout


def test_the_slurm_profile_plans(root: Path) -> None:
    planned = plan(root, "--profile", "slurm", "--config", "name=planned")
    assert planned.returncode == 0, planned.stderr
    assert "train_adapter" in planned.stdout


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["lenght=300"], ["lenght: there is no such key", "did you mean 'length'?"]),
        (["length=9000"], ["length: got 9000, above the 8192 positions of models.smollm2-135m"]),
        (["variants=[symbolc]"], ["variants.0: got 'symbolc'", "did you mean 'symbolic'?"]),
        (["length=short"], ["length: got 'short' (str), takes a valid integer"]),
    ],
)
def test_a_wrong_study_stops_before_the_first_job(
    root: Path, overrides: list[str], said: list[str]
) -> None:
    planned = plan(root, "--config", *overrides)
    assert planned.returncode == 1
    output = planned.stdout + planned.stderr
    assert all(text in output for text in said), output
    assert "Traceback" not in output
    assert "rule all" not in output
