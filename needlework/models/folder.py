"""The folder of a model, looked at before anything is loaded: whole, plain data, and made to fit.

What is missing, cut off or pickled is named here, and not by the library that trips over it an
hour later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from needlework import stored
from needlework.given import check_file, json_value, read_json, shown

_INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_HEADER = 100_000_000  # bytes; safetensors itself takes no longer one
_SMALL = 2**16  # values of a tensor that is read to see whether it is finite


def check_folder(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder whose files are there and whole; reads no weights.

    Raises:
        ValueError: a file is missing, broken or no plain data; the message names it.
    """
    config = read_config(folder)
    check_weights_files(folder)
    return config


def check_tokenizer_files(folder: Path) -> None:
    """Refuse a folder without a tokenizer, or with a broken one; reads its JSON only.

    Raises:
        ValueError: it is so; the message names the file.
    """
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise ValueError(
            f"the model folder {folder} has no tokenizer; save it there too: "
            "tokenizer.save_pretrained(folder) writes tokenizer.json"
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_symlink() or (folder / name).exists():
            read_object(folder / name, "a tokenizer")


def read_config(folder: Path) -> dict[str, Any]:
    """What the config.json of a model folder holds.

    Raises:
        ValueError: there is none, it is no object, or it lacks what every model's has.
    """
    path = folder / "config.json"
    if not path.exists() and not path.is_symlink():
        raise ValueError(f"the model folder {str(folder)!r} has no config.json")
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path}: holds {shown(config)}, expected an object with model_type")
    if not isinstance(config.get("model_type"), str):
        raise ValueError(
            f"{path}: model_type is {shown(config.get('model_type'))}, expected a name such as "
            "'llama'; take the file from the model's source again"
        )
    found = config.get("max_position_embeddings")
    if found is not None and (type(found) is not int or found < 1):
        raise ValueError(
            f"{path}: max_position_embeddings is {shown(found)}, expected a whole number of tokens"
        )
    return config


def check_weights_files(folder: Path) -> None:
    """Refuse a folder without safetensors, with a shard that its index names and does not hold,
    or with a file that is cut off.

    Raises:
        ValueError: it is so.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(p.name for end in ("*.bin", "*.pt", "*.pth") for p in folder.glob(end))
        found = f"; found {', '.join(pickled[:3])}" if pickled else ""
        raise ValueError(
            f"{folder} has no *.safetensors; save the model in that form (pickled weights can run "
            f"code when they are loaded){found}"
        )
    if (folder / _INDEX).exists():
        index = read_json(folder / _INDEX)
        named = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(named, dict):
            raise ValueError(f"{folder / _INDEX}: has no weight_map; take it from its source again")
        missing = sorted({str(name) for name in named.values()} - {file.name for file in files})
        if missing:
            raise ValueError(
                f"{folder} lacks {len(missing)} of the files that its index names, first "
                f"{shown(missing[0])}; fetch them again"
            )
    for file in files:
        header(file)


def header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file: name to dtype, shape and place.

    Raises:
        ValueError: it is no such file, or it is cut off.
    """
    size = check_file(path).stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER, size):
            raise ValueError(f"{path}: is no safetensors file, or is cut off; fetch it again")
        content = file.read(length)
    found = json_value(content.decode(errors="replace"), f"{path}, its header")
    found.pop("__metadata__", None)
    end = 8 + length + max((each["data_offsets"][1] for each in found.values()), default=0)
    if end != size:
        raise ValueError(
            f"{path}: has {size} bytes, its header tells of {end}: it is cut off or was changed; "
            "fetch it again"
        )
    return dict(found)


def check_finite(paths: list[Path]) -> None:
    """Refuse weights of which a small tensor (a norm, a bias) holds what is no finite number.

    Weights that training broke are broken everywhere; reading all of them would take minutes.

    Raises:
        ValueError: a tensor is so; the message names it.
    """
    from safetensors import safe_open

    for path in paths:
        with safe_open(path, framework="pt") as file:
            for name in _small(header(path)):
                if not bool(file.get_tensor(name).isfinite().all()):
                    raise ValueError(
                        f"{path}: the weights of {name} hold NaN or infinity; take the model from "
                        "its source again, or an earlier checkpoint"
                    )


def _small(tensors: dict[str, Any]) -> Iterator[str]:
    for name, tensor in tensors.items():
        size = 1
        for width in tensor["shape"]:
            size *= width
        if size <= _SMALL and tensor["dtype"] in ("F32", "F16", "BF16", "F64"):
            yield name


def check_known(folder: Path, config: dict[str, Any]) -> None:
    """Refuse an architecture that transformers does not have: its code would have to be run.

    Raises:
        ValueError: it is none of those.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if config["model_type"] not in CONFIG_MAPPING:
        own = "; the code that it brings is not run" if "auto_map" in config else ""
        raise ValueError(
            f"{folder / 'config.json'}: the installed transformers has no model_type "
            f"{shown(config['model_type'])}{own}; take a model of an architecture that it has"
        )


def check_tokenizer(folder: Path, vocabulary: int) -> None:
    """Refuse a tokenizer that gives tokens the model has not, or whose chat template fails.

    A model without a template is a base model: it is asked in plain text.

    Raises:
        ValueError: it is so, or the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever its files make the library raise
        raise ValueError(
            f"{folder}: its tokenizer cannot be loaded: {shown(str(error))}; take its files from "
            "the model's source again"
        ) from error
    if tokenizer.vocab_size > vocabulary:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model {vocabulary}; "
            "take the tokenizer that belongs to the model"
        )
    if tokenizer.chat_template is None:
        return
    try:
        chat = [{"role": "user", "content": "needle"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program
        raise ValueError(
            f"{folder}: the chat template of its tokenizer fails: {shown(str(error))}; mend it "
            "(chat_template.jinja, or chat_template in tokenizer_config.json)"
        ) from error
    if "needle" not in text:
        raise ValueError(f"{folder}: the chat template does not show the user's message; mend it")


def read_object(path: Path, made_by: str) -> dict[str, Any]:
    """The JSON object in a file that a folder has to hold.

    Raises:
        ValueError: it is not there, holds something else, or is not what a stage wrote there; the
            message says what makes it.
    """
    if not path.exists() and not path.is_symlink():
        raise ValueError(f"{path.parent} has no {path.name}; expected {made_by}")
    found = read_json(stored.check(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds {shown(json.dumps(found))}, expected an object")
    return found
