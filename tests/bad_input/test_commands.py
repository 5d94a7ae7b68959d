"""Each command ends on bad input with one line on standard error, and leaves no output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from needlework import models
from tests.bad_input import bad_datasets, bad_folders
from tests.bad_input.case import Case, by_name, check


class Place(NamedTuple):
    """What commands are given: good files, and the folder that they lie in."""

    folder: Path
    base: Path
    model: Path


@pytest.fixture
def place(tiny_base: models.Base, tmp_path: Path) -> Place:
    """A prepared model, its folder, and room for bad files."""
    model = Path(shutil.copytree(tiny_base.path, tmp_path / "model"))
    base = tmp_path / "base.json"
    base.write_text(tiny_base.model_dump_json(), encoding="utf-8")
    return Place(tmp_path, base, model)


def _of(cases: list[Case], name: str) -> Case:
    return next(case for case in cases if case.name == name)


def _prepared(name: str) -> Case:
    case = _of([*bad_folders.CHEAP, *bad_folders.PREPARED], name)

    def command(place: Place) -> list[str]:
        case.given(place.model)
        return ["prepare_model", "--source", str(place.model)]

    return case._replace(given=command)


def _built(name: str) -> Case:
    case = _of(bad_datasets.OWN, name)

    def command(place: Place) -> list[str]:
        options = json.dumps({"path": str(case.given(place.folder))})
        sizes = [
            "--length",
            "512",
            "--train",
            "1",
            "--validation",
            "1",
            "--test",
            "1",
            "--seed",
            "0",
        ]
        given = ["--bases", str(place.base), "--options", options]
        return ["build_corpus", "--task", "jsonl", *given, *sizes]

    return case._replace(given=command)


def _scored(flag: str, make: Callable[[Path], Path], *said: str) -> Case:
    def command(place: Place) -> list[str]:
        good = place.folder / "good.jsonl"
        good.write_text('{"documents": ["It is Ann."], "question": "Who?", "answers": "Ann"}\n')
        flags = {"--base": str(place.model), "--questions": str(good)}
        flags[flag] = str(make(place.folder))
        return ["score_heads", *(part for pair in flags.items() for part in pair)]

    return Case(f"score_heads {flag}", command, said)


def _converted(place: Place) -> list[str]:
    scores = _of(bad_datasets.SCORES, "NaN").given(place.folder)
    return ["convert_heads", "--input", str(scores), "--to", "qrhead"]


def _without_config(folder: Path) -> Path:
    (folder / "model" / "config.json").unlink()
    return folder / "model"


_COMMANDS = [
    _prepared("weights: cut"),
    _prepared("code of its own"),
    _built("encodings in one file"),
    _built("a line of a gigabyte"),
    _built("a pipe"),
    _built("nested"),
    _scored("--base", _without_config, "has no config.json"),
    _scored("--adapter", lambda folder: folder, "has no adapter_config.json"),
    _scored("--questions", _of(bad_datasets.OWN, "a device").given, "/dev/zero: is a device"),
    Case("convert_heads", _converted, ("s.json", "finite number")),
]


@pytest.mark.parametrize("case", _COMMANDS, ids=by_name)
def test_a_command_ends_in_one_line(case: Case, root: Path, place: Place) -> None:
    script, *flags = case.given(place)
    output = place.folder / "made" / "output.json"
    done = subprocess.run(
        [sys.executable, f"scripts/{script}.py", *flags, "--output", str(output)],
        cwd=root, env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert done.stderr.splitlines()[-1] == said[0]
    check(done.stdout + done.stderr, case)
    assert not output.exists()
