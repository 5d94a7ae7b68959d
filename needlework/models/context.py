"""A model for longer contexts than it was trained at: its rotary positions stretched, or widened.

What is written is an ordinary model folder, whose config.json says the same to transformers 5
(`rope_parameters`) and to older tools (`rope_theta`, `rope_scaling`). transformers 5 takes
`rope_scaling` for the whole truth where both stand, so it has all, or is null.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from needlework.atomic import write_json

Method = Literal["theta", "linear", "dynamic", "yarn"]
METHODS: tuple[Method, ...] = get_args(Method)

# What a model folder is made of: no pickles, no code.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
TOKENIZER_FILES = MODEL_FILES[1:]


@dataclass(frozen=True)
class ContextExtension:
    """What is asked for; lengths and windows in tokens.

    Attributes:
        method: "theta" raises the base of the rotary frequencies; the others are RoPE types of
            transformers, with the factor length / trained_length.
        trained_length: the longest context the model was trained at; None: what its config says,
            which for some models is more (Mistral-7B-v0.1: 32,768, trained at 8,192).
        length: the longest context wanted.
        theta: the new base, for method "theta"; None: `extended_theta`.
        window: a sliding window grows as the length does ("scale"), stays ("keep"), or is given.
    """

    method: Method
    trained_length: int | None
    length: int
    theta: float | None = None
    window: Literal["scale", "keep"] | int = "scale"


def extended_theta(theta: float, trained_length: int, length: int) -> float:
    """The base of the rotary frequencies for a longer context, cut to a whole number.

    theta ** (ln(length / 2 pi) / ln(trained_length / 2 pi)): the slowest frequency with a whole
    period within the context keeps its place among the dimensions. It gives the values that Zhao et
    al. (arXiv 2410.22316, training setup) take from Gradient: 500,000 to 6,315,088 and 10,000 to
    59,300, from 8,192 to 32,768 tokens.
    """
    exponent = math.log(length / (2 * math.pi)) / math.log(trained_length / (2 * math.pi))
    return float(int(theta**exponent))


def write_extended(
    source_folder: Path, folder: Path, extension: ContextExtension
) -> dict[str, Any]:
    """Write `folder` anew: an extended config.json, and links to the source's other files.

    Returns:
        What was asked and computed: method, trained_length, length, theta, window.

    Raises:
        ValueError: the model cannot be extended so; or transformers reads something else from the
            written config.json than it should.
    """
    if folder.resolve() == source_folder.resolve():
        raise ValueError(f"{folder} is the model itself; extend it into another folder")
    published = json.loads((source_folder / "config.json").read_text(encoding="utf-8"))
    record, changed = _extended(source_folder, extension)
    shutil.rmtree(folder, ignore_errors=True)  # of links: what they point to stays
    folder.mkdir(parents=True)
    for pattern in MODEL_FILES:
        for file in source_folder.glob(pattern):
            if file.name != "config.json":
                (folder / file.name).symlink_to(file.resolve())
    rope = changed.pop("rope_parameters")
    write_json(folder / "config.json", with_rope(published, rope) | changed, recorded=False)
    _check_reading(folder, changed | {"rope_parameters": rope})
    return record


def with_rope(config: dict[str, Any], rope: dict[str, Any]) -> dict[str, Any]:
    """A config.json with rotary settings in the words of transformers 5 and of older tools.

    Args:
        config: the content of a config.json; it stays as it is.
        rope: `rope_parameters`, the same for all layers.
    """
    base = {"rope_theta": rope["rope_theta"]}
    if "rotary_emb_base" in config:  # GPT-NeoX
        base["rotary_emb_base"] = rope["rope_theta"]
    if "partial_rotary_factor" in rope and "rotary_pct" not in config:
        base["partial_rotary_factor"] = rope["partial_rotary_factor"]
    scaling = None if rope["rope_type"] == "default" else rope
    return config | base | {"rope_parameters": rope, "rope_scaling": scaling}


def _extended(folder: Path, extension: ContextExtension) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of an extension, and the keys of config.json that it changes."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    rope = _published_rope(folder, config)
    trained = extension.trained_length or config.max_position_embeddings
    length, method = extension.length, extension.method
    if length <= trained:
        given = "as given" if extension.trained_length else "the positions in its config.json"
        raise ValueError(
            f"context.length: got {length}, not above the trained length {trained} ({given}) of "
            f"{folder}; set trained_length to what the model was trained at, or leave context out"
        )
    if method == "theta":
        theta = extension.theta or extended_theta(rope["rope_theta"], trained, length)
        rope = rope | {"rope_theta": theta}
    elif extension.theta is not None:
        raise ValueError(f"context.theta: got {extension.theta}, but only method theta takes one")
    else:
        rope = rope | {"rope_type": method, "factor": length / trained}
        if method == "yarn":
            rope["original_max_position_embeddings"] = trained
    window = _window(
        folder, getattr(config, "sliding_window", None), extension.window, trained, length
    )
    # Dynamic scaling begins above max_position_embeddings: raised, it would never begin.
    changed = {
        "rope_parameters": rope,
        "max_position_embeddings": trained if method == "dynamic" else length,
    }
    record = {
        "method": method, "trained_length": trained, "length": length,
        "theta": rope["rope_theta"], "window": window,
    }  # fmt: skip
    return record, changed if window is None else changed | {"sliding_window": window}


def _published_rope(folder: Path, config: Any) -> dict[str, Any]:
    """The rotary settings of a model that can be extended.

    Raises:
        ValueError: it has none, several, or scaled ones.
    """
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if config.get_text_config() is not config:
        reason = "is a model of more than text"
    elif not rope:
        reason = f"({config.model_type}) has no rotary positions to extend"
    elif any(value is None or isinstance(value, dict) for value in rope.values()):
        reason = f"has rotary positions of its own for each kind of layer ({', '.join(rope)})"
    elif rope["rope_type"] != "default":
        reason = f"has rotary positions scaled by {rope['rope_type']!r} already"
    else:
        return rope
    raise ValueError(
        f"context: {folder} {reason}; take a model with one, unscaled, RoPE base, or leave context "
        "out and the model as published"
    )


def _window(
    folder: Path, window: int | None, asked: str | int, trained: int, length: int
) -> int | None:
    if window is None:
        if isinstance(asked, int):
            raise ValueError(
                f"context.window: got {asked}, but {folder} has no sliding window; leave it out"
            )
        return None
    if isinstance(asked, int):
        return asked
    return window if asked == "keep" else window * length // trained


def _check_reading(folder: Path, expected: dict[str, Any]) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for key, value in expected.items():
        if getattr(config, key) != value:
            raise ValueError(
                f"{folder}/config.json: transformers reads {key} = {getattr(config, key)!r}, "
                f"expected {value!r}; {config.model_type} models cannot be extended so"
            )
