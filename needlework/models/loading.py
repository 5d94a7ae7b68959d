"""Tokenizers and models of base records, loaded as the record says, and on what they run."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.models.base import Base, reach
from needlework.models.rotary import check_rotary
from needlework.progress import say

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("auto", "float32", "bfloat16", "float16")
ATTENTION = ("auto", "flash_attention_3", "flash_attention_2", "sdpa", "eager")


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a base model, with a padding token.

    Raises:
        ValueError: there is only a slow tokenizer, which cannot say where a token lies in a text.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        base.path, trust_remote_code=False
    )
    if not tokenizer.is_fast:
        raise ValueError(f"{base.source!r} has no fast tokenizer; needle spans need its offsets")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    base: Base, *, dtype: str, device: str = "cpu", attention: str = "auto"
) -> PreTrainedModel:
    """The base model in evaluation mode; `adapters.attach` puts adapters on it.

    Args:
        base: the record that `prepare` wrote.
        dtype: "float32", "bfloat16", "float16", or "auto" (`resolve_dtype`).
        device: "cpu", "cuda", "cuda:1", ...
        attention: what `choose_attention` takes.

    Raises:
        ValueError: the model is hosted, or not the one of the record any more, or it does not turn
            positions as the record says; or it cannot run so.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if base.kind == "hosted":
        raise ValueError(f"{base.source!r} is hosted: it has no weights here to load")
    dtype = resolve_dtype(dtype, device)
    chosen, reason = _attention(attention, device, dtype)
    model = AutoModelForCausalLM.from_pretrained(
        base.path,
        dtype=getattr(torch, dtype),
        # Left to itself, transformers takes sdpa, or eager for the few models that know no sdpa.
        attn_implementation=None if attention == "auto" or chosen == "sdpa" else chosen,
        use_safetensors=True,
        trust_remote_code=False,
    ).to(device)
    for key, found in reach(model.config.get_text_config()).items():
        if found != getattr(base, key):
            raise ValueError(
                f"{base.path} has {key} = {found!r} by now, its record {getattr(base, key)!r}; "
                "delete base.json of the study and run again to prepare the model anew"
            )
    check_rotary(model, base)
    if attention == "auto" and chosen != "sdpa":
        reason = _switch(model, chosen)
    say(
        f"loaded the base model {base.source}: {_position_line(base)}; {dtype} on {device}, "
        f"attention by {attention_of(model)}{reason and f': {reason}'}"
    )
    return model.eval()


def attention_of(model: Any) -> str:
    """The attention implementation that a model, with or without adapters, runs."""
    return str(model.config._attn_implementation)


def resolve_dtype(dtype: str, device: str) -> str:
    """The precision that runs: what was asked, or for "auto" the fast one that the device has.

    On a GPU, bfloat16 where its compute capability is at least 8; on a CPU, bfloat16 where
    /proc/cpuinfo shows instructions for it, because without them it is about 200 times slower than
    float32; else float32.

    Raises:
        ValueError: there is no such precision.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, expected one of {', '.join(DTYPES)}")
    return _auto_dtype(_capability(device), _cpu_flags()) if dtype == "auto" else dtype


def _auto_dtype(capability: tuple[int, int] | None, cpu_flags: set[str]) -> str:
    fast = (
        bool(cpu_flags & {"avx512_bf16", "amx_bf16"})
        if capability is None
        else capability >= (8, 0)
    )
    return "bfloat16" if fast else "float32"


def choose_attention(asked: str, device: str, dtype: str) -> str:
    """The attention implementation for a device and precision (not "auto").

    "auto": FlashAttention 3 (Shah et al., arXiv 2407.08608) or 2 (Dao, arXiv 2307.08691), whichever
    the GPU can run and is installed, as a package or through `kernels`; else sdpa.

    Raises:
        ValueError: there is none of that name, or what was asked for cannot run here.
    """
    return _attention(asked, device, dtype)[0]


def _attention(asked: str, device: str, dtype: str) -> tuple[str, str]:
    return decide_attention(asked, dtype, _capability(device), _installed)


def decide_attention(
    asked: str,
    dtype: str,
    capability: tuple[int, int] | None,
    installed: Callable[[str], bool],
) -> tuple[str, str]:
    """`choose_attention` from plain facts.

    Args:
        asked: one of `ATTENTION`.
        dtype: precision of the model.
        capability: compute capability of the GPU; None: no GPU.
        installed: whether an implementation is; only asked where the GPU can run it.

    Returns:
        The implementation, and why it is no flash attention where that would have been taken.
    """
    if asked not in ATTENTION:
        raise ValueError(f"attention: got {asked!r}, expected one of {', '.join(ATTENTION)}")
    if asked in ("sdpa", "eager"):
        return asked, ""
    reasons = []
    for name in ATTENTION[1:3]:
        if asked in ("auto", name):
            reason = _obstacle(name, dtype, capability, installed)
            if not reason:
                return name, ""
            reasons.append(reason)
    if asked != "auto":
        raise ValueError(f"attention: {asked} cannot run here: {reasons[0]}; take auto")
    return "sdpa", reasons[-1]


def _obstacle(
    name: str,
    dtype: str,
    capability: tuple[int, int] | None,
    installed: Callable[[str], bool],
) -> str:
    if capability is None:
        return "flash attention needs a GPU"
    if dtype == "float32":
        return "flash attention needs bfloat16 or float16"
    if name == "flash_attention_3" and capability[0] != 9:
        return f"{name} needs compute capability 9, this GPU has {capability[0]}.{capability[1]}"
    if capability < (8, 0):
        return f"{name} needs compute capability 8, this GPU has {capability[0]}.{capability[1]}"
    if not installed(name):
        return "no flash attention is installed; install `kernels` or flash-attn"
    return ""


def _installed(name: str) -> bool:
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    available = {
        "flash_attention_3": is_flash_attn_3_available,
        "flash_attention_2": is_flash_attn_2_available,
    }
    return bool(available[name](kernels_fallback_ok=True))


def _capability(device: str) -> tuple[int, int] | None:
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_capability(device)


def _cpu_flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The CPU's instruction sets, as Linux names them; none where it does not say."""
    if not path.is_file():
        return set()
    lines = path.read_text(encoding="utf-8").splitlines()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def _switch(model: PreTrainedModel, chosen: str) -> str:
    """Let a model use an attention that not all models know; why not, where this one does not."""
    try:
        model.set_attn_implementation(chosen)
    except (ValueError, ImportError) as error:
        return str(error).split(". ")[0]
    return ""


def _position_line(base: Base) -> str:
    kinds = base.rope.values() if "rope_type" not in base.rope else [base.rope]
    thetas = [f"{rope['rope_theta']:.15g} ({rope['rope_type']})" for rope in kinds if rope]
    window = "no window" if base.sliding_window is None else f"window {base.sliding_window}"
    theta = f"theta {', '.join(thetas)}" if thetas else "no RoPE"
    return f"{theta}, {window}, length {base.positions}"


def add_compute_flags(parser: ArgumentParser) -> None:
    """The flags of every command that runs a model: where, how precisely, on how many threads."""
    add = parser.add_argument
    add("--device", default="cpu", help="cpu or cuda (%(default)s)")
    add("--dtype", default="float32", choices=DTYPES, help="precision (%(default)s)")
    add("--attention", default="auto", choices=ATTENTION, help="what computes it (%(default)s)")
    add("--threads", type=int, default=1, help="CPU threads (%(default)s)")


def limit_threads(count: int) -> None:
    """Let torch, its BLAS and the tokenizers use `count` threads; call before torch is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(count)
    import torch

    torch.set_num_threads(count)
