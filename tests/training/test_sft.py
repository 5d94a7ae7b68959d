"""Training a tiny model for real: what is learned from, what is written, and going on after a kill.

The examples are short, so that one training takes about a second.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from needlework import models
from needlework.adapters import attach
from needlework.examples import Document, Example, Needle, read_examples, write_examples
from needlework.provenance import file_hash
from needlework.rendering.prompt import render
from needlework.training import sft
from needlework.training.sft import SftSettings, train

_LENGTH = 420
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]
_ADAPTER = "adapter_model.safetensors"
_SETTINGS: dict[str, Any] = {
    "rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": _TARGETS, "learning_rate": 1e-2,
    "schedule": "linear", "warmup": 0.0, "weight_decay": 0.0, "epochs": 2.0, "batch": 4,
    "batch_per_device": 1, "validation_loss": True, "gradient_checkpointing": False,
}  # fmt: skip

Train = Callable[..., Path]


def _example(number: int) -> Example:
    """A question about one of two towns; prompts and answers are of different lengths."""
    answer = f"{'very ' * (number % 3)}old bell {number}"
    texts = [f"The town {number} has the {answer}.", f"No bell hangs in town {'x' * number}."]
    documents = [
        Document(id=f"d{i}", title="", text=text, gold=i == 0) for i, text in enumerate(texts)
    ]
    start = texts[0].index(answer)
    needle = Needle(document="d0", start=start, end=start + len(answer), role="answer")
    return Example(
        id=f"e{number}", task="t", variant="real", question=f"What has town {number}?",
        answers=[answer], documents=documents[:: 1 - 2 * (number % 2)], needles=[needle],
        cluster=f"c{number}", source={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training examples (no multiple of the batch) and three for the validation loss."""
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder / "train.jsonl", map(_example, range(10)))
    write_examples(folder / "validation.jsonl", map(_example, range(20, 23)))
    return folder


