"""The command that traces attention, end to end: every run of a model and task in one file."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from needlework import adapters, models
from needlework.examples import write_examples
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.rendering.prompt import render
from tests.heads.probing import example, examples, found, maps

Command = Callable[..., dict[str, Any]]

_LENGTH = 600
_RUNS = {"untuned": 0, "low_low": 4, "real": 4}
_ANSWERS = {
    "untuned": ["minerals to Lima", "", "no, é"],
    "low_low": ["Lima", "Lima", "Callao"],
    "real": ["to Lima", "Cuzco", "noon"],
}
# Mean scores of the two layers' four heads.
_SCORES = {
    "untuned": [[0.0, 0.2, 0.0, 0.0], [0.0, 0.0, 0.5, 0.1]],
    "low_low": [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
    "real": [[0.3, 0.0, 0.0, 0.0], [0.0, 0.0, 0.3, 0.0]],
}


def _run(kind: str, variant: str) -> str:
    return f"{kind}/m/t/{variant}/seed{_RUNS[variant]}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_base: models.Base, tokenizer: Any) -> Path:
    """Two adapters, the test examples, one of which is too long, and each run's scores, answers."""
    folder = tmp_path_factory.mktemp("study")
    base = models.base_of(tiny_base.path)
    long = example("long", ["Lima " * 400], [(0, "bridge", "Lima Lima")])
    given = [*examples()[:2], long, *examples()[2:], example("fourth", ["Lima"], [])]
    write_examples(folder / "test.jsonl", given)
    config = LoraConfig(r=4, target_modules=["q_proj", "k_proj"], init_lora_weights=False)
    for seed, variant in enumerate(["low_low", "real"]):
        torch.manual_seed(seed)
        tuned = get_peft_model(models.load_model(base, dtype="float32"), config)
        tuned.save_pretrained(folder / _run("adapters", variant))
        record = json.dumps({"base": base.model_dump(), "seed": 4})
        (folder / _run("adapters", variant) / "training.json").write_text(record)
    layers = [Layer(attention="full", heads=4, kv_heads=2)] * 2
    instances = [Instance(id="i", cluster="c", generated="", correct=True)]
    probe = {"probe": {"kind": "copy", "role": "answer", "instances": "all"}}
    for variant, answers in _ANSWERS.items():
        scores = HeadScores(
            probe, layers, instances, {"copy/answer": np.array([_SCORES[variant]])}, {}
        )
        write_scores(folder / _run("heads", variant) / "validation.json", scores)
        rows = [
            {
                "id": each.id,
                "prediction": answer,
                "prompt_tokens": len(render(each, tokenizer, _LENGTH).prompt),
            }
            for each, answer in zip(examples(), answers, strict=True)
        ]
        path = folder / _run("predictions", variant) / "plain.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def command(root: Path, study: Path, tiny_base: models.Base, monkeypatch: Any) -> Command:
    """Runs the command in the study's folder on some variants and gives what it wrote."""
    script = str(root / "scripts/trace_attention.py")

    def run(*variants: str, folder: Path = study, **flags: Any) -> dict[str, Any]:
        given = {
            "base": [tiny_base.path],
            "adapters": [_run("adapters", v) for v in variants if v != "untuned"],
            "scores": [f"{_run('heads', v)}/validation.json" for v in variants],
            "predictions": [f"{_run('predictions', v)}/plain.jsonl" for v in variants],
            "examples": ["test.jsonl"],
            "length": [str(_LENGTH)],
            "count": ["4"],
            "heads": ["2"],
            "output": ["attention/m/t.json"],
        } | flags
        monkeypatch.chdir(folder)
        pairs = [[f"--{name}", *values] for name, values in given.items() if values]
        monkeypatch.setattr(sys, "argv", [script, *(part for pair in pairs for part in pair)])
        runpy.run_path(script, run_name="__main__")
        written: dict[str, Any] = json.loads((folder / "attention/m/t.json").read_bytes())
        return written

    return run


