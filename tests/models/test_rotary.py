"""The guard of the rotary frequencies: it stops what would run wrongly, and nothing else."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from needlework import models
from needlework.models import ContextExtension, check_rotary, expected_inv_freq
from tests.attention.families import FAMILIES, SMALL, built

_THETA = 8_000_000.0


def _asking(base: models.Base, theta: float = _THETA) -> models.Base:
    """The record of the same weights with another theta."""
    return base.model_copy(update={"rope": base.rope | {"rope_theta": theta}})


# --- How theta gets lost -----------------------------------------------------------------------


def _ignored_by_auto_config(folder: str) -> Any:
    config = AutoConfig.from_pretrained(folder, rope_theta=_THETA)
    return AutoModelForCausalLM.from_pretrained(folder, config=config)


def _ignored_as_an_attribute(folder: str) -> Any:
    config = AutoConfig.from_pretrained(folder)
    config.rope_theta = _THETA
    return AutoModelForCausalLM.from_pretrained(folder, config=config)


def _set_after_loading(folder: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.rope_parameters["rope_theta"] = _THETA
    return model


@pytest.mark.parametrize(
    "load", [_ignored_by_auto_config, _ignored_as_an_attribute, _set_after_loading]
)
def test_a_theta_that_was_ignored_is_noticed(tiny_base: models.Base, load: Any) -> None:
    model = load(tiny_base.path)
    check_rotary(model, tiny_base)  # it runs at the old one
    message = r"frequencies of theta 10000; its record asks for 8 of theta 8e\+06 \(default\)"
    with pytest.raises(ValueError, match=message):
        check_rotary(model, _asking(tiny_base))


def _in_rope_parameters(folder: str) -> Any:
    config = AutoConfig.from_pretrained(folder)
    config.rope_parameters["rope_theta"] = _THETA
    return AutoModelForCausalLM.from_pretrained(folder, config=config)


def _as_a_keyword(folder: str) -> Any:
    rope = {"rope_type": "default", "rope_theta": _THETA}
    return AutoModelForCausalLM.from_pretrained(folder, rope_parameters=rope)


@pytest.mark.parametrize("load", [_in_rope_parameters, _as_a_keyword])
def test_a_theta_that_was_taken_passes(tiny_base: models.Base, load: Any) -> None:
    model = load(tiny_base.path)
    check_rotary(model, _asking(tiny_base))
    with pytest.raises(ValueError, match=r"of theta 8e\+06; its record asks for 8 of theta 10000"):
        check_rotary(model, tiny_base)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frequencies_in_half_precision_are_noticed(
    tiny_base: models.Base, dtype: torch.dtype
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base.path, dtype=dtype)
    check_rotary(model, tiny_base)  # loaded so, they are float32
    with pytest.raises(ValueError, match="float16, too coarse for long contexts"):
        check_rotary(model.to(dtype), tiny_base)


def test_the_guard_stands_in_load_model(
    tiny_base: models.Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformers that reads a config rightly and computes from something else."""
    shutil.copytree(tiny_base.path, tmp_path / "source")
    base = models.prepare(str(tmp_path / "source"), tmp_path)
    rotary = hf.models.llama.modeling_llama.LlamaRotaryEmbedding
    computed = rotary.compute_default_rope_parameters

    def wrong(*arguments: Any, **keywords: Any) -> Any:
        frequencies, scale = computed(*arguments, **keywords)
        return frequencies * 2, scale

    monkeypatch.setattr(rotary, "compute_default_rope_parameters", staticmethod(wrong))
    with pytest.raises(ValueError, match="turns positions by 8 frequencies"):
        models.load_model(base, dtype="float32")


# --- The formulas ------------------------------------------------------------------------------

_YARN = {"factor": 4.0, "original_max_position_embeddings": 64}
_LLAMA3 = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        ("linear", {"factor": 4.0}),
        ("dynamic", {"factor": 4.0}),
        ("yarn", _YARN),
        ("yarn", _YARN | {"truncate": False, "beta_fast": 16.0, "beta_slow": 2.0}),
        ("yarn", _YARN | {"mscale": 1.0, "mscale_all_dim": 0.7}),
        ("yarn", _YARN | {"attention_factor": 1.5}),
        ("llama3", _LLAMA3),
    ],
)
@pytest.mark.parametrize("theta", [10_000.0, 6_315_088.0])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_own_formulas_agree_with_transformers(
    kind: str, also: dict[str, Any], theta: float, share: float
) -> None:
    rope = {"rope_type": kind, "rope_theta": theta, "partial_rotary_factor": share} | also
    config = hf.LlamaConfig(**SMALL | {"hidden_size": 768}, rope_parameters=rope)
    ((frequencies, scale),) = expected_inv_freq(config).values()
    theirs, their_scale = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    assert len(frequencies) == 768 / 6 * share / 2
    torch.testing.assert_close(frequencies, theirs, rtol=1e-6, atol=0)
    assert math.isclose(scale, their_scale)


