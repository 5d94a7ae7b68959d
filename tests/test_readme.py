"""Every command of the README works: targets exist, snakemake plans, scripts run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from needlework import models
from needlework.heads.score_file import read_scores
from needlework.planning import load_study

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    command
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if (command := line.split(" #")[0].strip()).startswith(("make", "snakemake", "python"))
]


def test_the_readme_opens_with_its_two_commands() -> None:
    assert COMMANDS[:2] == ["make demo", "make test"]
    assert {command.split()[0] for command in COMMANDS} == {"make", "snakemake", "python"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("python")])
def test_command(command: str, root: Path) -> None:
    program, *arguments = command.split()
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in targets
    elif program == "snakemake":
        done = subprocess.run(
            [program, *arguments, "-n", "-q"], cwd=root, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


def test_the_heads_of_a_model_of_ones_own_are_scored(
    root: Path, tiny_base: models.Base, tmp_path: Path
) -> None:
    (command,) = (each for each in COMMANDS if each.startswith("python"))
    script, *flags = command.replace("path/to/model", tiny_base.path).split()[1:]
    row = {"question": "Where?", "answers": "in Lima", "documents": ["It is in Lima.", "No."]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, root / script, *flags, "--max-new-tokens", "4"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = read_scores(tmp_path / "heads.json")
    assert scores.mean("mass").shape == (2, 4)
    assert (scores.mean("mass") > 0).all()


def test_inline_make_targets_exist(root: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= set(targets)


def test_the_generator_example_is_a_valid_study(root: Path) -> None:
    (example,) = (block for language, block in BLOCKS if language == "yaml")
    study = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    assert load_study(study | yaml.safe_load(example)).generator.base_url


def test_links_lead_somewhere(root: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target
