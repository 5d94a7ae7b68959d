"""The sizes of a model by its configuration are those of the model itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from gguf import GGUFReader

from needlework.attention.layers import attention_layers
from needlework.models import BUNDLED, Base, bundled_gguf, prepare
from needlework.models.shapes import Shape, known_shape, shape_of

_SMALL: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
_WIDE = _SMALL | {"head_dim": 16}
_CONFIGS: dict[str, Any] = {
    "llama": hf.LlamaConfig(**_SMALL),
    "llama-tied": hf.LlamaConfig(**_SMALL, tie_word_embeddings=True),
    "mistral": hf.MistralConfig(**_SMALL, sliding_window=7),
    "mistral-no-window": hf.MistralConfig(**_SMALL, sliding_window=None),
    "ministral": hf.MinistralConfig(**_WIDE),
    "qwen2": hf.Qwen2Config(**_SMALL),
    "qwen2-windows": hf.Qwen2Config(
        **_SMALL, use_sliding_window=True, sliding_window=7, max_window_layers=2
    ),
    "qwen3": hf.Qwen3Config(**_WIDE),
    "gemma": hf.GemmaConfig(**_WIDE),
    "gemma2": hf.Gemma2Config(**_WIDE, sliding_window=7),
    "gemma3": hf.Gemma3TextConfig(**_WIDE, sliding_window=7),
    "granite": hf.GraniteConfig(**_SMALL),
    "olmo2": hf.Olmo2Config(**_SMALL),
    "olmo3": hf.Olmo3Config(**_SMALL, sliding_window=7),
    "smollm3": hf.SmolLM3Config(**_SMALL),
    "cohere": hf.CohereConfig(**_SMALL),
}


@pytest.fixture(scope="module", params=_CONFIGS)
def config(request: pytest.FixtureRequest) -> Any:
    return _CONFIGS[request.param]


def _linears(model: Any) -> Mapping[str, torch.nn.Linear]:
    """The linear maps of the layers of a model, by their names below the layers."""
    layers = model.model.layers
    return {n: m for n, m in layers.named_modules() if isinstance(m, torch.nn.Linear)}


def test_a_shape_counts_the_weights_of_the_model(config: Any) -> None:
    with torch.device("meta"):
        model = hf.AutoModelForCausalLM.from_config(config)
    shape = shape_of(config)
    linears = _linears(model)
    assert shape.linear_parameters == sum(m.weight.numel() for m in linears.values())
    assert shape.tied == (model.lm_head.weight is model.model.embed_tokens.weight)
    # What is left out, biases and further norms, is vectors.
    left_out = sum(p.numel() for p in model.parameters()) - shape.parameters
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    assert abs(left_out) <= vectors
    first = {n.rpartition(".")[2]: m for n, m in linears.items() if n.startswith("0.")}
    assert {n: (m.in_features, m.out_features) for n, m in first.items()} == shape.projections


def test_windows_are_those_of_the_layers(config: Any) -> None:
    found = attention_layers(hf.AutoModelForCausalLM.from_config(config))
    shape = shape_of(config)
    assert list(shape.windows or [None] * shape.layers) == [each and each.window for each in found]


def test_a_written_configuration_says_the_same(config: Any, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert shape_of(written) == shape_of(config)
    assert shape_of({"model_type": "of more than text", "text_config": written}) == shape_of(config)
    assert known_shape(str(tmp_path)) == shape_of(config)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "qwen2-windows", "olmo3"])
def test_configurations_from_before_layer_types_have_the_same_windows(name: str) -> None:
    values = _CONFIGS[name].to_dict()
    older = {key: value for key, value in values.items() if key != "layer_types"}
    assert shape_of(older) == shape_of(values)


@pytest.mark.parametrize("name", ["mistral", "gemma", "qwen2", "smollm3", "cohere"])
def test_left_out_keys_are_what_transformers_takes(name: str) -> None:
    values = _CONFIGS[name].to_dict()
    kept = {
        k: v for k, v in values.items() if k not in ("tie_word_embeddings", "use_sliding_window")
    }
    assert shape_of(kept) == shape_of(values)


@pytest.mark.parametrize(
    "config",
    [
        hf.MixtralConfig(**_SMALL), hf.GptOssConfig(**_WIDE), hf.DeepseekV3Config(),
        hf.MambaConfig(), hf.GPT2Config(), hf.PhiConfig(**_SMALL),
    ],
    ids=lambda each: each.model_type,
)  # fmt: skip
def test_other_architectures_are_refused_by_name(config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"type '{config.model_type}' are not counted"):
        shape_of(config)
    config.save_pretrained(tmp_path)
    assert known_shape(str(tmp_path)) is None


def test_a_configuration_without_a_size_is_refused_by_key() -> None:
    values = _CONFIGS["gemma"].to_dict()
    del values["head_dim"], values["vocab_size"]
    with pytest.raises(ValueError, match="gemma model lacks vocab_size, head_dim"):
        shape_of(values)


def test_bundled_models_have_the_shape_that_is_known(tiny_base: Base, tmp_path: Path) -> None:
    mistral = prepare("tiny-random-mistral", tmp_path / "mistral")
    for base in (tiny_base, mistral):
        written = json.loads((Path(base.path) / "config.json").read_text())
        assert known_shape(base.source) == shape_of(written)
    assert all(known_shape(name) for name in BUNDLED)


@pytest.mark.slow
def test_the_bundled_smollm2_has_the_shape_that_is_known() -> None:
    reader = GGUFReader(bundled_gguf())
    tensors = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    shape = known_shape("smollm2-135m-instruct")
    assert shape is not None
    layer = {
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
    }  # fmt: skip
    for number in range(shape.layers):
        found = {name: tuple(tensors[f"blk.{number}.{its}.weight"]) for name, its in layer.items()}
        assert found == shape.projections
    assert f"blk.{shape.layers}.attn_q.weight" not in tensors
    assert tensors["token_embd.weight"] == [shape.hidden, shape.vocabulary]
    assert shape.tied == ("output.weight" not in tensors)
    assert reader.get_field("llama.attention.head_count").contents() == shape.heads
    assert reader.get_field("llama.attention.head_count_kv").contents() == shape.kv_heads


def test_the_papers_models_have_the_published_sizes() -> None:
    llama = known_shape("meta-llama/Meta-Llama-3-8B-Instruct")
    mistral = known_shape("mistralai/Mistral-7B-Instruct-v0.1")
    later = known_shape("mistralai/Mistral-7B-Instruct-v0.2")
    assert llama
    assert mistral
    assert later
    assert llama.parameters == 8_030_261_248  # the models' cards
    assert mistral.parameters == later.parameters == 7_241_732_096
    assert llama.linear_parameters == mistral.linear_parameters == 6_979_321_856
    assert mistral.windows == (4096,) * 32
    assert later.windows is None


def test_a_cache_holds_what_a_window_lets() -> None:
    llama = known_shape("meta-llama/Meta-Llama-3-8B-Instruct")
    mistral = known_shape("mistralai/Mistral-7B-Instruct-v0.1")
    assert llama
    assert mistral
    assert llama.kv_bytes(32_768) == 2 * 32 * 8 * 128 * 2 * 32_768  # 4.3 GB
    assert llama.kv_bytes(100, bytes_per_value=4) == 2 * 32 * 8 * 128 * 4 * 100
    assert mistral.kv_bytes(32_768) == mistral.kv_bytes(4096) == llama.kv_bytes(4096)
    assert mistral.kv_bytes(1000) == llama.kv_bytes(1000)
    mixed = Shape(2, 8, 8, 2, 1, 4, 10, windows=(3, None))
    assert mixed.kv_bytes(10, 1) == 2 * 4 * (3 + 10)


_CACHED = """
import sys
from needlework.models.shapes import known_shape
assert known_shape("some/model").layers == 6
assert known_shape("some/model", "v1").layers == 6
assert known_shape("some/model", "v2") is None
assert known_shape("some/other") is None
assert known_shape("no/hub/id") is None
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_a_hub_model_is_known_once_its_configuration_is_cached(tmp_path: Path) -> None:
    model = tmp_path / "models--some--model"
    commit = "0" * 40
    (model / "refs").mkdir(parents=True)
    for ref in ("main", "v1"):
        (model / "refs" / ref).write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    _CONFIGS["llama"].save_pretrained(model / "snapshots" / commit)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", _CACHED], env=environment, check=True)