def test_yarn_between_its_ends() -> None:
    """By hand, for theta 10000, heads of 128, 4096 tokens: the values of the paper's own code."""
    rope = {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
        "original_max_position_embeddings": 4096,
    }  # fmt: skip
    config = hf.LlamaConfig(hidden_size=512, num_attention_heads=4, rope_parameters=rope)
    ((frequencies, scale),) = expected_inv_freq(config).values()
    plain = 10000.0 ** (-torch.arange(0, 128, 2) / 128)
    # A dimension i turns 4096 / (2 pi 10000^(2i/128)) times: 32 times at i = 20.9, once at 45.03.
    torch.testing.assert_close(frequencies[:21], plain[:21])
    torch.testing.assert_close(frequencies[46:], plain[46:] / 4)
    middle = plain[33] * (1 - 13 / 26) + plain[33] / 4 * 13 / 26  # from 20 to 46
    torch.testing.assert_close(frequencies[33], middle)
    assert math.isclose(scale, 0.1 * math.log(4) + 1)


# --- Families ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_without_a_false_alarm(family: str, tmp_path: Path) -> None:
    built(family).save_pretrained(tmp_path)
    base = models.base_of(tmp_path)
    models.load_model(base, dtype="bfloat16")
    if family == "gpt2":
        assert base.rope == {}
        return
    # The control: the same model, asked for another theta, is refused.
    rope = base.rope
    other = (
        rope | {"rope_theta": 123.0}
        if "rope_type" in rope
        else {kind: each | {"rope_theta": 123.0} for kind, each in rope.items()}
    )
    with pytest.raises(ValueError, match=r"its record asks for .* of theta 123"):
        check_rotary(built(family), base.model_copy(update={"rope": other}))


_WIDE = {"hidden_size": 192, "vocab_size": 258}
_NEOX = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}


@pytest.mark.parametrize(
    "config",
    [
        hf.GPTNeoXConfig(**_NEOX | _WIDE),  # a quarter of a head of 32
        hf.PhiConfig(**SMALL | _WIDE),  # a half
        hf.StableLmConfig(**SMALL | _WIDE),  # a quarter
    ],
    ids=lambda config: config.model_type,
)
@pytest.mark.parametrize("method", models.METHODS)
def test_models_that_turn_a_part_of_a_head(
    config: Any, method: Any, tmp_path: Path, tokenizer: Any
) -> None:
    """As published and extended; a guard that turned whole heads would raise a false alarm."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    share = config.rope_parameters["partial_rotary_factor"]
    published = models.base_of(tmp_path / "source")
    assert published.rope["partial_rotary_factor"] == share < 1
    models.load_model(published, dtype="float32")
    base = models.prepare(
        str(tmp_path / "source"), tmp_path, context=ContextExtension(method, None, 1024)
    )
    assert base.rope["partial_rotary_factor"] == share
    model = models.load_model(base, dtype="float32")
    with pytest.raises(ValueError, match="turns positions by"):
        check_rotary(model, base.model_copy(update={"rope": base.rope | {"rope_theta": 123.0}}))


@pytest.mark.parametrize("method", ["linear", "dynamic", "yarn"])
def test_scalings_that_are_ignored_are_noticed(
    tiny_base: models.Base, tmp_path: Path, method: Any
) -> None:
    """Dynamic scaling has the frequencies of none until the input is long."""
    base = models.prepare(tiny_base.path, tmp_path, context=ContextExtension(method, None, 8192))
    models.load_model(base, dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(tiny_base.path)
    with pytest.raises(ValueError, match=f"its record asks for .*{method}"):
        check_rotary(plain, base)


def test_an_extended_model_without_frequencies_cannot_be_checked(tmp_path: Path) -> None:
    built("gpt2").save_pretrained(tmp_path)
    base = models.base_of(tmp_path)
    rope = {"rope_type": "default", "rope_theta": 59300.0}
    asking = base.model_copy(update={"rope": rope, "context": {"method": "theta"}})
    with pytest.raises(ValueError, match="has no rotary frequencies, its record asks for"):
        check_rotary(built("gpt2"), asking)
