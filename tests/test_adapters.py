"""Adapters: what is attached is whole and belongs to the base, and one at a time is in use.

An adapter whose weights found no place, or on another RoPE base, gives plausible numbers; so each
of these cases is made here with real weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors.torch import load_file, save_file
from torch import Tensor

from needlework import models
from needlework.adapters import adapter_hash, attach, merged, using
from needlework.attention.layers import attention_layers
from needlework.interventions.masking import masked, mean_outputs
from needlework.interventions.record import Intervention

_IDS = torch.tensor([[0, 40, 41, 42, 250, 7, 7, 99]])
_WEIGHTS = "adapter_model.safetensors"
Weights = dict[str, Tensor]


def _logits(model: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(_IDS).logits
    return logits


def _tuned(base: models.Base, folder: Path) -> Any:
    return attach(models.load_model(base, dtype="float32"), base, {"default": folder})


def _with_theta(base: models.Base, folder: Path, theta: float) -> Path:
    shutil.copytree(base.path, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"]["rope_theta"] = theta
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def adapter(tiny_adapter: Path) -> Path:
    """An adapter of the tiny model that changes it."""
    return tiny_adapter


@pytest.fixture
def copied(adapter: Path, tmp_path: Path) -> Path:
    """A copy of the adapter to damage."""
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


def test_an_adapter_changes_the_model_and_is_all_loaded(
    tiny_base: models.Base, adapter: Path
) -> None:
    plain = models.load_model(tiny_base, dtype="float32")
    tuned = _tuned(tiny_base, adapter)
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
    tuned = _tuned(tiny_base, copied)
    torch.testing.assert_close(_logits(tuned), _logits(plain), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope", {"rope_theta": 6315088.0, "rope_type": "default"}),
        ("sliding_window", 1024),
        ("context", {"method": "theta", "length": 32768}),
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
        _tuned(tiny_base, copied)
    assert repr(value) in str(caught.value)
    assert repr(getattr(tiny_base, key)) in str(caught.value)


def test_a_record_from_before_contexts_is_of_a_model_as_published(
    tiny_base: models.Base, copied: Path
) -> None:
    record = tiny_base.model_dump()
    del record["context"]
    (copied / "training.json").write_text(json.dumps({"base": record}), encoding="utf-8")
    _tuned(tiny_base, copied)
    context = {"method": "theta", "trained_length": 4096, "length": 8192, "theta": 1e4}
    with pytest.raises(ValueError, match=r"was trained with context = None, .*'theta'"):
        _tuned(tiny_base.model_copy(update={"context": context}), copied)


def test_a_changed_rope_base_refuses_the_adapter(
    tiny_base: models.Base, copied: Path, tmp_path: Path
) -> None:
    """The whole way: the same folder, with theta edited between training and scoring."""
    source = _with_theta(tiny_base, tmp_path / "source", 10_000.0)
    trained_on = models.prepare(str(source), tmp_path)
    record = {"base": trained_on.model_dump()}
    (copied / "training.json").write_text(json.dumps(record), encoding="utf-8")
    _tuned(trained_on, copied)
    shutil.rmtree(source)
    _with_theta(tiny_base, source, 500_000.0)
    edited = models.prepare(str(source), tmp_path)
    with pytest.raises(ValueError, match="was trained with rope"):
        _tuned(edited, copied)


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
        _tuned(tiny_base, copied)


def test_the_hash_of_an_adapter_is_of_its_weights(adapter: Path, copied: Path) -> None:
    assert adapter_hash(None) is None
    assert adapter_hash(copied) == adapter_hash(adapter)
    weights = load_file(copied / _WEIGHTS)
    weights[sorted(weights)[0]][0, 0] += 1
    save_file(weights, copied / _WEIGHTS)
    assert adapter_hash(copied) != adapter_hash(adapter)


def test_a_merged_adapter_needs_no_adapter(tiny_base: models.Base, adapter: Path) -> None:
    model = merged(models.load_model(tiny_base, dtype="float32"), tiny_base, adapter)
    assert not hasattr(model, "peft_config")
    assert {name.split(".")[-1] for name, _ in model.named_parameters()} == {"weight"}
    torch.testing.assert_close(_logits(model), _logits(_tuned(tiny_base, adapter)))


# --- Several adapters on one base --------------------------------------------------------------


@pytest.fixture
def several(tiny_base: models.Base, adapter: Path, copied: Path) -> Any:
    """The tiny model with the adapters "one" and "two"."""
    doubled = {name: 2 * weight for name, weight in load_file(copied / _WEIGHTS).items()}
    save_file(doubled, copied / _WEIGHTS)
    model = models.load_model(tiny_base, dtype="float32")
    return attach(model, tiny_base, {"one": adapter, "two": copied})


def test_each_adapter_is_as_it_is_alone(
    several: Any, tiny_base: models.Base, adapter: Path, copied: Path
) -> None:
    plain = models.load_model(tiny_base, dtype="float32")
    found = {}
    for name in ("two", None, "one"):
        with using(several, name):
            found[name] = _logits(several)
    assert torch.equal(found[None], _logits(plain))
    assert torch.equal(found["one"], _logits(_tuned(tiny_base, adapter)))
    assert torch.equal(found["two"], _logits(_tuned(tiny_base, copied)))
    assert not torch.equal(found["one"], found["two"])


def test_the_adapter_in_use_is_put_back(several: Any) -> None:
    first = _logits(several)
    with pytest.raises(ZeroDivisionError), using(several, "two"):
        raise ZeroDivisionError
    with using(several, None):
        pass
    assert torch.equal(_logits(several), first)
    assert not any(weight.requires_grad for weight in several.parameters())


def test_a_model_without_adapters_is_itself(tiny_base: models.Base) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    assert attach(model, tiny_base, {}) is model
    with using(model, None):
        _logits(model)
    with pytest.raises(ValueError, match="'one' is not attached"), using(model, "one"):
        pass


# --- Adapters of whole weights -----------------------------------------------------------------

_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]


@pytest.fixture(scope="module")
def whole(tiny_base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters that hold all attention weights, in float32."""
    return [_whole(tiny_base, tmp_path_factory.mktemp("whole"), seed) for seed in (1, 2)]


