"""Names and paths out of a study: a shell sees each as one word, and none leads out of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from needlework import models
from needlework.planning import load_study
from needlework.study.parsing import StudyError
from tests.workflow.test_studies import offline, passages, questions

HOSTILE = (
    "a b; touch pwned $(touch pwned) `touch pwned` 'q' \"d\" & | touch pwned && * ~ $HOME \\ %s é"
)
ADDRESS = "http://127.0.0.1:9/$(touch${IFS}pwned)`touch${IFS}pwned`;touch${IFS}pwned&|'\"/v1"


@pytest.fixture(scope="module")
def folder(clone: Callable[[], Path], tiny_base: models.Base) -> Path:
    """A copy of the repository with hostile names wherever a study takes free text."""
    made = clone()
    shutil.copytree(tiny_base.path, made / f"model {HOSTILE}")
    (made / f"general {HOSTILE}").mkdir()
    written = study(made)
    (made / "s.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    del written["tasks"]["mdqa"]["retriever_model"]  # which BM25 refuses, once it is asked to rank
    (made / "run.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    return made


def study(folder: Path) -> dict[str, Any]:
    hosted = {"base_url": ADDRESS, "api_key_env": "SOME_KEY"}
    return {
        "name": "hostile", "length": 1024, "variants": ["real", "high_low"], "training_seeds": [0],
        "models": {
            "folder": {"source": f"model {HOSTILE}", "revision": HOSTILE},
            "api": {"source": f"api {HOSTILE}", "tokenizer": f"model {HOSTILE}", "hosted": hosted},
        },
        "generator": {"base_url": ADDRESS, "model": f"gen {HOSTILE}", "api_key_env": "SOME_KEY"},
        "tasks": {
            "mdqa": {
                "train": 4, "validation": 2, "test": 2, "path": questions(folder / f"q {HOSTILE}"),
                "passages": passages(folder / f"p {HOSTILE}.jsonl"),
                "retriever_model": f"retriever {HOSTILE}",
            },
        },
        "probe": {"kind": "mass", "top": 2, "max_new_tokens": 4},
        "evaluation": {"max_new_tokens": 4},
    }  # fmt: skip


def snakemake(folder: Path, study: str, *arguments: str) -> str:
    done = subprocess.run(
        ["snakemake", "--cores", "1", *arguments, "--configfile", study],
        cwd=folder, env=offline() | {"HOME": str(folder)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def test_every_command_hands_them_on_as_they_are(folder: Path, tmp_path: Path) -> None:
    """The commands of all rules, run by the shell; `python` is one that notes its arguments."""
    commands = re.findall(
        r"^Shell command: (python .*)$", snakemake(folder, "s.yaml", "-n", "-p"), re.MULTILINE
    )
    assert len(commands) > 10
    noted = tmp_path / "noted"
    stub = tmp_path / "bin/python"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" >> {noted}\nprintf "\\0" >> {noted}\n')
    stub.chmod(0o755)
    place = tmp_path / "place"
    for command in commands:
        for log in re.findall(r"> (results\S+\.log) ", f"{command} "):
            (place / log).parent.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"PATH": f"{stub.parent}:{os.environ['PATH']}"}
        strict = ["bash", "-euo", "pipefail", "-c", command]
        subprocess.run(strict, cwd=place, env=environment, check=True)
    runs = [run.split("\0") for run in noted.read_text(encoding="utf-8").split("\0\0") if run]
    assert len(runs) == len(commands)
    assert all(run[0].startswith("scripts/") for run in runs)
    given = {word for run in runs for word in run}
    options = [run[run.index("--options") + 1] for run in runs if "--options" in run]
    given |= {text for option in options for text in texts(json.loads(option))}
    given |= {Path(word).name for word in given}
    wanted = {f"{kind} {HOSTILE}" for kind in ("model", "api", "gen", "retriever", "q")}
    assert wanted | {HOSTILE, ADDRESS, f"p {HOSTILE}.jsonl"} <= given
    assert not list(tmp_path.rglob("pwned*"))
    assert {path.suffix for path in place.rglob("*") if path.is_file()} == {".log"}


def test_real_rules_read_what_is_so_named(folder: Path) -> None:
    snakemake(folder, "run.yaml", "results/hostile/corpora/mdqa/corpus.json")
    base = json.loads((folder / "results/hostile/models/folder/base.json").read_text("utf-8"))
    assert base["source"] == f"model {HOSTILE}"
    assert base["path"] == str(folder / f"model {HOSTILE}")
    rows = (folder / "results/hostile/corpora/mdqa/test.jsonl").read_text(encoding="utf-8")
    assert len(rows.splitlines()) == 2
    assert not list(folder.rglob("pwned*"))


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc", "a/b", "a b", "a;b", "$(x)", "`x`", "-rf", ".", "..", "", "a\n", "a\0b", "a'b",
     'a"b', "a|b", "a*", "{x}", "ａ", "a\u202eb", "~", "a\\b", "x" * 300],
)  # fmt: skip
@pytest.mark.parametrize("where", ["name", "models", "controls", "variants", "tasks"])
def test_a_name_that_becomes_a_path_is_refused(name: str, where: str, tmp_path: Path) -> None:
    bad: dict[str, Any] = {
        "name": "s", "length": 1024, "variants": ["real"], "training_seeds": [0],
        "models": {"m": {"source": "tiny-random-llama"}},
        "tasks": {"factbook_lookup": {"train": 4, "validation": 2, "test": 2}},
    }  # fmt: skip
    assert load_study(bad).name == "s"
    bad[where] = {
        "name": name, "models": {name: {"source": "tiny-random-llama"}},
        "controls": {name: {"variant": "real"}}, "variants": [name],
        "tasks": {name: {"train": 4, "validation": 2, "test": 2}},
    }[where]  # fmt: skip
    with pytest.raises(StudyError) as caught:
        load_study(bad)
    assert "\0" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


@pytest.mark.parametrize("mark", ["{x}", "}", "<x>", "\n", "\t", "\x1b[2J"])
def test_a_path_that_a_workflow_would_read_otherwise_is_refused(mark: str, tmp_path: Path) -> None:
    path = tmp_path / f"q{mark}.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    section = {"train": 4, "validation": 2, "test": 2, "path": str(path)}
    with pytest.raises(StudyError, match=r"tasks\.jsonl\.path: .*rename the file") as caught:
        load_study(
            {
                "name": "s", "length": 1024, "variants": ["real"], "training_seeds": [0],
                "models": {"m": {"source": "tiny-random-llama"}}, "tasks": {"jsonl": section},
            }
        )  # fmt: skip
    assert len(str(caught.value).splitlines()) == 2
