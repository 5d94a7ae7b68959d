"""Base models and adapters: what loads is what the record says, and what does not fit is refused.

A base that quietly runs with another RoPE base, or an adapter whose weights found no place, gives
plausible numbers; so each of these cases is made here with real weights.
"""

from __future__ import annotations

import json
import os
import shutil
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from needlework import models
from needlework.provenance import file_hash

_IDS = torch.tensor([[0, 40, 41, 42, 250, 7, 7, 99]])
_WEIGHTS = "adapter_model.safetensors"
Weights = dict[str, Tensor]


def _logits(model: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(_IDS).logits
    return logits


@pytest.fixture(scope="module")
def adapter(tiny_base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the tiny model that changes it, with the record that training leaves."""
    folder = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    get_peft_model(models.load_model(tiny_base, dtype="float32"), config).save_pretrained(folder)
    record = {"base": tiny_base.model_dump()}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    """A copy of the adapter to damage."""
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


# --- What a source is --------------------------------------------------------------------------


def test_a_source_is_bundled_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    assert models.kind_of("smollm2-135m-instruct") == "bundled"
    assert models.kind_of("tiny-random-llama") == "bundled"
    assert models.kind_of(str(tmp_path)) == "folder"
    assert models.kind_of("mistralai/Mistral-7B-Instruct-v0.1") == "hub"


def test_a_folder_counts_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert models.kind_of("owner/name") == "hub"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert models.kind_of("owner/name") == "folder"


@pytest.mark.parametrize("source", ["smollm2-135m-instrct", "./models/none", "/none/here", "a/b/c"])
def test_anything_else_is_refused_by_name(source: str) -> None:
    with pytest.raises(ValueError, match="no bundled model") as caught:
        models.kind_of(source)
    assert repr(source) in str(caught.value)


def test_a_slip_of_the_pen_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'smollm2-135m-instruct'"):
        models.kind_of("smollm2-135-instruct")
    with pytest.raises(ValueError, match="no bundled model") as caught:
        models.kind_of("xyzzy")
    assert "Did you mean" not in str(caught.value)


def test_positions_are_known_without_loading(tiny_base: models.Base, tmp_path: Path) -> None:
    assert models.positions("tiny-random-llama") == tiny_base.positions == 4096
    assert models.positions(tiny_base.path) == 4096
    assert models.positions("owner/name") is None
    with pytest.raises(ValueError, match=r"has no config\.json"):
        models.positions(str(tmp_path))


# --- Preparing and loading a base --------------------------------------------------------------


def test_the_record_is_read_back_as_it_was_written(tiny_base: models.Base) -> None:
    weights = Path(tiny_base.path)
    assert models.Base.read(weights.parent / "base.json") == tiny_base
    assert tiny_base.kind == "bundled"
    assert (tiny_base.layers, tiny_base.heads, tiny_base.sliding_window) == (2, 4, None)
    assert tiny_base.weights_sha256 == file_hash(weights / "model.safetensors")


def test_bundled_weights_are_the_same_each_time(tiny_base: models.Base, tmp_path: Path) -> None:
    torch.manual_seed(123)  # what was drawn before must not matter
    assert models.prepare("tiny-random-llama", tmp_path).weights_sha256 == tiny_base.weights_sha256


def test_a_folder_loads_as_the_bundled_model_in_it(
    tiny_base: models.Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A study names a folder relative to where it starts; a job may run elsewhere.
    monkeypatch.chdir(Path(tiny_base.path).parent)
    folder = models.prepare("weights", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert folder.kind == "folder"
    assert not (tmp_path / "weights").exists()  # it stays where it is
    model, same = (models.load_model(base, dtype="float32") for base in (tiny_base, folder))
    torch.testing.assert_close(_logits(model), _logits(same), rtol=0, atol=0)
    assert not model.training


@pytest.mark.parametrize("theta", [10_000.0, 8_000_000.0])
def test_the_rotary_frequencies_are_those_of_the_record(
    tiny_base: models.Base, tmp_path: Path, theta: float
) -> None:
    base = models.prepare(str(_with_theta(tiny_base, tmp_path / "source", theta)), tmp_path)
    assert base.rope["rope_theta"] == theta
    model = models.load_model(base, dtype="float32")
    size = model.config.head_dim
    expected = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    torch.testing.assert_close(
        model.model.rotary_emb.inv_freq.double(), expected, rtol=1e-6, atol=0
    )


def _with_theta(base: models.Base, folder: Path, theta: float) -> Path:
    shutil.copytree(base.path, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"]["rope_theta"] = theta
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_model_that_changed_since_its_record_is_refused(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    source = _with_theta(tiny_base, tmp_path / "source", 10_000.0)
    base = models.prepare(str(source), tmp_path)
    shutil.rmtree(source)
    _with_theta(tiny_base, source, 500_000.0)
    with pytest.raises(ValueError, match=r"has rope = .*500000\.0.* by now, its record .*10000\.0"):
        models.load_model(base, dtype="float32")


def test_a_record_without_its_weights_says_what_to_do(tmp_path: Path) -> None:
    models.prepare("tiny-random-llama", tmp_path)
    shutil.rmtree(tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match=r"Delete .*base\.json.* prepare 'tiny-random-ll"):
        models.Base.read(tmp_path / "base.json")


def test_weights_that_vanish_alone_are_named(tmp_path: Path) -> None:
    base = models.prepare("tiny-random-llama", tmp_path)
    (tmp_path / "weights" / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        models.load_model(base, dtype="float32")


def test_the_tokenizer_is_exact_and_pads(tiny_base: models.Base) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    text = "São Tomé, 9 August 1965 …\n"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.pad_token_id is not None
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_token_id]


def test_a_tokenizer_without_padding_pads_with_the_end(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(tiny_base.path, folder)
    tokenizer = models.load_tokenizer(tiny_base)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    loaded = models.load_tokenizer(models.prepare(str(folder), tmp_path))
    assert loaded.pad_token == loaded.eos_token == "<|im_end|>"


@pytest.mark.slow
def test_the_bundled_smollm2_becomes_an_ordinary_checkpoint(tmp_path: Path) -> None:
    base = models.prepare("smollm2-135m-instruct", tmp_path)
    assert (base.layers, base.heads, base.positions) == (30, 9, 8192)
    assert base.rope["rope_theta"] == 100_000
    assert models.positions("smollm2-135m-instruct") == base.positions
    tokenizer = models.load_tokenizer(base)
    model = models.load_model(base, dtype="float32")
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        best = int(model(ids).logits[0, -1].argmax())
    assert tokenizer.decode([best]) == " Paris"


# --- Adapters ----------------------------------------------------------------------------------


def test_an_adapter_changes_the_model_and_is_all_loaded(
    tiny_base: models.Base, adapter: Path
) -> None:
    plain = models.load_model(tiny_base, dtype="float32")
    tuned = models.load_model(tiny_base, dtype="float32", adapter=adapter)
    assert not tuned.training
    assert (_logits(tuned) - _logits(plain)).abs().max() > 0.01
    # The sum of base and adapter, computed by hand, gives the same model.
    saved = load_file(adapter / _WEIGHTS)
    scale = json.loads((adapter / "adapter_config.json").read_text())["lora_alpha"] / 2
    for name, a in saved.items():
        if "lora_A" in name:
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            b = saved[name.replace("lora_A", "lora_B")]
            plain.get_submodule(module).weight.data += scale * b @ a
    torch.testing.assert_close(_logits(tuned), _logits(plain), rtol=1e-4, atol=1e-5)


def test_an_adapter_without_effect_leaves_the_model_alone(
    tiny_base: models.Base, copied: Path
) -> None:
    """The control of the test above: what changes the logits is the adapter's own weights."""
    zeros = {name: torch.zeros_like(w) for name, w in load_file(copied / _WEIGHTS).items()}
    save_file(zeros, copied / _WEIGHTS)
    plain = models.load_model(tiny_base, dtype="float32")
    tuned = models.load_model(tiny_base, dtype="float32", adapter=copied)
    torch.testing.assert_close(_logits(tuned), _logits(plain), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope", {"rope_theta": 6315088.0, "rope_type": "default"}),
        ("sliding_window", 1024),
        ("weights_sha256", "0" * 64),
        ("revision", "main"),
        ("source", "smollm2-135m-instruct"),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    tiny_base: models.Base, copied: Path, key: str, value: Any
) -> None:
    record = {"base": tiny_base.model_dump() | {key: value}}
    (copied / "training.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=f"was trained with {key} = .*train it again") as caught:
        models.load_model(tiny_base, dtype="float32", adapter=copied)
    assert repr(value) in str(caught.value)
    assert repr(getattr(tiny_base, key)) in str(caught.value)


def test_a_changed_rope_base_refuses_the_adapter(
    tiny_base: models.Base, copied: Path, tmp_path: Path
) -> None:
    """The whole way: the same folder, with theta edited between training and scoring."""
    source = _with_theta(tiny_base, tmp_path / "source", 10_000.0)
    trained_on = models.prepare(str(source), tmp_path)
    record = {"base": trained_on.model_dump()}
    (copied / "training.json").write_text(json.dumps(record), encoding="utf-8")
    models.load_model(trained_on, dtype="float32", adapter=copied)
    shutil.rmtree(source)
    _with_theta(tiny_base, source, 500_000.0)
    edited = models.prepare(str(source), tmp_path)
    with pytest.raises(ValueError, match="was trained with rope"):
        models.load_model(edited, dtype="float32", adapter=copied)


def _lose_one(weights: Weights) -> None:
    del weights[sorted(weights)[0]]


def _gain_one(weights: Weights) -> None:
    name = sorted(weights)[0]
    weights[name.replace("layers.0", "layers.7")] = weights[name].clone()


def _rename_one(weights: Weights) -> None:
    name = sorted(weights)[0]
    weights[name.replace("self_attn", "attention")] = weights.pop(name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lose_one, "0 saved weights found no place in the model and 1 places got none"),
        (_gain_one, "1 saved weights found no place in the model and 0 places got none"),
        (_rename_one, "1 saved weights found no place in the model and 1 places got none"),
    ],
)
@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # PEFT only warns
def test_an_adapter_that_does_not_fit_is_refused(
    tiny_base: models.Base, copied: Path, damage: Callable[[Weights], None], message: str
) -> None:
    weights = load_file(copied / _WEIGHTS)
    damage(weights)
    save_file(weights, copied / _WEIGHTS)
    with pytest.raises(ValueError, match=message):
        models.load_model(tiny_base, dtype="float32", adapter=copied)


def test_the_hash_of_an_adapter_is_of_its_weights(adapter: Path, copied: Path) -> None:
    assert models.adapter_hash(None) is None
    assert models.adapter_hash(copied) == models.adapter_hash(adapter)
    weights = load_file(copied / _WEIGHTS)
    weights[sorted(weights)[0]][0, 0] += 1
    save_file(weights, copied / _WEIGHTS)
    assert models.adapter_hash(copied) != models.adapter_hash(adapter)


# --- What the commands share -------------------------------------------------------------------


def test_the_compute_flags_default_to_a_laptop() -> None:
    parser = ArgumentParser()
    models.add_compute_flags(parser)
    assert vars(parser.parse_args([])) == {"device": "cpu", "dtype": "float32", "threads": 1}


def test_threads_are_limited_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "7")  # so that the present values come back afterwards
    before = torch.get_num_threads()
    try:
        models.limit_threads(1)
        assert torch.get_num_threads() == 1
        assert [os.environ[name] for name in names] == ["1", "1", "1"]
    finally:
        torch.set_num_threads(before)
