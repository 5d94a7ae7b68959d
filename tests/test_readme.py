"""Every command of the README works: targets exist, snakemake plans, scripts explain themselves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("command", COMMANDS)
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
    else:
        done = subprocess.run([program, *arguments], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "usage:" in done.stdout


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
