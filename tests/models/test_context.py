"""A longer context: the numbers of the paper, and a folder that every tool reads alike.

Tools differ in which keys of config.json they believe, and a key that is not believed is ignored
in silence; so each form is read here, by transformers and by a reader of the older keys.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from needlework import models
from needlework.attention.layers import attention_layers
from needlework.models.context import METHODS, ContextExtension, extended_theta, with_rope
from needlework.provenance import file_hash


def _older(folder: Path) -> dict[str, Any]:
    """A folder's positions as tools that know no `rope_parameters` read them (transformers 4.57).

    `rope_scaling` names what happens to the frequencies of `rope_theta`, which is 10,000 unless the
    config says otherwise.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    scaling = config.get("rope_scaling") or {}
    return {
        "theta": config.get("rope_theta", 10000.0),
        "type": scaling.get("rope_type", scaling.get("type", "default")),
        "factor": scaling.get("factor"),
        "original": scaling.get("original_max_position_embeddings"),
        "positions": config["max_position_embeddings"],
        "window": config.get("sliding_window"),
    }


@pytest.fixture
def extend(tmp_path: Path) -> Any:
    """Extends a base model, and gives its folder and its record."""

    def extended(base: models.Base, *asked: Any, **also: Any) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / "extended"
        return folder, models.write_extended(
            Path(base.path), folder, ContextExtension(*asked, **also)
        )

    return extended


def _changed(base: models.Base, folder: Path, **keys: Any) -> models.Base:
    """A copy of a base model with other keys in its config.json; None takes one out."""
    shutil.copytree(base.path, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | keys
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return base.model_copy(update={"path": str(folder)})


# --- The formula -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "expected"),
    [
        (500_000, (1_776_948, 6_315_088, 22_443_169)),  # Llama-3; 32K: Zhao et al.
        (10_000, (24_351, 59_300, 144_406)),  # Mistral-v0.1; 32K: Zhao et al.
        (100_000, (304_201, 925_386, 2_815_042)),  # SmolLM2
    ],
)
def test_theta_is_that_of_the_paper(theta: float, expected: tuple[int, ...]) -> None:
    assert tuple(extended_theta(theta, 8192, 8192 * n) for n in (2, 4, 8)) == expected


def test_theta_keeps_the_slowest_whole_period_in_its_place() -> None:
    """What the formula means: the share of dimensions that turn once in the context stays."""

    def share(theta: float, length: int) -> float:
        return math.log(length / (2 * math.pi)) / math.log(theta)

    longer = extended_theta(5e5, 8192, 32768)  # cut to a whole number
    assert math.isclose(share(5e5, 8192), share(longer, 32768), rel_tol=1e-7)


# --- What is written ---------------------------------------------------------------------------


def test_the_method_of_the_paper(tiny_mistral_base: models.Base, extend: Any) -> None:
    """Mistral's numbers: 8K to 32K, theta 10,000 to 59,300, and a window four times as wide."""
    folder, record = extend(tiny_mistral_base, "theta", 8192, 32768)
    assert record == {
        "method": "theta", "trained_length": 8192, "length": 32768, "theta": 59300.0,
        "window": 4 * 512,
    }  # fmt: skip
    config = AutoConfig.from_pretrained(folder)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 59300.0}
    assert (config.max_position_embeddings, config.sliding_window) == (32768, 2048)
    assert _older(folder) == {
        "theta": 59300.0, "type": "default", "factor": None, "original": None,
        "positions": 32768, "window": 2048,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "original", "positions"),
    # Dynamic scaling counts from the positions of the config: they stay.
    [("linear", None, 16384), ("dynamic", None, 4096), ("yarn", 4096, 16384)],
)
def test_scalings_have_the_factor_of_the_lengths(
    tiny_base: models.Base, extend: Any, method: str, original: int | None, positions: int
) -> None:
    folder, record = extend(tiny_base, method, None, 16384)
    assert record == {
        "method": method, "trained_length": 4096, "length": 16384, "theta": 10000.0, "window": None
    }  # fmt: skip
    asked = {"rope_type": method, "rope_theta": 10000.0, "factor": 4.0}
    asked |= {"original_max_position_embeddings": original} if original else {}
    config = AutoConfig.from_pretrained(folder)
    assert config.rope_parameters == asked
    assert config.max_position_embeddings == positions
    assert _older(folder) == {
        "theta": 10000.0, "type": method, "factor": 4.0, "original": original,
        "positions": positions, "window": None,
    }  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_older_keys_alone_say_the_same(tiny_base: models.Base, extend: Any, method: str) -> None:
    folder, _ = extend(tiny_base, method, None, 16384)
    asked = AutoConfig.from_pretrained(folder).rope_parameters
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert AutoConfig.from_pretrained(folder).rope_parameters == asked


