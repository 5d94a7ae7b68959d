"""Predictions that do not answer every test example once are refused, with names and numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from needlework.evaluation.agreement import check_answered, ids_by_task
from needlework.examples import Document, Example, write_examples


def _examples(path: Path, task: str, ids: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = Document(id="d", title="", text="Lima is a city.", gold=True)
    write_examples(
        path,
        [
            Example(
                id=each, task=task, variant="real", question="?", answers=["Lima"],
                documents=[document], needles=[], cluster=each, source={},
            )
            for each in ids
        ],
    )  # fmt: skip
    return path


def _predictions(root: Path, run: str, ids: Sequence[str], name: str = "plain") -> Path:
    path = root / run / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": each, "cluster": each, "answers": ["Lima"], "prediction": "Lima",
         "stopped_by": "end"}
        for each in ids
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ids_are_kept_by_the_task_of_the_examples(tmp_path: Path) -> None:
    paths = [
        _examples(tmp_path / "a.jsonl", "mdqa", ["q1", "q2"]),
        _examples(tmp_path / "b.jsonl", "musique", ["q1"]),
        _examples(tmp_path / "c.jsonl", "mdqa", ["q3"]),
    ]
    assert ids_by_task(paths) == {"mdqa": {"q1", "q2", "q3"}, "musique": {"q1"}}


def test_whole_answers_pass_in_any_order(tmp_path: Path) -> None:
    paths = [
        _predictions(tmp_path, "m/mdqa/real/seed0", ["q2", "q1"]),
        _predictions(tmp_path, "m/musique/real-short/seed0", ["q7"]),
    ]
    check_answered(paths, {"mdqa": {"q1", "q2"}, "musique": {"q7"}})


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        (["q1", "q3"], r"it lacks 1 \(q2\); remove"),
        (["q1", "q2", "q3", "q9"], r"it adds 1 \(q9\); remove"),
        (["q1", "q2", "q2", "q3"], r"it repeats 1 \(q2\); remove"),
        (["q1", "q1", "q9"], r"repeats 1 \(q1\), lacks 2 \(q2, q3\), adds 1 \(q9\); remove"),
        ([f"x{i}" for i in range(5)] + ["q1", "q2", "q3"], r"adds 5 \(x0, x1, x2, \.\.\.\)"),
        ([], r"lacks 3 \(q1, q2, q3\)"),
    ],
)
def test_plain_answers_to_other_examples_are_refused(
    tmp_path: Path, ids: list[str], fault: str
) -> None:
    good = _predictions(tmp_path, "m/mdqa/untuned/seed0", ["q1", "q2", "q3"])
    bad = _predictions(tmp_path, "m/mdqa/real/seed0", ids)
    with pytest.raises(ValueError, match=f"each of the 3 test examples once: .*{fault}") as caught:
        check_answered([good, bad], {"mdqa": {"q1", "q2", "q3"}})
    assert str(caught.value).startswith(str(bad))


def test_another_condition_may_answer_a_part_or_views_but_none_twice(tmp_path: Path) -> None:
    run = "m/mdqa/real/seed0"
    part = _predictions(tmp_path, run, ["q1"], "mask-top10")
    view = _predictions(tmp_path, run, ["q1", "other"], "random-position5of20")
    check_answered([part, view], {"mdqa": {"q1", "q2"}})
    twice = _predictions(tmp_path, run, ["q1", "q1"], "length4096")
    with pytest.raises(ValueError, match=r"length4096.* repeats 1 \(q1\)"):
        check_answered([twice], {"mdqa": {"q1", "q2"}})


def test_a_task_without_examples_is_refused(tmp_path: Path) -> None:
    path = _predictions(tmp_path, "m/mdqa/real/seed0", ["q1"])
    with pytest.raises(ValueError, match=r"no test examples of the task mdqa .* --examples"):
        check_answered([path], {"musique": {"q1"}})


def _command(tmp_path: Path, predictions: Path) -> subprocess.CompletedProcess[str]:
    examples = _examples(tmp_path / "corpora/mdqa/test.jsonl", "mdqa", ["q1", "q2", "q3"])
    similarity = tmp_path / "head_similarity.csv"
    pair = {"task_a": "mdqa", "variant_a": "untuned", "task_b": "mdqa", "variant_b": "real"}
    row = {"model": "m", **pair, "set": "scores", "measure": "cosine", "value": 0.5}
    pd.DataFrame([row]).to_csv(similarity, index=False)
    return subprocess.run(
        [
            sys.executable, "scripts/compute_statistics.py", "--predictions", str(predictions),
            "--examples", str(examples), "--similarity", str(similarity), "--reference", "real",
            "--resamples", "50", "--level", "0.95", "--seed", "0",
            "--output", str(tmp_path / "statistics"),
        ],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_scores_whole_answers_and_fails_on_others(tmp_path: Path) -> None:
    run = "m/mdqa/real/seed0"
    refused = _command(tmp_path, _predictions(tmp_path, run, ["q1", "q2"]))
    assert refused.returncode != 0
    assert "lacks 1 (q3)" in refused.stderr
    assert not (tmp_path / "statistics" / "scores.csv").exists()
    done = _command(tmp_path, _predictions(tmp_path, run, ["q1", "q2", "q3"]))
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(tmp_path / "statistics" / "scores.csv")
    assert set(scores["n"]) == {3}
    assert set(scores["unparseable"]) == {0}
