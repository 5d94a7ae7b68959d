"""Base models and adapters: what loads is what the record says, and what does not fit is refused.

A base that quietly runs with another RoPE base, or an adapter whose weights found no place, gives
plausible numbers; so each of these cases is made here with real weights.
"""

from __future__ import annotations

import json
import os
import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
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
    assert models.base_of(weights).weights_sha256 == tiny_base.weights_sha256


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
