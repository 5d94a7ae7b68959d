"""Bad studies: each is refused with its file, line or key, and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from needlework.planning import load_study
from needlework.study.files import check_command_line, check_files
from tests.bad_input import bad_studies
from tests.bad_input.case import Case, by_name, check, refused


@pytest.mark.parametrize("case", bad_studies.FILES, ids=by_name)
def test_a_file_that_is_no_study_is_refused(case: Case, tmp_path: Path) -> None:
    path = case.given(tmp_path)
    refused(case, lambda: check_files([path]))


@pytest.mark.parametrize("case", [*bad_studies.NAMES, *bad_studies.VALUES], ids=by_name)
def test_a_study_that_cannot_be_run_is_refused(case: Case) -> None:
    refused(case, lambda: load_study(case.given))


def test_a_study_that_repeats_itself_without_end_is_refused() -> None:
    study = dict(bad_studies.GOOD)
    study["training"] = study
    with pytest.raises(ValueError, match="values more than 50 deep"):
        load_study(study)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "--configfile", "bad.yaml"],
        ["--configfiles=bad.yaml", "--cores", "2"],
        ["--configfile", "good.yaml", "bad.yaml"],
        ["-n"],
    ],
)
def test_a_command_line_is_read_as_snakemake_reads_it(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text("name: x\n", encoding="utf-8")
    for name in ("bad.yaml", "config.yaml"):
        Path(name).write_text("name: x\nname: y\n", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        check_command_line(arguments)
    assert "line 2: the key 'name' stands in line 1 already" in str(caught.value)
    check_command_line(["--configfile", "good.yaml", "--cores", "bad.yaml"])


_OWN = """
name: own
models: {tiny: {source: tiny-random-llama}}
tasks: {jsonl: {path: %s, train: 1, validation: 1, test: 1}}
variants: [real]
length: 512
"""
_RUNS = [
    Case("a bomb", bad_studies.bomb(bad_studies.MAPPINGS), ("study.yaml, line 6", "aliases")),
    Case("a number", "name: x\nseed: " + "9" * 5000, ("study.yaml", "4300 digits")),
    Case(
        "an unknown key",
        _OWN.replace("length", "lenght"),
        ("the study cannot be run", "lenght: there is no such key; did you mean 'length'?"),
    ),
    Case(
        "a bad file of one's own",
        _OWN,
        ("tasks.jsonl.path: ", "own.jsonl, row 1: not JSON", "Expecting value"),
    ),
]


@pytest.mark.parametrize("case", _RUNS, ids=by_name)
def test_snakemake_shows_the_fault_and_nothing_else(case: Case, root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("rain\n", encoding="utf-8")
    study = tmp_path / "study.yaml"
    study.write_text(case.given.replace("%s", str(own)), encoding="utf-8")
    command = ["snakemake", "-n", "--cores", "1", "--configfile", str(study)]
    python = Path(sys.executable)
    done = subprocess.run(
        [str(python.with_name(command[0])), *command[1:]],
        cwd=root, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    check(done.stdout + done.stderr, case)