def _whole(base: models.Base, folder: Path, seed: int) -> Path:
    config = LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=_MODULES)
    model = get_peft_model(models.load_model(base, dtype="float32"), config)
    torch.manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.05 * torch.randn_like(weight)
    model.save_pretrained(folder)
    record = {"base": base.model_dump(), "seed": seed}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def _with_whole(base: models.Base, folder: Path, dtype: str = "float32") -> Any:
    """The base model with the weights of a file in the place of its own."""
    model = models.load_model(base, dtype=dtype)
    for name, weight in load_file(folder / _WEIGHTS).items():
        place = name.removeprefix("base_model.model.").replace(".modules_to_save", "")
        model.get_parameter(place).data = weight.to(model.dtype)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_whole_weights_stand_in_for_the_models_own(
    tiny_base: models.Base, whole: list[Path], dtype: str
) -> None:
    saved = load_file(whole[0] / _WEIGHTS)
    assert len(saved) == 2 * len(_MODULES)
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    model = models.load_model(tiny_base, dtype=dtype)
    tuned = attach(model, tiny_base, {"one": whole[0], "two": whole[1]})
    # Cast to the precision of the model: layers of two precisions do not run.
    assert {weight.dtype for weight in tuned.parameters()} == {getattr(torch, dtype)}
    for name, folder in (("two", whole[1]), ("one", whole[0])):
        with using(tuned, name):
            assert torch.equal(_logits(tuned), _logits(_with_whole(tiny_base, folder, dtype)))
    with using(tuned, None):
        assert torch.equal(_logits(tuned), _logits(models.load_model(tiny_base, dtype=dtype)))
    assert not any(weight.requires_grad for weight in tuned.parameters())


def test_a_whole_weight_that_is_missing_is_noticed(
    tiny_base: models.Base, whole: list[Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole[0], tmp_path / "adapter"))
    weights = load_file(folder / _WEIGHTS)
    _rename_one(weights)
    save_file(weights, folder / _WEIGHTS)
    with pytest.raises(ValueError, match=r"has no '.*k_proj\.weight'; was it trained on another"):
        _tuned(tiny_base, folder)


def test_whole_and_low_rank_adapters_do_not_mix(
    tiny_base: models.Base, adapter: Path, whole: list[Path]
) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    message = r"whole weights \(full\) and low-rank ones \(lora\) cannot be put on one model"
    with pytest.raises(ValueError, match=message):
        attach(model, tiny_base, {"lora": adapter, "full": whole[0]})


def test_heads_of_a_model_with_whole_weights_are_masked_as_in_the_model_itself(
    tiny_base: models.Base, whole: list[Path]
) -> None:
    tuned, itself = _tuned(tiny_base, whole[0]), _with_whole(tiny_base, whole[0])
    layers = attention_layers(tuned)
    assert [layer and (layer.heads, layer.kv_heads) for layer in layers] == [(4, 2), (4, 2)]
    for layer in layers:
        assert layer is not None
        assert layer.projection is layer.module.o_proj
    for kind in ("zero", "uniform", "mean"):
        mask = Intervention(
            action="mask", chosen="top", heads=["0-1", "1-2"], wanted=2, kind=kind, during="both"
        )
        found = {}
        for name, model in (("tuned", tuned), ("itself", itself)):
            means = mean_outputs(model, [(_IDS, torch.ones_like(_IDS))])
            with masked(model, mask, means):
                found[name] = _logits(model)
        torch.testing.assert_close(found["tuned"], found["itself"])
        assert (found["tuned"] - _logits(tuned)).abs().max() > 1e-4  # the mask does something