def test_every_run_looks_where_it_looks_alone(
    command: Command, study: Path, tiny_base: models.Base, tokenizer: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    result = command("real", "untuned")
    assert capsys.readouterr().err.count("loaded the base model") == 1
    assert list(result["runs"]) == ["real", "untuned"]
    assert result["runs"]["untuned"]["heads"] == [[1, 2, 0.5], [0, 1, 0.2]]
    assert result["runs"]["real"]["heads"] == [[0, 0, 0.3], [1, 2, 0.3]]
    base = models.base_of(tiny_base.path)
    given = {each.id: each for each in examples()}
    places = set()
    for variant, run in result["runs"].items():
        folders = {} if variant == "untuned" else {"alone": study / _run("adapters", variant)}
        model = adapters.attach(models.load_model(base, dtype="float32"), base, folders)
        assert list(run["answers"]) == list(given)
        for (name, answer), text in zip(run["answers"].items(), _ANSWERS[variant], strict=True):
            prompt = render(given[name], tokenizer, _LENGTH).prompt
            tokens = tokenizer(f" {text}")["input_ids"] if text else []
            assert "".join(answer["tokens"]) == (f" {text}" if text else "")
            attention = maps(model, [*prompt, *tokens])
            assert list(answer["spans"]) == [f"{x}-{y}" for x, y, _ in run["heads"]]
            for key, spans in answer["spans"].items():
                layer, head = map(int, key.split("-"))
                rows = {row: place for *place, numbers in spans for row in numbers}
                assert sorted(rows) == list(range(len(tokens)))
                for row, (document, start, end) in rows.items():
                    looked = int(attention[layer, head, len(prompt) - 1 + row].argmax())
                    places.add((document, start))
                    inside = [
                        d.id for d in given[name].documents
                        if looked in found(prompt, d.text, tokenizer)
                    ]  # fmt: skip
                    if document is None:
                        assert (inside, start, end) == ([], 0, 0)
                        continue
                    assert inside == [document]
                    text_of = {d.id: d.text for d in given[name].documents}[document]
                    first = min(found(prompt, text_of, tokenizer))
                    assert (first + start, end) == (looked, start + 1)
                    assert text_of[start:end] == tokenizer.decode([prompt[looked]])
    assert len(places) > 3


def test_what_the_file_says_of_runs_and_examples(command: Command) -> None:
    result = command("untuned", "low_low", "real", heads=["20"])
    assert (result["model"], result["task"]) == ("m", "t")
    assert result["seed"] == _RUNS
    assert result["examples"] == [each.id for each in examples()]
    assert result["failures"] == {"long": "longer than the length"}
    assert result["documents"] == {
        each.id: [document.id for document in each.documents] for each in examples()
    }
    assert [len(run["heads"]) for run in result["runs"].values()] == [3, 0, 2]
    low = result["runs"]["low_low"]["answers"]["twice"]
    assert low == {"tokens": [*" Lima"], "spans": {}}
    assert result["runs"]["untuned"]["answers"]["twice"] == {
        "tokens": [], "spans": {"1-2": [], "0-1": [], "1-3": []},
    }  # fmt: skip


def test_the_untuned_model_alone_and_one_example(command: Command) -> None:
    result = command("untuned", count=["1"])
    assert list(result["runs"]) == ["untuned"]
    assert list(result["runs"]["untuned"]["answers"]) == result["examples"] == ["bridged"]
    assert result["failures"] == {}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"adapters": []}, "the adapters are of the runs none, the scores ask for m/t/real/seed4"),
        ({"predictions": ["predictions/m/t/untuned/seed0/plain.jsonl"]},
         "the predictions are of the runs m/t/untuned/seed0, the scores ask for m/t/real/seed4, "),
        ({"length": ["350"]}, "bridged was answered from 344 tokens and is shown in 317"),
        ({"count": ["5"]}, "plain.jsonl has no answer to fourth"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(
    command: Command, study: Path, capsys: Any, flags: dict[str, Any], message: str
) -> None:
    (study / "attention/m/t.json").unlink(missing_ok=True)
    with pytest.raises(SystemExit):
        command("real", "untuned", **flags)
    assert not (study / "attention/m/t.json").exists()
    said = capsys.readouterr().err
    assert message in said.rpartition("error: ")[2]
    assert "loaded the base model" not in said


def test_two_seeds_of_a_variant_are_refused(
    command: Command, study: Path, tmp_path: Path, capsys: Any
) -> None:
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    runs = []
    for kind in ("adapters", "heads", "predictions"):
        shutil.copytree(tmp_path / kind / "m/t/real/seed4", tmp_path / kind / "m/t/real/seed5")
        runs.append([f"{kind}/m/t/real/seed{seed}" for seed in (4, 5)])
    with pytest.raises(SystemExit):
        command(
            "real",
            folder=tmp_path,
            adapters=runs[0],
            scores=[f"{run}/validation.json" for run in runs[1]],
            predictions=[f"{run}/plain.jsonl" for run in runs[2]],
        )
    assert "one training seed of each variant" in capsys.readouterr().err.rpartition("error: ")[2]
