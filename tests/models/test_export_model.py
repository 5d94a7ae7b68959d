"""A merged folder is an ordinary model: transformers alone gives the adapter's logits from it."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from needlework import models
from needlework.adapters import adapter_hash, attach
from needlework.provenance import file_hash

_IDS = torch.tensor([[0, 40, 41, 42, 250, 7, 7, 99]])
_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]


def _logits(model: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(_IDS).logits
    return logits


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> models.Base:
    """A model with a window, extended from 4,096 to 16,384 tokens."""
    asked = models.ContextExtension("theta", None, 16384)
    return models.prepare("tiny-random-mistral", tmp_path_factory.mktemp("base"), context=asked)


@pytest.fixture(scope="module", params=["lora", "full"])
def adapter(request: Any, base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of low rank, and one of whole weights."""
    config = (
        LoraConfig(r=2, target_modules=_MODULES, init_lora_weights=False)
        if request.param == "lora"
        else LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=_MODULES)
    )
    torch.manual_seed(0)
    model = get_peft_model(models.load_model(base, dtype="float32"), config)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn_like(weight)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    record = {"base": base.model_dump(), "seed": 5}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture
def export(
    root: Path, base: models.Base, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Runs the script, and gives the folder it writes."""
    record = Path(base.path).parent / "base.json"

    def exported(*flags: str) -> Path:
        folder = tmp_path / "merged"
        given = ["--base", str(record), "--adapter", str(adapter), "--output", str(folder), *flags]
        monkeypatch.setattr(sys, "argv", ["export_model.py", *given])
        runpy.run_path(str(root / "scripts/export_model.py"), run_name="__main__")
        return folder

    return exported


def test_the_merged_folder_gives_the_adapters_logits(
    export: Callable[..., Path], base: models.Base, adapter: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(export())
    tuned = attach(models.load_model(base, dtype="float32"), base, {"a": adapter})
    torch.testing.assert_close(_logits(model), _logits(tuned), rtol=0, atol=1e-5)
    plain = models.load_model(base, dtype="float32")
    assert (_logits(model) - _logits(plain)).abs().max() > 0.01  # the control


def test_the_merged_folder_reaches_as_far(export: Callable[..., Path], base: models.Base) -> None:
    folder = export()
    model = AutoModelForCausalLM.from_pretrained(folder)
    theta = models.extended_theta(10_000, 4096, 16384)
    assert base.context is not None
    assert base.context["theta"] == theta
    expected = theta ** (-torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, expected, rtol=1e-5, atol=0)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == theta
    assert (config["max_position_embeddings"], config["sliding_window"]) == (16384, 2048)
    # It is a base like any other.
    assert models.load_model(models.base_of(folder), dtype="float32")


def test_the_tokenizer_is_the_bases(export: Callable[..., Path], base: models.Base) -> None:
    folder = export()
    names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    for name in names:
        assert not (folder / name).is_symlink()
        assert file_hash(folder / name) == file_hash(Path(base.path) / name)
    assert AutoTokenizer.from_pretrained(folder).decode([40]) != ""


def test_the_readme_says_where_it_came_from(
    export: Callable[..., Path], base: models.Base, adapter: Path
) -> None:
    folder = export()
    text = (folder / "README.md").read_text(encoding="utf-8")
    for cell in (
        base.source, base.weights_sha256, adapter_hash(adapter), "5",
        file_hash(folder / "model.safetensors"), base.sliding_window,
    ):  # fmt: skip
        assert f"| {cell} |" in text


def test_another_precision_is_written_and_said(export: Callable[..., Path]) -> None:
    folder = export("--dtype", "bfloat16")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"
    weights = load_file(folder / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_a_base_as_published_gets_both_forms_of_theta(
    tiny_base: models.Base, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own config.json, saved by transformers 5, says nothing to older tools."""
    config = LoraConfig(r=2, target_modules=_MODULES)
    get_peft_model(models.load_model(tiny_base, dtype="float32"), config).save_pretrained(tmp_path)
    (tmp_path / "training.json").write_text(json.dumps({"base": tiny_base.model_dump()}))
    record, output = Path(tiny_base.path).parent / "base.json", tmp_path / "merged"
    flags = ["--base", str(record), "--adapter", str(tmp_path), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["export_model.py", *flags])
    runpy.run_path(str(root / "scripts/export_model.py"), run_name="__main__")
    published, written = (
        json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        for folder in (tiny_base.path, output)
    )
    assert "rope_theta" not in published
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 10_000
    assert written["rope_scaling"] is None