def test_dynamic_scaling_sets_in_beyond_the_trained_length(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    """Positions raised to the new length would switch it off, and nothing would say so."""
    base = models.prepare(
        tiny_base.path, tmp_path, context=ContextExtension("dynamic", 16, 64, window="keep")
    )
    model = models.load_model(base, dtype="float32")
    before = model.model.rotary_emb.inv_freq.clone()
    with torch.no_grad():
        model(torch.zeros(1, 16, dtype=torch.long))
        assert torch.equal(model.model.rotary_emb.inv_freq, before)
        model(torch.zeros(1, 64, dtype=torch.long))
    # base * (factor * length / trained - (factor - 1)) ** (d / (d - 2)), with head size d = 16.
    theta = 10000 * (4 * 64 / 16 - 3) ** (16 / 14)
    expected = theta ** (-torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, expected, rtol=1e-5, atol=0)


def test_the_rest_of_a_folder_is_linked(tiny_base: models.Base, extend: Any) -> None:
    folder, _ = extend(tiny_base, "theta", None, 16384)
    source = Path(tiny_base.path)
    names = {file.name for file in source.iterdir()}
    assert {file.name for file in folder.iterdir()} == names
    for name in names - {"config.json"}:
        assert (folder / name).is_symlink()
        assert (folder / name).resolve() == (source / name).resolve()
    ours, theirs = (json.loads((d / "config.json").read_text()) for d in (folder, source))
    changed = {key for key in ours if key not in theirs or ours[key] != theirs[key]}
    assert changed == {"rope_parameters", "rope_theta", "rope_scaling", "max_position_embeddings"}
    assert AutoTokenizer.from_pretrained(folder)("ab")["input_ids"]
    assert AutoModelForCausalLM.from_pretrained(folder).config.rope_parameters["rope_theta"] > 1e4


def test_what_was_there_before_is_gone_and_its_source_is_not(
    tiny_base: models.Base, extend: Any
) -> None:
    folder, _ = extend(tiny_base, "theta", None, 16384)
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"of another model")
    weights = file_hash(folder / "model.safetensors")
    extend(tiny_base, "theta", None, 8192)
    assert [file.name for file in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert file_hash(Path(tiny_base.path) / "model.safetensors") == weights
    with pytest.raises(ValueError, match="is the model itself; extend it into another folder"):
        models.write_extended(folder, folder, ContextExtension("theta", None, 65536))
    assert (folder / "model.safetensors").exists()


def test_pickles_and_code_are_not_linked(
    tiny_base: models.Base, tmp_path: Path, extend: Any
) -> None:
    base = _changed(tiny_base, tmp_path / "source")
    for name in ("pytorch_model.bin", "modeling_own.py"):
        (tmp_path / "source" / name).write_bytes(b"")
    folder, _ = extend(base, "theta", None, 16384)
    assert not {file.suffix for file in folder.iterdir()} & {".bin", ".py"}


def test_a_gpt_neox_keeps_its_own_names(tmp_path: Path) -> None:
    """Its older keys are other ones, and transformers 5 reads `rope_scaling` without rope_theta."""
    (tmp_path / "neox").mkdir()
    config = {
        "model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4,
        "rotary_pct": 0.5, "rotary_emb_base": 10000, "max_position_embeddings": 2048,
    }  # fmt: skip
    (tmp_path / "neox/config.json").write_text(json.dumps(config))
    for method, theta in (("theta", extended_theta(10000, 2048, 8192)), ("linear", 10000.0)):
        asked = ContextExtension(method, None, 8192)  # type: ignore[arg-type]
        models.write_extended(tmp_path / "neox", tmp_path / "extended", asked)
        rope = AutoConfig.from_pretrained(tmp_path / "extended").rope_parameters
        assert (rope["rope_theta"], rope["partial_rotary_factor"]) == (theta, 0.5)
        older = json.loads((tmp_path / "extended/config.json").read_text())
        assert (older["rotary_emb_base"], older["rotary_pct"]) == (theta, 0.5)


def test_a_partial_rotation_is_said_in_both_forms() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5}
    config = with_rope({"model_type": "phi"}, rope)
    assert config["partial_rotary_factor"] == 0.5
    assert config["rope_scaling"] is None


