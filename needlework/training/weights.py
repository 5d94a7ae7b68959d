"""Which weights are trained, in which precision, and how they are written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from needlework.atomic import put
from needlework.training.settings import SftSettings

if TYPE_CHECKING:
    from peft import LoraConfig

_SAVED = ("adapter_model.safetensors", "adapter_config.json")


def peft_config(settings: SftSettings) -> LoraConfig:
    """What PEFT trains: low-rank updates of the target modules, or whole copies of them.

    Copies are an adapter without low-rank parts, so that everything that loads, swaps or merges
    adapters does so with them.
    """
    from peft import LoraConfig
    from peft.utils.constants import DUMMY_TARGET_MODULES

    if settings.method == "full":
        return LoraConfig(
            target_modules=DUMMY_TARGET_MODULES,
            modules_to_save=list(settings.target_modules),
            task_type="CAUSAL_LM",
        )
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )


def check_targets(model: Any, targets: Sequence[str] | str) -> None:
    """Every target names a module; PEFT passes over one that names none, where others do.

    Raises:
        ValueError: it does not; the modules there are, are listed.
    """
    if isinstance(targets, str):
        return
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    lost = [t for t in targets if not any(n == t or n.endswith(f".{t}") for n in names)]
    if lost:
        there = sorted({name.rpartition(".")[2] for name in names})
        raise ValueError(f"target_modules {lost} are not in the model; it has {there}")


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def in_float32(model: Any) -> None:
    """Train in float32, whatever the base: bfloat16 would round updates of 5e-6 away."""
    for parameter in trainable(model).values():
        parameter.data = parameter.data.float()


def save(model: Any, output: Path, *, sharded: bool, write: bool) -> None:
    """Write what was trained to `output`, in float32.

    Args:
        model: a PeftModel.
        output: the folder of the adapter.
        sharded: DeepSpeed holds the weights in float32 in parts, one in each process, all of which
            must come here.
        write: whether this process writes.

    Raises:
        ValueError: a weight is NaN or infinite.
    """
    weights = {name: _whole(p, sharded) for name, p in trainable(model).items()}
    broken = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if broken:
        raise ValueError(
            f"{len(broken)} trained weights are NaN or infinite, such as {broken[0]}; lower "
            "learning_rate or max_grad_norm"
        )
    if not write:
        return
    folder = output / "saving"
    model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
    for name in _SAVED:  # a rename is whole or absent, as every output
        put(folder / name, output / name)
    shutil.rmtree(folder)


def _whole(parameter: torch.nn.Parameter, sharded: bool) -> torch.Tensor:
    if not sharded:
        return parameter.detach().float()
    from deepspeed.utils import safe_get_full_fp32_param

    found: torch.Tensor = safe_get_full_fp32_param(parameter)
    return found