@pytest.fixture(scope="module")
def trained(tiny_base: models.Base, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains with some settings changed; returns the folder of the adapter."""

    def run(*, seed: int = 0, checkpoints: Path | None = None, **changed: Any) -> Path:
        folder = tmp_path_factory.mktemp("run")
        train(
            tiny_base, data / "train.jsonl", data / "validation.jsonl", folder / "adapter",
            length=_LENGTH, dtype="float32", device="cpu", seed=seed,
            settings=SftSettings(**_SETTINGS | changed),
            checkpoints=checkpoints or folder / "checkpoints",
        )  # fmt: skip
        return folder / "adapter"

    return run


@pytest.fixture(scope="module")
def plain(trained: Train) -> Path:
    return trained()


def _losses(adapter: Path) -> list[float]:
    rows = [json.loads(line) for line in (adapter / "log.jsonl").open(encoding="utf-8")]
    return [row["loss"] for row in rows if "loss" in row]


def _record(adapter: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
    return record


def _trainer(
    base: models.Base, examples: list[Example], folder: Path, **changed: Any
) -> tuple[Any, Any]:
    """The trainer that `train` runs, and the rows that it was given."""
    tokenizer = models.load_tokenizer(base)
    rows = sft._rows(examples, tokenizer, 4000)
    trainer = sft._trainer(
        base, rows, rows, tokenizer, folder,
        dtype="float32", device="cpu", seed=0, settings=SftSettings(**_SETTINGS | changed),
    )  # fmt: skip
    return trainer, rows


# --- What the loss sees ------------------------------------------------------------------------


def test_the_answer_and_its_end_are_labelled_and_nothing_else(
    tiny_base: models.Base, data: Path
) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    examples = read_examples(data / "train.jsonl")
    rows = sft._rows(examples, tokenizer, _LENGTH)
    for example, row in zip(examples, rows, strict=True):
        ids, labels = row["input_ids"], row["labels"]
        answer = [label for label in labels if label != -100]
        assert tokenizer.decode(answer) == f" {example.answers[0]}<|im_end|>"
        # They are the last tokens, and the prompt before them is what evaluation shows.
        assert ids[-len(answer) :] == labels[-len(answer) :] == answer
        assert ids[: -len(answer)] == render(example, tokenizer, _LENGTH).prompt
        assert tokenizer.decode(ids[: -len(answer)]).endswith("assistant\nAnswer:")


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_trainer_keeps_these_rows_whole(
    tiny_base: models.Base, tmp_path: Path, split: str
) -> None:
    """Padding has the token of the end: it must not be learned, and the end must.

    One example is longer than the 1,024 tokens after which the trainer would cut by itself.
    """
    examples = [_example(number) for number in [*range(10), 2000]]
    trainer, rows = _trainer(tiny_base, examples, tmp_path, batch_per_device=4)
    given = {tuple(row["input_ids"]): row["labels"] for row in rows}
    assert max(map(len, given)) > 2000
    seen: dict[tuple[int, ...], list[int]] = {}
    padded = 0
    for batch in getattr(trainer, f"get_{split}_dataloader")():
        for ids, mask, labels in zip(
            batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True
        ):
            assert (labels[~mask] == -100).all()
            padded += int((~mask).sum())
            seen[tuple(ids[mask].tolist())] = labels[mask].tolist()
    assert padded
    assert seen == given


def test_an_example_that_does_not_fit_is_refused(
    tiny_base: models.Base, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"e0: the question and its gold documents take \d+ tok"):
        train(
            tiny_base, data / "train.jsonl", data / "validation.jsonl", tmp_path / "adapter",
            length=100, dtype="float32", device="cpu", seed=0, settings=SftSettings(**_SETTINGS),
            checkpoints=tmp_path / "checkpoints",
        )  # fmt: skip
    assert not (tmp_path / "adapter").exists()


# --- What is trained ---------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [_TARGETS, ["q_proj", "v_proj"]])
def test_only_lora_on_the_target_modules_is_trained(
    tiny_base: models.Base, tmp_path: Path, targets: list[str]
) -> None:
    trainer, _ = _trainer(tiny_base, [_example(0)], tmp_path, target_modules=targets)
    trainable = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    wanted = {
        f"base_model.model.model.layers.{layer}.self_attn.{target}.lora_{side}.default.weight"
        for layer in range(tiny_base.layers)
        for target in targets
        for side in "AB"
    }
    assert trainable == wanted


def test_the_adapter_is_all_that_was_trained(tiny_base: models.Base, plain: Path) -> None:
    assert sorted(path.name for path in plain.iterdir()) == [
        "adapter_config.json", _ADAPTER, "log.jsonl", "training.json",
    ]  # fmt: skip
    weights = load_file(plain / _ADAPTER)
    assert len(weights) == tiny_base.layers * len(_TARGETS) * 2
    assert all("self_attn" in name and "lora_" in name for name in weights)
    assert all(weight.any() for weight in weights.values())
    config = json.loads((plain / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.0)
    # The weights on disk that all variants share are as they were.
    assert file_hash(Path(tiny_base.path) / "model.safetensors") == tiny_base.weights_sha256


def test_the_record_says_what_was_done(tiny_base: models.Base, data: Path, plain: Path) -> None:
    record = _record(plain)
    assert models.Base.model_validate(record["base"]) == tiny_base
    assert record["data"] == {
        f"{name}.jsonl": file_hash(data / f"{name}.jsonl") for name in ("train", "validation")
    }
    assert record["settings"] == _SETTINGS
    assert set(_SETTINGS) == {field.name for field in fields(SftSettings)}
    assert (record["length"], record["dtype"], record["seed"]) == (_LENGTH, "float32", 0)
    assert record["examples"] == {"train": 10, "validation": 3}
    assert record["steps"] == 2 * math.ceil(10 / 4) == len(_losses(plain))
    tokenizer = models.load_tokenizer(tiny_base)
    rendered = [render(e, tokenizer, _LENGTH) for e in read_examples(data / "train.jsonl")]
    assert record["tokens"] == {
        "prompt": sum(len(r.prompt) for r in rendered),
        "answer": sum(len(r.answer) for r in rendered),
    }
    weights = load_file(plain / _ADAPTER).values()
    assert record["trainable_parameters"] == sum(weight.numel() for weight in weights)


def test_what_was_trained_is_what_loads(tiny_base: models.Base, data: Path, plain: Path) -> None:
    """The validation loss of the record, computed anew from the files, one example at a time."""
    model = attach(models.load_model(tiny_base, dtype="float32"), tiny_base, {"plain": plain})
    tokenizer = models.load_tokenizer(tiny_base)
    losses = []
    for example in read_examples(data / "validation.jsonl"):
        rendered = render(example, tokenizer, _LENGTH)
        with torch.no_grad():
            logits = model(torch.tensor([rendered.prompt + rendered.answer])).logits[0]
        answer = torch.tensor(rendered.answer)
        places = logits[len(rendered.prompt) - 1 : -1]  # each position predicts the next token
        losses.append(float(torch.nn.functional.cross_entropy(places, answer)))
    assert _record(plain)["validation_loss"] == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_the_validation_loss_can_be_left_out(trained: Train, plain: Path) -> None:
    adapter = trained(validation_loss=False)
    assert _record(adapter)["validation_loss"] is None
    assert file_hash(adapter / _ADAPTER) == file_hash(plain / _ADAPTER)


def test_the_loss_falls(trained: Train) -> None:
    """The head of the random model is small and not trained, so the loss cannot go below 4.3."""
    losses = _losses(trained(epochs=6.0, learning_rate=2e-2))
    assert losses[0] == pytest.approx(math.log(258), rel=0.02)  # it knew nothing
    assert sum(losses[-3:]) / 3 < losses[0] - 0.25


# --- The same again ----------------------------------------------------------------------------


def test_a_seed_gives_the_same_bytes_and_another_seed_others(trained: Train, plain: Path) -> None:
    torch.manual_seed(99)  # what was drawn before must not matter
    assert file_hash(trained() / _ADAPTER) == file_hash(plain / _ADAPTER)
    other = trained(seed=1)
    assert file_hash(other / _ADAPTER) != file_hash(plain / _ADAPTER)
    assert _losses(other) != _losses(plain)


@pytest.mark.parametrize("changed", [{"batch_per_device": 4}, {"gradient_checkpointing": True}])
def test_what_only_saves_time_or_memory_does_not_change_the_training(
    trained: Train, plain: Path, changed: dict[str, Any]
) -> None:
    """Ten examples in batches of four: the last step of an epoch has two."""
    other = trained(**changed)
    assert _losses(other) == pytest.approx(_losses(plain), rel=1e-4)
    weights, expected = load_file(other / _ADAPTER), load_file(plain / _ADAPTER)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-2, atol=1e-4)


def test_a_batch_that_cannot_be_split_is_refused() -> None:
    assert SftSettings(**_SETTINGS | {"batch": 6, "batch_per_device": 3}).accumulation == 2
    with pytest.raises(ValueError, match="batch 4 is no multiple of batch_per_device 3"):
        _ = SftSettings(**_SETTINGS | {"batch_per_device": 3}).accumulation


# --- Going on after a kill ---------------------------------------------------------------------

_LONG = {"epochs": 12.0}


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert sft._newest_checkpoint(tmp_path / "none") is None
    for step in (2, 10, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").touch()
    (tmp_path / "checkpoint-12").mkdir()  # killed while it was written
    assert sft._newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def _command(base: models.Base, data: Path, output: Path, checkpoints: Path) -> list[str]:
    flags: list[str] = []
    for name, value in (_SETTINGS | _LONG).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            flags += [flag] * value
        else:
            flags += [flag, *map(str, value if isinstance(value, list) else [value])]
    return [
        "scripts/train_adapter.py", "--base", str(Path(base.path).parent / "base.json"),
        "--dataset", str(data), "--output", str(output), "--checkpoints", str(checkpoints),
        "--length", str(_LENGTH), "--seed", "0", *flags,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def killed(
    tiny_base: models.Base, data: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoints of a training that was killed once it had written one."""
    folder = tmp_path_factory.mktemp("killed")
    command = _command(tiny_base, data, folder / "adapter", folder / "checkpoints")
    log = folder / "log"
    with log.open("w", encoding="utf-8") as file:
        environment = os.environ | {"PYTHONPATH": str(root)}
        process = subprocess.Popen(
            [sys.executable, *command], cwd=root, env=environment, stderr=file
        )
    try:
        while not list(folder.glob("checkpoints/*/checkpoint-*/trainer_state.json")):
            try:
                code = process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"it ended with {code} before a checkpoint: {log.read_text()}")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL  # it was not at its end yet
    assert not (folder / "adapter").exists()
    return folder / "checkpoints"


def test_a_killed_training_ends_as_if_it_had_not_been_killed(
    trained: Train, killed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(killed, checkpoints)
    resumed = trained(checkpoints=checkpoints, **_LONG)
    err = capfd.readouterr().err
    assert "going on from" in err
    assert "step 1 of" not in err  # what was done is not done again
    whole = trained(**_LONG)
    err = capfd.readouterr().err
    assert "going on from" not in err
    assert "step 1 of" in err
    assert file_hash(resumed / _ADAPTER) == file_hash(whole / _ADAPTER)
    assert _losses(resumed) == _losses(whole)
    assert _record(resumed) == _record(whole)
    assert not checkpoints.exists()


def test_checkpoints_of_another_training_are_not_taken(
    trained: Train, killed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(killed, checkpoints)
    other = trained(checkpoints=checkpoints, seed=1)
    assert "going on from" not in capfd.readouterr().err
    assert file_hash(other / _ADAPTER) == file_hash(trained(seed=1) / _ADAPTER)
    assert not checkpoints.exists()
