"""PEFT adapters on one base model: attached by name, one of them, or none, in use at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.models import Base
from needlework.provenance import file_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS = "adapter_model.safetensors"


def attach(model: PreTrainedModel, base: Base, folders: Mapping[str, Path]) -> Any:
    """Attach adapters that `training` wrote to a base model, so that one load serves them all.

    Args:
        model: what `load_model` gave for `base`.
        base: the record of the base model.
        folders: the adapters by the names they get.

    Returns:
        The model in evaluation mode: a PeftModel, with the first adapter in use, or `model` itself
        where there is none.

    Raises:
        ValueError: an adapter was trained on other weights, RoPE base or window, or some of its
            weights find no place: it would run, and its numbers would be wrong without a word.
    """
    from peft import PeftModel

    attached: Any = model
    for name, folder in folders.items():
        _check_base(base, folder)
        if attached is model:
            attached = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
        else:
            attached.load_adapter(str(folder), adapter_name=name)
        _check_weights(attached, name, folder)
    return attached.eval()


@contextmanager
def using(model: Any, name: str | None) -> Iterator[None]:
    """Within it, the adapter `name` is in use; None is the base model without adapter."""
    if not hasattr(model, "peft_config"):
        if name is not None:
            raise ValueError(f"the adapter {name!r} is not attached; the model has none")
        yield
        return
    before = model.active_adapter
    if name is not None:
        model.set_adapter(name, inference_mode=True)
    try:
        with model.disable_adapter() if name is None else nullcontext():
            yield
    finally:
        model.set_adapter(before, inference_mode=True)


def adapter_hash(folder: Path | None) -> str | None:
    """SHA-256 of an adapter's weights; None stands for the untuned model."""
    return file_hash(folder / _WEIGHTS) if folder else None


def training_seed(folder: Path | None) -> int | None:
    """The seed an adapter was trained with, where its record says so; None of the untuned model."""
    if folder is None:
        return None
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    seed: int | None = record.get("seed")
    return seed


def _check_base(base: Base, folder: Path) -> None:
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))["base"]
    for key in ("source", "revision", "rope", "sliding_window", "weights_sha256"):
        if record[key] != getattr(base, key):
            raise ValueError(
                f"the adapter {folder} was trained with {key} = {record[key]!r}, the base model "
                f"has {getattr(base, key)!r}; train it again on this base model"
            )


def _check_weights(attached: Any, name: str, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(folder / _WEIGHTS, framework="pt") as file:
        saved = set(file.keys())
    loaded = set(get_peft_model_state_dict(attached, adapter_name=name))
    if saved != loaded:
        raise ValueError(
            f"{folder}: {len(saved - loaded)} saved weights found no place in the model and "
            f"{len(loaded - saved)} places got none; was it trained on another architecture?"
        )
