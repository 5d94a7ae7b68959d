"""PEFT adapters on one base model: attached by name, one of them, or none, in use at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework import stored
from needlework.given import check_file, shown
from needlework.models import Base
from needlework.models.folder import check_finite, header, read_object
from needlework.provenance import file_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"

# What an adapter's record and the base it is put on must have in common.
_SAME = ("source", "revision", "rope", "sliding_window", "context", "weights_sha256")


def attach(model: PreTrainedModel, base: Base, folders: Mapping[str, Path]) -> Any:
    """Attach adapters that `training` wrote to a base model, so that one load serves them all.

    An adapter of whole weights, which are float32 in its file, runs in the precision of the model.

    Args:
        model: what `load_model` gave for `base`.
        base: the record of the base model.
        folders: the adapters by the names they get.

    Returns:
        The model in evaluation mode: a PeftModel, with the first adapter in use, or `model` itself
        where there is none.

    Raises:
        ValueError: an adapter was trained on other weights, RoPE base, window or context, or some
            of its weights find no place: it would run, and its numbers would be wrong without a
            word. Or some are low-rank and some whole weights, which PEFT cannot put on one model.
    """
    from peft import PeftModel

    check(base, folders)
    attached: Any = model
    for name, folder in folders.items():
        try:
            if attached is model:
                attached = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
            else:
                attached.load_adapter(str(folder), adapter_name=name)
        except KeyError as missing:  # of whole weights; of low-rank ones it only warns
            raise ValueError(
                f"{folder}: {_WEIGHTS} has no {missing}; was it trained on another architecture?"
            ) from missing
        except RuntimeError as error:  # of a shape
            raise ValueError(
                f"{folder}: its weights do not fit the model: {shown(str(error).strip())}; was it "
                "trained on another architecture?"
            ) from error
        _check_weights(attached, name, folder)
    return attached.eval()


def check(base: Base, folders: Mapping[str, Path]) -> None:
    """Refuse adapters that do not belong to a base model, before that is loaded.

    Raises:
        ValueError: as `attach` says, as far as it can be told without the model; or a folder is
            none of an adapter, or its weights hold what is no finite number.
    """
    for folder in folders.values():
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}; name that of an adapter")
        config = read_object(folder / _CONFIG, "the folder of an adapter, as train_adapter writes")
        stored.check(check_file(folder / _WEIGHTS))
        _check_base(base, folder)
        _check_ranks(header(folder / _WEIGHTS), config, folder)
        check_finite([folder / _WEIGHTS])
    _check_kinds(folders)


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


def merged(model: PreTrainedModel, base: Base, folder: Path) -> PreTrainedModel:
    """`model` with an adapter's weights added in; raises as `attach` does."""
    result: PreTrainedModel = attach(model, base, {"merged": folder}).merge_and_unload()
    return result


def adapter_hash(folder: Path | None) -> str | None:
    """SHA-256 of an adapter's weights; None stands for the untuned model."""
    return file_hash(folder / _WEIGHTS) if folder else None


def training_seed(folder: Path | None) -> int | None:
    """The seed an adapter was trained with, where its record says so; None of the untuned model."""
    if folder is None:
        return None
    record = stored.read_json(folder / "training.json")
    seed: int | None = record.get("seed")
    return seed


def _check_base(base: Base, folder: Path) -> None:
    made_by = "the record that train_adapter writes"
    record = read_object(folder / "training.json", made_by).get("base")
    if not isinstance(record, dict):
        raise ValueError(
            f"{folder / 'training.json'}: has no `base`, the record of what it was trained on; "
            "train the adapter by train_adapter"
        )
    for key in _SAME:
        # Records from before contexts could be extended have no such key.
        found = record.get(key)
        if found != getattr(base, key):
            raise ValueError(
                f"the adapter {folder} was trained with {key} = {found!r}, the base model "
                f"has {getattr(base, key)!r}; train it again on this base model"
            )


def _check_ranks(tensors: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> None:
    """The rank that an adapter's configuration has is that of its weights."""
    rank, exceptions = config.get("r"), config.get("rank_pattern")
    for name, tensor in tensors.items():
        if "lora_A" in name and not exceptions and tensor["shape"][0] != rank:
            raise ValueError(
                f"{folder}: {_CONFIG} says r = {shown(rank)}, the weights of {name} have the rank "
                f"{tensor['shape'][0]}; put the configuration there that belongs to them"
            )


def _check_kinds(folders: Mapping[str, Path]) -> None:
    whole = {
        name: bool(stored.read_json(folder / _CONFIG).get("modules_to_save"))
        for name, folder in folders.items()
    }
    if len(set(whole.values())) > 1:
        full = sorted(name for name in whole if whole[name])
        rest = sorted(name for name in whole if not whole[name])
        raise ValueError(
            f"adapters of whole weights ({', '.join(full)}) and low-rank ones ({', '.join(rest)}) "
            "cannot be put on one model; load the base model once for each kind"
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
