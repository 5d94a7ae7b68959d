"""The studies of the papers: planned as they are, and run end to end on tiny models."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from needlework.evaluation.predict import read_predictions

PAPERS = ["paper", "artificial-needles"]
ENDS = ("a", "en", "ic", "ok", "um")
STARTS = ("Bar", "Dol", "Fen", "Gam", "Hur", "Kel", "Lon", "Mir")


def offline() -> dict[str, str]:
    """An environment in which every address leads nowhere."""
    nowhere = dict.fromkeys(["http_proxy", "https_proxy", "HTTPS_PROXY"], "http://127.0.0.1:9")
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | nowhere | {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent"}


def run(folder: Path, study: Path, *arguments: str, **variables: str) -> str:
    """Snakemake's output; `variables` are of its environment."""
    done = subprocess.run(
        ["snakemake", "--cores", "2", "--configfile", str(study), *arguments],
        cwd=folder, env=offline() | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def jobs(output: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^([a-z]\w+) +(\d+)$", output, re.MULTILINE)}


@pytest.mark.parametrize("name", PAPERS)
def test_a_study_is_planned_without_a_network(
    root: Path, clone: Callable[[], Path], name: str
) -> None:
    output = run(clone(), Path(f"studies/{name}.yaml"), "--dry-run")
    study = yaml.safe_load((root / f"studies/{name}.yaml").read_text(encoding="utf-8"))
    found, seeds = jobs(output), len(study["training_seeds"])
    trained = [task for task, keys in study["tasks"].items() if "trained_on" not in keys]
    runs = len(study["variants"]) + len(study.get("controls", {}))
    assert found["train_adapter"] == len(study["models"]) * len(trained) * runs * seeds
    assert found["total"] > found["train_adapter"] * 3
    assert re.search(r"time on one GPU: about [\d.]+ h", output)
    assert "TFLOP/s" in output
    assert re.search(r"disk: about [\d.]+ [GT]B", output, re.IGNORECASE)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


def questions(path: Path) -> str:
    """Questions on invented towns, in the layout of Lost in the Middle."""
    towns = [f"{start}{end}" for start, end in product(STARTS, ENDS)]
    rows = []
    for place, town in enumerate(towns):
        river = f"{town[::-1].capitalize()}a"
        text = f"The town of {town} lies on the river {river} since year {1200 + 7 * place}."
        gold = {"title": town, "text": text, "hasanswer": True, "isgold": True}
        question = f"which river is {town} on"
        rows.append({"question": question, "answers": [river], "ctxs": [gold]})
    return written(path, rows)


def passages(path: Path) -> str:
    kinds, sold = ("tea", "salt", "wool", "tin", "oats"), ("spring", "summer", "autumn", "winter")
    texts = [f"Much {kind} is sold here in {when} of year {n}."
             for n, kind, when in product(range(10), kinds, sold)]  # fmt: skip
    return written(path, [{"title": f"Market {n}", "text": text} for n, text in enumerate(texts)])


def small(root: Path, folder: Path, name: str) -> dict[str, Any]:
    """A study of a paper, on a tiny Llama and a tiny Mistral and made-up questions, few of each."""
    study: dict[str, Any] = yaml.safe_load((root / f"studies/{name}.yaml").read_text("utf-8"))
    extended = {"trained_length": 1024}
    study["name"], study["length"], study["training_seeds"] = f"small-{name}", 2048, [0]
    study["models"] = {
        "llama": {"source": "tiny-random-llama", "context": extended},
        "mistral": {"source": "tiny-random-mistral", "context": extended},
    }
    mdqa = study["tasks"]["mdqa"]
    mdqa |= {"train": 6, "validation": 3, "test": 4, "positions": {"documents": 5, "gold": [1, 5]}}
    mdqa |= {"path": questions(folder / "q.jsonl"), "passages": passages(folder / "p.jsonl")}
    mdqa.pop("spare", None)
    study["tasks"] = {"mdqa": mdqa}
    study["compute"] = {"threads": 1, "dtype": "float32"}
    study["generator"] = {}
    study["training"] |= {"batch": 2, "epochs": 1}
    study["probe"] = {"kind": "mass", "top": 2, "max_new_tokens": 4}
    study["evaluation"] |= {"max_new_tokens": 4}
    if "lengths" in study["evaluation"]:
        study["evaluation"]["lengths"] = [1024]
    study.pop("general")
    return study


def statistics(folder: Path, study: dict[str, Any], name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / study["name"] / "statistics" / f"{name}.csv")


@pytest.fixture(scope="module")
def paper(root: Path, clone: Callable[[], Path]) -> tuple[Path, dict[str, Any]]:
    """The study of Zhao et al., run small."""
    folder = clone()
    study = small(root, folder, "paper")
    study["variants"] = ["real", "low_low"]
    study["controls"] = {
        "real-all-modules": study["controls"]["real-all-modules"],
        "real-short": {"variant": "real", "length": 512},
        "low_low-few": {"variant": "low_low", "examples": 2},
    }
    study["masking"] |= {"variants": ["real"], "top": [1], "draws": 1, "test_examples": 2}
    study["patching"] |= {"draws": 1, "test_examples": 2, "heads": "top"}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    run(folder, path)
    return folder, study


def adapters(folder: Path, study: dict[str, Any], model: str) -> dict[str, dict[str, Any]]:
    """The record of every run of a model."""
    found = (folder / "results" / study["name"] / "adapters" / model).rglob("training.json")
    return {path.parts[-3]: json.loads(path.read_text(encoding="utf-8")) for path in found}


def test_every_run_reads_the_extended_context(paper: tuple[Path, dict[str, Any]]) -> None:
    folder, study = paper
    for model, window in (("llama", None), ("mistral", 1024)):
        base = folder / "results" / study["name"] / "models" / model / "base.json"
        record = json.loads(base.read_text(encoding="utf-8"))
        assert record["rope"]["rope_theta"] == 35_020  # of 10000, from 1024 to 2048 tokens
        assert record["sliding_window"] == window
        for trained in adapters(folder, study, model).values():
            assert trained["base"] == record


def test_controls_differ_in_what_they_say(paper: tuple[Path, dict[str, Any]]) -> None:
    folder, study = paper
    for model in study["models"]:
        found = adapters(folder, study, model)
        assert set(found) == {"real", "low_low", *study["controls"]}
        assert found["real-all-modules"]["settings"]["target_modules"] == "all-linear"
        assert (found["real-short"]["length"], found["real"]["length"]) == (512, 2048)
        assert found["real-short"]["tokens"]["prompt"] < found["real"]["tokens"]["prompt"] / 2
        assert found["low_low-few"]["examples"]["train"] == 2
        assert found["low_low"]["examples"]["train"] == 6


def test_every_view_of_the_test_is_scored(paper: tuple[Path, dict[str, Any]]) -> None:
    folder, study = paper
    scores = statistics(folder, study, "scores")
    views = {"length1024", "position1of5", "position5of5"}
    wanted = {"plain", "closed_book", "random", *views, *(f"random-{view}" for view in views)}
    assert set(scores["condition"]) == wanted
    runs = 2 * (1 + 2 + 3) * 3  # models, runs of each, metrics
    assert (scores.groupby("condition").size() == runs).all()
    assert (scores["n"] == 4).all()
    depths = statistics(folder, study, "depths")
    assert set(depths["condition"]) == wanted
    predictions = folder / "results" / study["name"] / "predictions/llama/mdqa/real/seed0"
    for place, name in ((1, "position1of5"), (5, "random-position5of5")):
        for row in read_predictions(predictions / f"{name}.jsonl"):
            assert (row["gold"], row["documents"]) == ([place], 5)


def test_what_was_trained_is_summed_up(paper: tuple[Path, dict[str, Any]]) -> None:
    folder, study = paper
    training = statistics(folder, study, "training")
    assert len(training) == 2 * 5
    assert (training["attention"] == "sdpa").all()
    page = (folder / "results" / study["name"] / "report.html").read_text(encoding="utf-8")
    assert "sdpa" in page
    assert "position5of5" in page


def test_artificial_needles_runs_small(root: Path, clone: Callable[[], Path]) -> None:
    folder = clone()
    study = small(root, folder, "artificial-needles")
    study["models"].pop("llama")
    study["variants"] = ["real", "kv_simple_template"]
    study["tasks"]["jsonl"] = {
        "train": 1, "validation": 1, "test": 2, "trained_on": "mdqa",
        "path": written(
            folder / "own.jsonl",
            [{"question": f"Where is {n}?", "answers": "in Lima",
              "documents": [f"Number {n} is in Lima.", "Nothing is here."]} for n in range(12)],
        ),
    }  # fmt: skip
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    run(folder, path)
    found = adapters(folder, study, "mistral")
    assert set(found) == {"real", "kv_simple_template"}
    for record in found.values():
        assert record["settings"]["method"] == "full"
        assert record["settings"]["learning_rate"] == 5e-6
    scores = statistics(folder, study, "scores")
    assert set(scores["task"]) == {"mdqa", "jsonl"}
    assert {"untuned", "real", "kv_simple_template"} == set(scores["variant"])
    asked = folder / "results" / study["name"] / "predictions/mistral/jsonl/real/seed0/plain.jsonl"
    assert len(read_predictions(asked)) == 2
