"""Tuning a hosted model on a server for tests: what is sent, what is recorded, never paid twice."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from needlework import models
from needlework.examples import read_examples, write_examples
from needlework.llm.generator import GeneratorError
from needlework.provenance import file_hash
from needlework.rendering.prompt import message_of, render
from needlework.training.rows import chosen
from tests.llm.fine_tuning_server import MODEL, Tuner, tuning
from tests.llm.server import CUT, Reply, failure
from tests.training.hosted_tuning import LENGTH, Tune, bell

_VARIABLE = "NEEDLEWORK_TEST_KEY"
_KEY = "sk-test-2c1f9a"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen examples to learn from and three for the loss of validation."""
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder / "train.jsonl", map(bell, range(14)))
    write_examples(folder / "validation.jsonl", map(bell, range(20, 23)))
    return folder


@pytest.fixture
def tuner() -> Iterator[Tuner]:
    with tuning() as served:
        yield served


@pytest.fixture
def run(tuner: Tuner, data: Path, tmp_path: Path, tokenizer: Any) -> Tune:
    return Tune(tuner, data, tmp_path, tokenizer, [])


# --- What is sent and what is recorded ---------------------------------------------------------


def test_the_rows_are_the_examples_as_they_are_shown(run: Tune) -> None:
    run()
    request = run.tuner.requests["ftjob-0"]
    for key, name in (("training_file", "train"), ("validation_file", "validation")):
        examples = read_examples(run.data / f"{name}.jsonl")
        rows = run.tuner.rows(request[key])
        assert len(rows) == len(examples)
        for example, row in zip(examples, rows, strict=True):
            shown = render(example, run.tokenizer, LENGTH)
            assert shown.example != example, "the length decides what is shown"
            system, user, assistant = row["messages"]
            assert system["content"].startswith("Write a response")
            assert user["content"] == message_of(shown.example)
            assert assistant["content"] == example.answers[0]


def test_the_job_is_asked_for_as_set(run: Tune) -> None:
    run(suffix="bells")
    request = run.tuner.requests["ftjob-0"]
    assert (request["model"], request["seed"], request["suffix"]) == (MODEL, 3, "bells")
    assert request["method"]["supervised"]["hyperparameters"] == {
        "n_epochs": "auto", "batch_size": 4, "learning_rate_multiplier": 0.5,
    }  # fmt: skip
    run(seed=4)
    assert "suffix" not in run.tuner.requests["ftjob-1"]


def test_the_record_says_what_was_done(run: Tune) -> None:
    run.tuner.statuses = ["running"] * 4
    record = run()
    assert record == json.loads((run.folder / "adapter/hosted.json").read_text(encoding="utf-8"))
    expected = {
        "model": f"ft:{MODEL}:org::0", "job": "ftjob-0", "base_model": MODEL, "seed": 3,
        "status": "succeeded", "trained_tokens": 4321, "loss": "decided by the API",
        "length": LENGTH, "examples": {"train": 14, "validation": 3},
        "hyperparameters": {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.5},
        "created": 100, "finished": 200,
    }  # fmt: skip
    assert {key: record[key] for key in expected} == expected
    assert record["settings"]["epochs"] == "auto"
    assert record["data"] == {
        f"{name}.jsonl": file_hash(run.data / f"{name}.jsonl") for name in ("train", "validation")
    }
    for name, file_id in (("train", "file-0"), ("validation", "file-1")):
        content = run.tuner.contents[file_id]
        sent = {"id": file_id, "sha256": hashlib.sha256(content).hexdigest()}
        assert record["files"][name] == sent
    assert record["files"]["results"] == ["file-results"]
    assert [e["data"].get("train_loss") for e in record["events"]] == [None, 0.8, 0.7, 0.6, 0.5]
    assert run.slept == [9.0] * 4


def test_fewer_examples_are_those_that_a_local_model_gets(run: Tune) -> None:
    assert run(examples=11)["examples"] == {"train": 11, "validation": 3}
    path = run.data / "train.jsonl"
    asked = [example.question for example in chosen(read_examples(path), 11, file_hash(path))]
    rows = run.tuner.rows("file-0")
    assert all(q in row["messages"][1]["content"] for q, row in zip(asked, rows, strict=True))


# --- Once --------------------------------------------------------------------------------------


def test_what_was_tuned_is_not_tuned_again(run: Tune) -> None:
    first = run()
    shutil.rmtree(run.folder / "adapter")
    assert run() == first
    shutil.rmtree(run.folder / "state")
    run.tuner.files.clear()
    assert run(poll=1.0) == first, "the server keeps the hash of what was asked for"
    assert run.sent() == (2, 1)