# --- Theta and windows as given ----------------------------------------------------------------


def test_a_theta_that_is_given_is_taken(tiny_base: models.Base, extend: Any) -> None:
    folder, record = extend(tiny_base, "theta", None, 16384, theta=123456.5)
    assert record["theta"] == _older(folder)["theta"] == 123456.5


@pytest.mark.parametrize(("window", "expected"), [("scale", 2048), ("keep", 512), (1000, 1000)])
def test_windows(tiny_mistral_base: models.Base, extend: Any, window: Any, expected: int) -> None:
    folder, record = extend(tiny_mistral_base, "linear", 4096, 16384, window=window)
    assert record["window"] == _older(folder)["window"] == expected


def test_a_window_that_is_switched_off_stays_off(tmp_path: Path) -> None:
    """Qwen2 names a window that it does not use."""
    (tmp_path / "qwen").mkdir()
    config = {
        "model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False,
        "max_position_embeddings": 4096, "rope_theta": 10000.0,
    }  # fmt: skip
    (tmp_path / "qwen/config.json").write_text(json.dumps(config))
    asked = ContextExtension("theta", None, 8192)
    record = models.write_extended(tmp_path / "qwen", tmp_path / "extended", asked)
    assert record["window"] is None
    assert AutoConfig.from_pretrained(tmp_path / "extended").sliding_window is None


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "also", "message"),
    [
        (
            ("theta", None, 4096),
            {},
            r"length: got 4096, not above the trained length 4096 \(the po",
        ),
        (("yarn", 8192, 8000), {}, r"length: got 8000, not above .* 8192 \(as given\)"),
        (("linear", None, 8192), {"theta": 1e6}, r"theta: got 1000000\.0, but only method theta"),
        (("theta", None, 8192), {"window": 99}, "window: got 99, but .* has no sliding window"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tiny_base: models.Base, extend: Any, asked: Any, also: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        extend(tiny_base, *asked, **also)


_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 1024,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama", "rope_parameters": _LLAMA3}, "scaled by 'llama3' already"),
        (
            {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0}},
            "scaled by 'linear' already",
        ),
        ({"model_type": "gpt2"}, r"\(gpt2\) has no rotary positions to extend"),
        (
            {"model_type": "gemma3_text"},
            r"of its own for each kind of layer \(sliding_attention, full_attention\)",
        ),
        ({"model_type": "gemma3"}, "is a model of more than text"),
    ],
)
def test_a_model_that_cannot_be_extended_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        models.write_extended(
            tmp_path, tmp_path / "extended", ContextExtension("theta", 8192, 262144)
        )
    assert "leave context out" in str(caught.value)
    assert not (tmp_path / "extended").exists()


# --- Preparing, as a study does ----------------------------------------------------------------


def test_an_extended_bundled_model_is_prepared_and_loaded(tmp_path: Path) -> None:
    asked = ContextExtension("theta", 4096, 16384)
    base = models.prepare("tiny-random-mistral", tmp_path, context=asked)
    assert base.path == str(tmp_path / "weights")
    assert (base.kind, base.positions, base.sliding_window) == ("bundled", 16384, 2048)
    assert base.rope == {"rope_type": "default", "rope_theta": extended_theta(1e4, 4096, 16384)}
    assert base.context is not None
    assert base.context["theta"] == base.rope["rope_theta"]
    assert models.Base.read(tmp_path / "base.json") == base
    assert base.weights_sha256 == file_hash(tmp_path / "published/model.safetensors")
    model = models.load_model(base, dtype="float32")
    expected = base.rope["rope_theta"] ** (-torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, expected, rtol=1e-5, atol=0)
    assert [layer and layer.window for layer in attention_layers(model)] == [2048, 2048]


def test_a_link_to_nothing_is_named(tiny_base: models.Base, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(tiny_base.path, source)
    models.prepare(str(source), tmp_path, context=ContextExtension("theta", None, 8192))
    (source / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights/model\.safetensors, which does not exi"):
        models.Base.read(tmp_path / "base.json")
