"""Folders of models and adapters that cannot be used, each as a change of a good one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_input.case import Case

Change = Callable[[Path], None]
WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"


def _gone(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def _content(name: str, content: bytes | str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def _keys(name: str, **keys: Any) -> Change:
    """Keys of a JSON file with other values; None takes one out."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8")) | keys
        kept = {key: value for key, value in content.items() if value is not None}
        _content(name, json.dumps(kept))(folder)

    return change


def _loop(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(name)

    return change


def _pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def _cut(name: str) -> Change:
    def change(folder: Path) -> None:
        os.truncate(folder / name, (folder / name).stat().st_size - 1000)

    return change


def _shards(folder: Path) -> None:
    named = {"a": WEIGHTS, "b": "model-00002-of-00002.safetensors"}
    content = json.dumps({"weight_map": named})
    _content("model.safetensors.index.json", content)(folder)


def _tensors(name: str, change_one: Callable[[Any], Any], part: str) -> Change:
    """A safetensors file whose first tensor with `part` in its name is changed."""

    def change(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(folder / name)
        chosen = sorted(each for each in tensors if part in each)[0]
        tensors[chosen] = change_one(tensors[chosen]).contiguous()
        (folder / name).unlink()
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return change


def _template(text: str) -> Change:
    def change(folder: Path) -> None:
        _keys("tokenizer_config.json", chat_template=text)(folder)
        (folder / "chat_template.jinja").unlink(missing_ok=True)

    return change


CHEAP = [
    Case("no config", _gone("config.json"), ("has no config.json",)),
    Case("config: no JSON", _content("config.json", "{"), ("config.json: not JSON", "Expecting")),
    Case("config: a list", _content("config.json", "[]"), ("config.json: holds []", "an object")),
    Case("config: a loop", _loop("config.json"), ("config.json", "symbolic links")),
    Case("config: latin-1", _content("config.json", b"\xe9"), ("is not UTF-8",)),
    Case("config: nested", _content("config.json", "[" * 10**5), ("nested too deeply",)),
    Case("config: a key twice", _content("config.json", '{"a": 1, "a": 2}'), ("'a' stands there",)),
    Case("no type", _keys("config.json", model_type=None), ("model_type is None", "'llama'")),
    Case("positions: a text", _keys("config.json", max_position_embeddings="8K"),
         ("max_position_embeddings is '8K'", "a whole number of tokens")),
    Case("no weights", _gone(WEIGHTS), ("has no *.safetensors", "save the model in that form")),
    Case("pickled weights", _pickled, ("no *.safetensors", "run code", "found pytorch_model.bin")),
    Case("weights: cut", _cut(WEIGHTS), ("model.safetensors: has", "cut off", "fetch it again")),
    Case("weights: a page", _content(WEIGHTS, "<!DOCTYPE html>" * 9), ("is no safetensors file",)),
    Case("weights: empty", _content(WEIGHTS, ""), ("is no safetensors file", "fetch it again")),
    Case("weights: a loop", _loop(WEIGHTS), (WEIGHTS, "symbolic links")),
    Case("a shard is missing", _shards, ("lacks 1 of the files", "model-00002-of-00002", "again")),
    Case("an index of nothing", _content("model.safetensors.index.json", "[]"), ("no weight_map",)),
    Case("no tokenizer", _gone("tokenizer.json"), ("has no tokenizer", "tokenizer.json")),
    Case("tokenizer: no JSON", _content("tokenizer.json", "{"), ("tokenizer.json: not JSON",)),
]  # fmt: skip

PREPARED = [
    Case("an unknown architecture", _keys("config.json", model_type="zzz"),
         ("no model_type 'zzz'", "take a model of an architecture")),
    Case("code of its own", _keys("config.json", model_type="zzz", auto_map={"AutoConfig": "m.C"}),
         ("no model_type 'zzz'", "the code that it brings is not run")),
    Case("sizes: a text", _keys("config.json", num_hidden_layers="two"),
         ("config.json: transformers cannot read it", "from the model's source again")),
    Case("NaN", _tensors(WEIGHTS, lambda t: t * float("nan"), "norm"),
         ("norm", "NaN or infinity", "earlier checkpoint")),
    Case("too few tokens", _keys("config.json", vocab_size=100),
         ("the tokenizer has 25", "tokens, the model 100", "belongs to the model")),
    Case("tokenizer: no tokenizer", _content("tokenizer.json", '{"version": "1.0"}'),
         ("its tokenizer cannot be loaded", "source again")),
    Case("template: broken", _template("{% if %}"), ("the chat template", "fails", "mend it")),
    Case("template: refuses", _template("{{ raise_exception('no system') }}"),
         ("the chat template", "no system", "mend it")),
    Case("template: hides", _template("Hello!"), ("does not show the user's message",)),
    Case("template: no end", _template("{% for a in range(10 ** 9) %}{% endfor %}"),
         ("the chat template", "fails", "mend it")),
]  # fmt: skip

ADAPTERS = [
    Case("no record", _gone("training.json"), ("has no training.json", "train_adapter writes")),
    Case("no base", _content("training.json", "{}"), ("training.json: has no `base`", "train")),
    Case("record: no JSON", _content("training.json", "{"), ("training.json: not JSON",)),
    Case("another base", _content("training.json", '{"base": {"source": "x"}}'),
         ("was trained with source = 'x'", "train it again on this base model")),
    Case("no config", _gone("adapter_config.json"), ("has no adapter_config.json",)),
    Case("config: no JSON", _content("adapter_config.json", "rain"), ("adapter_config.json: not",)),
    Case("no weights", _gone(ADAPTER), (ADAPTER, "there is no such file")),
    Case("weights: cut", _cut(ADAPTER), (ADAPTER, "cut off", "fetch it again")),
    Case("weights: a loop", _loop(ADAPTER), (ADAPTER, "symbolic links")),
    Case("another rank", _keys("adapter_config.json", r=16),
         ("says r = 16", "have the rank 2", "belongs to them")),
    Case("NaN", _tensors(ADAPTER, lambda t: t * float("nan"), "lora_A"), ("lora_A", "NaN or inf")),
]  # fmt: skip

FITTED = [
    Case("other widths", _tensors(ADAPTER, lambda t: t[:, :-1], "lora_A"),
         ("weights do not fit the model", "another architecture")),
    Case("other modules", _keys("adapter_config.json", target_modules=["gate_proj"]),
         ("another architecture",)),
]  # fmt: skip