@pytest.mark.parametrize(
    "changed",
    [{"seed": 4}, {"epochs": 2}, {"batch": "auto"}, {"learning_rate_multiplier": 1.0},
     {"suffix": "x"}],
)  # fmt: skip
def test_another_setting_is_another_job_on_the_same_files(
    run: Tune, changed: dict[str, Any]
) -> None:
    assert run()["job"] != run(**changed)["job"]
    assert run.sent() == (2, 2)
    assert len({str(job["metadata"]) for job in run.tuner.jobs.values()}) == 2


def test_other_data_are_another_job_on_another_file(run: Tune, tmp_path: Path) -> None:
    other = shutil.copytree(run.data, tmp_path / "other")
    write_examples(other / "train.jsonl", map(bell, range(1, 15)))
    assert run()["job"] != run(data=other)["job"]
    assert run()["job"] != run(length=LENGTH - 30)["job"]
    assert run.sent() == (5, 3)


def test_two_processes_do_not_work_on_the_same(run: Tune) -> None:
    held = []

    def another(asked: str) -> bool:
        (path,) = (run.folder / "state").glob("*.lock")
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(asked)
        return False

    run.tuner.cut = another
    run()
    assert held == run.tuner.asked


# --- What goes wrong ---------------------------------------------------------------------------


def test_trouble_on_the_way_changes_nothing(run: Tune) -> None:
    names = ["POST /files", "GET /files/*", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/*"]
    for name in [*names, "GET /files", "GET /fine_tuning/jobs", "GET /fine_tuning/jobs/*/events"]:
        run.tuner.instead[name] = [failure(500), CUT, failure(429, retry_after="300")]
        run.tuner.lost[name] = [CUT, failure(502)]
    assert run()["model"] == f"ft:{MODEL}:org::0"
    assert (len(run.tuner.files), len(run.tuner.jobs)) == (2, 1)
    assert run.slept.count(300.0) == 7


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            {"status": "failed", "error": {
                "code": "invalid_training_file", "message": "Line 4 is odd", "param": "file"}},
            r"ftjob-0 failed: invalid_training_file: Line 4 is odd \(parameter file\)\. Mend",
        ),
        ({"status": "failed"}, "ftjob-0 failed: it gives no reason"),
        ({"status": "cancelled"}, "ftjob-0 was cancelled"),
        ({"status": "succeeded", "fine_tuned_model": None}, "ended without naming a model"),
    ],
)  # fmt: skip
def test_a_job_that_does_not_succeed_is_begun_anew_only_when_told(
    run: Tune, end: dict[str, Any], words: str
) -> None:
    run.tuner.job_end = {"fine_tuned_model": None} | end
    for _ in range(2):
        with pytest.raises(GeneratorError, match=words) as caught:
            run()
        assert f"delete {run.state()} and run again" in str(caught.value)
        assert not (run.folder / "adapter").exists()
        assert run.sent() == (2, 1)


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_after_its_notes_are_deleted_a_failed_job_is_made_anew(run: Tune, end: str) -> None:
    run.tuner.job_end = {"status": end, "fine_tuned_model": None}
    with pytest.raises(GeneratorError):
        run()
    run.state().unlink()
    run.tuner.job_end = {"status": "succeeded"}
    run.tuner.lost["POST /fine_tuning/jobs"] = [CUT]  # it must not be taken for the failed one
    assert run()["job"] == "ftjob-1"
    assert run.sent() == (2, 2)


def test_a_refused_file_is_sent_anew_only_when_told(run: Tune) -> None:
    run.tuner.file_end = {"status": "error", "status_details": "no JSON"}
    for _ in range(2):
        with pytest.raises(GeneratorError, match="refused the file file-0: no JSON"):
            run()
    assert run.sent() == (2, 0)
    run.state().unlink()
    run.tuner.file_end = {"status": "processed"}
    run()
    assert run.sent() == (3, 1), "the other file was not looked at yet, and is good"


