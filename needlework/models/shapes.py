"""How large a decoder is, by its configuration alone: what counts of parameters and bytes need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from needlework.given import read_json

# Decoders of transformers whose layers are q, k, v, o and a gated MLP, and nothing else of size.
_COUNTED = (
    "llama", "mistral", "ministral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite",
    "olmo2", "olmo3", "smollm3", "cohere",
)  # fmt: skip
# What configurations leave out where it is what transformers takes anyway.
_TIED = ("gemma", "gemma2", "gemma3_text", "cohere", "smollm3")
_WIDE_HEADS = ("gemma", "gemma2", "gemma3_text", "qwen3", "ministral")
_WINDOW_ON_REQUEST = ("qwen2", "qwen3", "smollm3")
_EVERY_NTH_SEES_ALL = {"gemma2": 2, "gemma3_text": 6, "olmo3": 4}


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder of Llama's form: attention, gated MLP, embeddings, head.

    `windows` has one entry per layer, the positions that a row sees, itself included, or None for
    all before it; None instead of a tuple: no layer has a window. `tied`: the head is the
    embeddings.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    windows: tuple[int | None, ...] | None = None
    tied: bool = False

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Input and output width of every linear map of one layer, by its name in transformers."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear maps of all layers, without embeddings and head."""
        return self.layers * sum(width * out for width, out in self.projections.values())

    @property
    def parameters(self) -> int:
        """All weights: linear maps, embeddings, head, and the three kinds of norm that Llama has.

        Biases, and norms that other families have besides, are some 0.01 % and left out.
        """
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.linear_parameters + embeddings + (2 * self.layers + 1) * self.hidden

    def seen(self, length: int) -> list[int]:
        """Positions that the last of `length` tokens attends to, by layer."""
        return [min(length, window or length) for window in self.windows or [None] * self.layers]

    def kv_bytes(self, length: int, bytes_per_value: int = 2) -> int:
        """Bytes of the keys and values of `length` tokens; a window keeps its own length."""
        return 2 * self.kv_heads * self.head_dim * bytes_per_value * sum(self.seen(length))


# The bundled models, and those of Zhao et al. and Xiong et al. as their config.json says.
_LLAMA_3_8B = Shape(32, 4096, 14_336, 32, 8, 128, 128_256)
_MISTRAL_7B = Shape(32, 4096, 14_336, 32, 8, 128, 32_000)
_PUBLISHED = {
    "smollm2-135m-instruct": Shape(30, 576, 1536, 9, 3, 64, 49_152, tied=True),
    "tiny-random-llama": Shape(2, 64, 128, 4, 2, 16, 258),
    "tiny-random-mistral": Shape(2, 64, 128, 4, 2, 16, 258, windows=(512, 512)),
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_3_8B,
    "mistralai/Mistral-7B-Instruct-v0.1": Shape(
        32, 4096, 14_336, 32, 8, 128, 32_000, windows=(4096,) * 32
    ),
    "mistralai/Mistral-7B-Instruct-v0.2": _MISTRAL_7B,
}


def shape_of(config: Any) -> Shape:
    """The shape of a model.

    Args:
        config: a configuration of transformers, or what its config.json holds.

    Raises:
        ValueError: the architecture is not counted here (experts, linear attention, latent
            attention, an MLP without a gate, ...), or the configuration lacks a size.
    """
    values: Mapping[str, Any] = config if isinstance(config, Mapping) else config.to_dict()
    values = values.get("text_config") or values
    kind = values.get("model_type")
    if kind not in _COUNTED:
        raise ValueError(
            f"the sizes of a model of type {kind!r} are not counted; known: {', '.join(_COUNTED)}"
        )
    needed = ["num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
              "vocab_size", *(["head_dim"] if kind in _WIDE_HEADS else [])]  # fmt: skip
    sizes = {key: values.get(key) for key in needed}
    missing = [key for key, size in sizes.items() if type(size) is not int or size < 1]
    if missing:
        raise ValueError(f"the configuration of this {kind} model lacks {', '.join(missing)}")
    heads = values["num_attention_heads"]
    tied = values.get("tie_word_embeddings")
    return Shape(
        layers=values["num_hidden_layers"],
        hidden=values["hidden_size"],
        intermediate=values["intermediate_size"],
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or values["hidden_size"] // heads,
        vocabulary=values["vocab_size"],
        windows=_windows(values),
        tied=kind in _TIED if tied is None else tied,
    )


def _windows(values: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    kind, window = values["model_type"], values.get("sliding_window")
    if window is None or not values.get("use_sliding_window", kind not in _WINDOW_ON_REQUEST):
        return None
    layers = range(values["num_hidden_layers"])
    if types := values.get("layer_types"):
        sliding = [name == "sliding_attention" for name in types]
    elif kind in _EVERY_NTH_SEES_ALL:
        every = values.get("sliding_window_pattern") or _EVERY_NTH_SEES_ALL[kind]
        sliding = [(layer + 1) % every != 0 for layer in layers]
    else:  # Qwen's first layers see all
        sliding = [layer >= values.get("max_window_layers", 0) for layer in layers]
    return tuple(window if each else None for each in sliding) if any(sliding) else None


def known_shape(source: str, revision: str | None = None) -> Shape | None:
    """The shape of a model by its bundled name, folder or hub id; opens no connection.

    None where nothing on this machine says it, or where `shape_of` does not count the architecture.
    """
    if source in _PUBLISHED:
        return _PUBLISHED[source]
    folder = Path(source)
    config = folder / "config.json" if os.path.isdir(folder) else _cached_config(source, revision)
    if config is None or not os.path.isfile(config):
        return None
    try:
        return shape_of(read_json(config))
    except (ValueError, TypeError, AttributeError):  # broken: `models.positions` says how
        return None


def _cached_config(source: str, revision: str | None) -> Path | None:
    """The config.json of a hub model that was fetched before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, "config.json", revision=revision)
    except HFValidationError:  # no hub id, and no folder either
        return None
    return Path(found) if isinstance(found, str) else None
