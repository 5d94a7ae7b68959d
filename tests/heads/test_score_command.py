"""The command that scores heads, end to end: one load of the base, a file for every adapter."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from needlework import adapters, models, provenance
from needlework.corpora.jsonl import read_questions
from needlework.evaluation.metrics import judge
from needlework.examples import write_examples
from needlework.heads.kinds import KINDS
from needlework.heads.probe import Probe
from needlework.heads.score_file import read_scores
from needlework.heads.scores import score_heads

Run = Callable[[str], None]

_QUESTIONS: list[dict[str, Any]] = [
    {
        "id": "port",
        "documents": ["Ships moor in Callao, near Lima.", {"text": "It rains.", "title": "Rain"}],
        "question": "Where do ships moor?",
        "answers": ["Callao"],
    },
    {
        "id": "metal",
        "documents": ["Tin is from Oruro.", "Oruro is far from here, and Tin is heavy."],
        "question": "What is from Oruro?",
        "answers": "Tin",
        "needles": [
            {"document": 0, "start": 0, "end": 3},
            {"document": 1, "start": 0, "end": 5, "role": "bridge"},
        ],
    },
    {"id": "long", "documents": ["a lot " * 900 + "Lima"], "question": "?", "answers": ["Lima"]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_base: models.Base) -> Path:
    """Questions, and two adapters of the tiny model with the record that training leaves."""
    folder = tmp_path_factory.mktemp("score")
    lines = "".join(f"{json.dumps(question)}\n" for question in _QUESTIONS)
    (folder / "mine.jsonl").write_text(lines, encoding="utf-8")
    base = models.base_of(tiny_base.path)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    for seed, name in enumerate(["a", "b"]):
        torch.manual_seed(seed)
        tuned = get_peft_model(models.load_model(base, dtype="float32"), config)
        tuned.save_pretrained(folder / name)
        record = json.dumps({"base": base.model_dump()} | ({"seed": 7} if name == "a" else {}))
        (folder / name / "training.json").write_text(record, encoding="utf-8")
    return folder


@pytest.fixture
def run(root: Path, folder: Path, tiny_base: models.Base, tmp_path: Path, monkeypatch: Any) -> Run:
    """Run the command on the base model with the flags of a line; IN and OUT are folders."""
    script = str(root / "scripts" / "score_heads.py")

    def run(flags: str) -> None:
        given = flags.replace("IN", str(folder)).replace("OUT", str(tmp_path)).split()
        arguments = ["--base", tiny_base.path, "--max-new-tokens", "4", *given]
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")

    return run


def test_scores_of_ones_own_questions(
    run: Run, folder: Path, tiny_base: models.Base, tmp_path: Path
) -> None:
    run("--questions IN/mine.jsonl --output OUT/new/heads.json")
    found = read_scores(tmp_path / "new/heads.json")
    assert [instance.id for instance in found.instances] == ["port", "metal"]
    assert found.failures == {"longer than the length": ["long"]}
    assert set(found.measures) == {
        f"{kind}/{role}" for kind in KINDS for role in ("answer", "bridge")
    }
    base = models.base_of(tiny_base.path)
    expected = score_heads(
        models.load_model(base, dtype="float32"), models.load_tokenizer(base),
        read_questions(folder / "mine.jsonl"), Probe(4096, 4), correct=judge("jsonl"), metadata={},
    )  # fmt: skip
    assert found.instances == expected.instances
    for name, scores in expected.measures.items():
        np.testing.assert_array_equal(found.measures[name], scores)


def test_the_file_says_what_its_scores_belong_to(
    run: Run, folder: Path, tiny_base: models.Base, tmp_path: Path
) -> None:
    run(
        "--questions IN/mine.jsonl --adapter IN/a --output OUT/heads.json --length 3000 --batch 2"
        " --kind mass --role bridge --answers gold --instances correct --mass-rows question"
        " --mass-span document --null-question"
    )
    base = models.base_of(tiny_base.path)
    metadata = read_scores(tmp_path / "heads.json").metadata
    assert metadata == {
        "base": base.model_dump(),
        "adapter": str(folder / "a"),
        "adapter_sha256": provenance.file_hash(folder / "a" / "adapter_model.safetensors"),
        "seed": 7,
        "examples": "mine.jsonl",
        "examples_sha256": provenance.file_hash(folder / "mine.jsonl"),
        "template_sha256": provenance.value_hash(models.load_tokenizer(base).chat_template),
        "attention": "sdpa",
        "dtype": "float32",
        "device": "cpu",
        "versions": provenance.versions(),
        "probe": {
            "length": 3000, "max_new_tokens": 4, "kind": "mass", "role": "bridge",
            "instances": "correct", "answers": "gold", "mass_rows": "question",
            "mass_span": "document", "null_question": True, "batch": 2, "null_text": "N/A",
        },
    }  # fmt: skip
    assert {"torch", "transformers", "peft", "python"} <= set(metadata["versions"])


def test_adapters_share_one_load_and_score_as_they_do_alone(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = "--questions IN/mine.jsonl"
    for name in ("a", "b"):
        run(f"{questions} --adapter IN/{name} --output OUT/alone-{name}.json")
    run(f"{questions} --output OUT/untuned.json")
    assert capsys.readouterr().err.count("loaded the base model") == 3
    run(f"{questions} --adapter IN/a IN/b --output OUT/a.json OUT/b.json")
    assert capsys.readouterr().err.count("loaded the base model") == 1
    for name in ("a", "b"):
        alone = (tmp_path / f"alone-{name}.json").read_bytes()
        assert (tmp_path / f"{name}.json").read_bytes() == alone
    a, b, untuned = (read_scores(tmp_path / f"{name}.json") for name in ("a", "b", "untuned"))
    hashes = [each.metadata["adapter_sha256"] for each in (a, b, untuned)]
    assert hashes == [*(adapters.adapter_hash(folder / name) for name in ("a", "b")), None]
    assert [each.metadata["seed"] for each in (a, b, untuned)] == [7, None, None]
    for one, other in ((a, b), (a, untuned), (b, untuned)):
        difference = one.measures["mass/answer"] - other.measures["mass/answer"]
        assert np.abs(difference).max() > 1e-4


def test_a_file_that_is_there_is_replaced(run: Run, tmp_path: Path) -> None:
    run("--questions IN/mine.jsonl --output OUT/heads.json")
    first = (tmp_path / "heads.json").read_bytes()
    (tmp_path / "heads.json").write_bytes(first + first)
    run("--questions IN/mine.jsonl --output OUT/heads.json")
    assert (tmp_path / "heads.json").read_bytes() == first


def test_examples_of_a_study_score_as_the_questions_they_were(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    write_examples(tmp_path / "validation.jsonl", read_questions(folder / "mine.jsonl"))
    run("--examples OUT/validation.jsonl --output OUT/examples.json")
    run("--questions IN/mine.jsonl --output OUT/questions.json")
    examples, questions = (read_scores(tmp_path / f"{n}.json") for n in ("examples", "questions"))
    assert examples.instances == questions.instances
    np.testing.assert_array_equal(examples.of(), questions.of())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--adapter IN/a IN/b --output OUT/a.json", "2 adapters and 1 outputs"),
        ("--adapter IN/a --output OUT/a.json OUT/b.json", "1 adapters and 2 outputs"),
        ("--output OUT/a.json OUT/b.json", "0 adapters and 2 outputs"),
        ("--adapter IN/a IN/b --output OUT/a.json OUT/a.json", "two outputs are one file"),
    ],
)
def test_every_adapter_has_an_output_of_its_own(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    with pytest.raises(SystemExit):
        run(f"--questions IN/mine.jsonl {flags}")
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--questions IN/mine.jsonl --null-question", "null_question takes mass_rows: question"),
        ("--questions IN/mine.jsonl --kind copied", "there is no kind 'copied'; known: copy"),
        ("--questions OUT/empty.jsonl", r"empty\.jsonl has no row"),
    ],
)
def test_what_cannot_be_is_refused_before_the_model_is_loaded(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(SystemExit):
        run(f"{flags} --output OUT/heads.json")
    said = capsys.readouterr().err
    assert re.search(message, said.rpartition("error: ")[2])
    assert "loaded the base model" not in said
    assert not (tmp_path / "heads.json").exists()