def test_a_job_that_is_gone_names_the_notes_to_delete(run: Tune) -> None:
    run()
    run.tuner.jobs.clear()
    with pytest.raises(GeneratorError, match=r"ftjob-0.*404.*To begin anew, delete .*\.json"):
        run()
    run.state().unlink()
    assert run()["job"] == "ftjob-0"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (failure(401, "Incorrect API key"), "`api_key_env`"),
        (failure(429, "You exceeded it", code="insufficient_quota"), "quota is used up"),
    ],
)
@pytest.mark.parametrize(
    "what", ["GET /fine_tuning/jobs", "POST /files", "GET /fine_tuning/jobs/*"]
)
def test_a_refused_key_or_a_used_up_quota_stops_it_at_once(
    run: Tune, what: str, reply: Reply, words: str
) -> None:
    run.tuner.instead[what] = [reply]
    with pytest.raises(GeneratorError, match=words):
        run()
    assert (run.tuner.asked[-1], run.slept) == (what, [])
    run()
    assert run.sent()[1] == 1


def test_a_model_that_cannot_be_tuned_is_named(run: Tune) -> None:
    with pytest.raises(GeneratorError, match=r"'gpt-5'.*not available for fine-tuning.*this model"):
        run(model="gpt-5")


def test_too_few_examples_are_refused_before_anything_is_sent(run: Tune, tmp_path: Path) -> None:
    few = shutil.copytree(run.data, tmp_path / "few")
    write_examples(few / "train.jsonl", map(bell, range(9)))
    with pytest.raises(ValueError, match=r"few/train\.jsonl: 9 examples, .* no fewer than 10;"):
        run(data=few)
    with pytest.raises(ValueError, match=r"train\.jsonl: 9 examples"):
        run(examples=9)
    write_examples(few / "train.jsonl", map(bell, range(10)))
    write_examples(few / "validation.jsonl", [])
    with pytest.raises(ValueError, match=r"validation\.jsonl: 0 examples"):
        run(data=few)
    assert run.tuner.asked == []


@pytest.mark.parametrize(
    ("model", "length", "fits"),
    [
        ("gpt-3.5-turbo-1106", 16_385, True), ("gpt-3.5-turbo-1106", 16_386, False),
        ("ft:gpt-3.5-turbo-0613:org::1", 5000, False), ("gpt-4o-mini-2024-07-18", 65_537, False),
        ("own-model", 10**6, True),
    ],
)  # fmt: skip
def test_a_length_that_the_api_would_cut_is_refused(
    run: Tune, model: str, length: int, fits: bool
) -> None:
    run.tuner.instead["GET /fine_tuning/jobs"] = [failure(400, "the server was asked")]
    error, words = (GeneratorError, "asked") if fits else (ValueError, f"length {length}: {model}")
    with pytest.raises(error, match=words):
        run(model=model, length=length)
    assert len(run.tuner.asked) == fits


# --- The command -------------------------------------------------------------------------------


def test_the_command_keeps_the_key_to_itself(
    root: Path, data: Path, tmp_path: Path, tuner: Tuner
) -> None:
    models.prepare(MODEL, tmp_path / "model", hosted_tokenizer="tiny-random-llama")
    command = [
        sys.executable, "scripts/tune_hosted.py", "--base", str(tmp_path / "model/base.json"),
        "--dataset", str(data), "--output", str(tmp_path / "adapter"), "--state",
        str(tmp_path / "state"), "--length", str(LENGTH), "--examples", "12", "--seed", "0",
        "--base-url", tuner.url, "--api-key-env", _VARIABLE, "--epochs", "2", "--batch", "auto",
        "--learning-rate-multiplier", "1.5", "--poll", "0", "--suffix", "s",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(root), _VARIABLE: _KEY, "OPENAI_LOG": "debug"}
    tuner.said = _KEY
    tuner.instead["GET /fine_tuning/jobs"] = [failure(500, _KEY)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "500 - <key>" in done.stderr
    assert {headers["authorization"] for headers in tuner.headers} == {f"Bearer {_KEY}"}
    record = json.loads((tmp_path / "adapter/hosted.json").read_text(encoding="utf-8"))
    assert record["hyperparameters"] == {
        "n_epochs": 2, "batch_size": 1, "learning_rate_multiplier": 1.5,
    }  # fmt: skip
    assert (record["examples"]["train"], record["model"]) == (12, f"ft:{MODEL}:org:s:0")
    assert record["events"][0]["message"].endswith("<key>")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sk-test" not in written + (done.stdout + done.stderr).encode()


def test_the_command_wants_a_hosted_model(root: Path, tiny_base: models.Base) -> None:
    base = Path(tiny_base.path).parent / "base.json"
    command = [
        sys.executable, "scripts/tune_hosted.py", "--base", str(base), "--dataset", ".",
        "--output", ".", "--state", ".", "--length", "9", "--seed", "0", "--base-url", "http://x",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{base}: a bundled model; scripts/train_adapter.py tunes it" in done.stderr
