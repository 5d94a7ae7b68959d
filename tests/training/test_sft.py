"""Training a tiny model for real: what is trained, what is written, and what is refused.

The examples are short, so that one training takes about a second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from needlework import models
from needlework.adapters import attach
from needlework.examples import read_examples
from needlework.models.shapes import shape_of
from needlework.provenance import file_hash
from needlework.rendering.prompt import render
from needlework.training.rows import chosen, rows_of
from needlework.training.settings import SftSettings
from needlework.training.throughput import training_flops
from needlework.training.trainer import Place, make_trainer
from tests.listing import names
from tests.training.trainings import (
    ADAPTER,
    LENGTH,
    SETTINGS,
    TARGETS,
    example,
    losses,
    record,
    settings,
    weights,
)

Train = Callable[..., Path]


def _trainable(base: models.Base, folder: Path, **changed: Any) -> set[str]:
    """Names of the weights that a trainer would train."""
    tokenizer = models.load_tokenizer(base)
    rows = rows_of([example(0)], tokenizer, LENGTH)
    trainer = make_trainer(
        base, {"train": rows, "validation": rows}, tokenizer, folder,
        Place(LENGTH, "float32", "cpu", "sdpa", 1, 0), settings(**changed), [],
    )  # fmt: skip
    return {n for n, p in trainer.model.named_parameters() if p.requires_grad}


# --- What is trained ---------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [TARGETS, ["q_proj", "v_proj"]])
def test_only_lora_on_the_target_modules_is_trained(
    tiny_base: models.Base, tmp_path: Path, targets: list[str]
) -> None:
    assert _trainable(tiny_base, tmp_path, target_modules=targets) == {
        f"base_model.model.model.layers.{layer}.self_attn.{target}.lora_{side}.default.weight"
        for layer in range(tiny_base.layers)
        for target in targets
        for side in "AB"
    }


def test_all_linear_is_all_but_the_head(tiny_base: models.Base, tmp_path: Path) -> None:
    names = _trainable(tiny_base, tmp_path, target_modules="all-linear")
    modules = {name.split(".lora_")[0].rpartition(".")[2] for name in names}
    assert modules == {*TARGETS, "gate_proj", "up_proj", "down_proj"}


def test_a_module_that_is_not_there_is_named(tiny_base: models.Base, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['v_porj'\] are not in the model; it has .*'v_proj'"):
        _trainable(tiny_base, tmp_path, target_modules=["q_proj", "v_porj"])


def test_the_loss_falls(trained: Train) -> None:
    """The head of the random model is small and not trained, so the loss cannot go below 4.3."""
    found = losses(trained(epochs=6.0, learning_rate=2e-2))
    assert found[0] == pytest.approx(math.log(258), rel=0.02)  # it knew nothing
    assert sum(found[-3:]) / 3 < found[0] - 0.25


# --- What is written ---------------------------------------------------------------------------


def test_the_adapter_is_all_that_was_trained(tiny_base: models.Base, plain: Path) -> None:
    assert names(plain) == [
        "adapter_config.json", ADAPTER, "log.jsonl", "training.json",
    ]  # fmt: skip
    found = weights(plain)
    assert len(found) == tiny_base.layers * len(TARGETS) * 2
    assert all("self_attn" in name and "lora_" in name for name in found)
    assert all(weight.any() for weight in found.values())
    config = json.loads((plain / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.0)
    # The weights on disk that all variants share are as they were.
    assert file_hash(Path(tiny_base.path) / "model.safetensors") == tiny_base.weights_sha256


def test_the_record_says_what_was_done(tiny_base: models.Base, data: Path, plain: Path) -> None:
    found = record(plain)
    assert models.Base.model_validate(found["base"]) == tiny_base
    assert found["data"] == {
        f"{name}.jsonl": file_hash(data / f"{name}.jsonl") for name in ("train", "validation")
    }
    assert found["settings"] == SETTINGS
    assert set(SETTINGS) == {field.name for field in fields(SftSettings)}
    assert (found["length"], found["dtype"], found["seed"]) == (LENGTH, "float32", 0)
    assert (found["attention"], found["processes"], found["deepspeed"]) == ("sdpa", 1, None)
    assert found["checkpointing"] == "none"
    assert found["examples"] == {"train": 10, "validation": 3}
    assert found["steps"] == 2 * math.ceil(10 / 4) == len(losses(plain))
    tokenizer = models.load_tokenizer(tiny_base)
    rendered = [render(e, tokenizer, LENGTH) for e in read_examples(data / "train.jsonl")]
    assert found["tokens"] == {
        "prompt": sum(len(r.prompt) for r in rendered),
        "answer": sum(len(r.answer) for r in rendered),
    }
    assert found["trainable_parameters"] == sum(w.numel() for w in weights(plain).values())
    curve = [[step, loss] for step, loss in enumerate(losses(plain), start=1)]
    assert found["loss"] == {"first": curve[0][1], "last": curve[-1][1], "curve": curve}


def test_the_record_says_how_fast_it_was(tiny_base: models.Base, data: Path, plain: Path) -> None:
    """Two epochs over all tokens; of what was computed, the bytes and the name, what must hold."""
    found = record(plain)
    assert found["resumed_at_step"] is None
    tokens = 2 * sum(found["tokens"].values())
    assert found["tokens_per_second"] == pytest.approx(tokens / found["seconds"])
    tokenizer = models.load_tokenizer(tiny_base)
    rendered = [render(e, tokenizer, LENGTH) for e in read_examples(data / "train.jsonl")]
    a_pass = training_flops(
        shape_of(models.load_model(tiny_base, dtype="float32").config),
        [r.length for r in rendered], [len(r.answer) for r in rendered],
        method="lora", target_modules=TARGETS, rank=4, checkpointing="none",
    )  # fmt: skip
    assert found["flops"] == pytest.approx(2 * a_pass)
    rate = found["flops"] / found["seconds"] / 1e12
    assert found["tflops_per_second"] == pytest.approx(rate)
    assert found["roofline_share"] is None  # no peak of a CPU is known
    assert found["peak_memory_bytes"] > 100e6  # torch alone takes more
    assert found["device"]
    assert found["versions"]["trl"]


def test_what_was_trained_is_what_loads(tiny_base: models.Base, data: Path, plain: Path) -> None:
    """The validation loss of the record, computed anew from the files, one example at a time."""
    model = attach(models.load_model(tiny_base, dtype="float32"), tiny_base, {"plain": plain})
    tokenizer = models.load_tokenizer(tiny_base)
    found = []
    for shown in read_examples(data / "validation.jsonl"):
        rendered = render(shown, tokenizer, LENGTH)
        with torch.no_grad():
            logits = model(torch.tensor([rendered.prompt + rendered.answer])).logits[0]
        answer = torch.tensor(rendered.answer)
        places = logits[len(rendered.prompt) - 1 : -1]  # each position predicts the next token
        found.append(float(torch.nn.functional.cross_entropy(places, answer)))
    assert record(plain)["validation_loss"] == pytest.approx(sum(found) / 3, rel=1e-4)


def test_the_validation_loss_can_be_left_out(trained: Train, plain: Path) -> None:
    adapter = trained(validation_loss=False)
    assert record(adapter)["validation_loss"] is None
    assert file_hash(adapter / ADAPTER) == file_hash(plain / ADAPTER)


def test_fewer_examples_are_trained_on_and_counted(
    tiny_base: models.Base, data: Path, trained: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    found = record(trained(examples=5, epochs=1.0))
    assert found["examples"] == {"train": 5, "validation": 3}
    assert found["steps"] == 2
    tokenizer = models.load_tokenizer(tiny_base)
    five = chosen(read_examples(data / "train.jsonl"), 5, file_hash(data / "train.jsonl"))
    prompt = sum(len(render(e, tokenizer, LENGTH).prompt) for e in five)
    assert found["tokens"]["prompt"] == prompt
    answer = found["tokens"]["answer"]
    said = capfd.readouterr().err
    assert f"5 examples, {prompt:,} prompt and {answer:,} answer tokens\n" in said
    # Every token went through the model.
    assert found["tokens_per_second"] * found["seconds"] == pytest.approx(prompt + answer)


# --- What is refused ---------------------------------------------------------------------------


def test_an_example_that_does_not_fit_is_refused(trained: Train, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"e0: the question and its gold documents take \d+ tok"):
        trained(folder=tmp_path, length=100)
    assert not (tmp_path / "adapter").exists()


def test_a_batch_that_cannot_be_split_is_refused() -> None:
    assert settings(batch=6, batch_per_device=3).accumulation(1) == 2
    assert settings(batch=16, batch_per_device=2).accumulation(4) == 2
    with pytest.raises(ValueError, match=r"batch 4 is no multiple of 6 \(batch_per_device 3 x 2 p"):
        settings(batch_per_device=3).accumulation(2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "qlora"}, "method 'qlora'; expected lora or full"),
        ({"method": "full", "target_modules": "all-linear"}, "all-linear goes with method lora"),
        ({"target_modules": "q_proj"}, "target_modules 'q_proj'; expected a list"),
        ({"activation_checkpointing": "some"}, "activation_checkpointing 'some'; expected none"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changed)
