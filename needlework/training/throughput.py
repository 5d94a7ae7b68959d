"""Floating-point operations of a pass, forward or in training, and what a GPU can do at most.

Counted are matrix products: 2 operations for a weight and a token, 4 * head_dim for a head and a
position that a row sees (Korthikanti et al., Reducing Activation Recomputation in Large Transformer
Models, arXiv 2205.05198, appendix A; causal rows see what is before them). Norms, activations and
softmax are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from needlework.models.shapes import Shape

# FlashAttention's backward pass has five matrix products to the two of its forward pass (Dao,
# FlashAttention-2, arXiv 2307.08691, section 4.1).
_ATTENTION_BACKWARD = 2.5

# Peaks in TFLOP/s: of bfloat16 and float16 on tensor cores without sparsity, with float32 sums; and
# of float32 without tensor cores. The first name that a device's name contains counts.
_PEAKS: list[tuple[str, float, float]] = [
    ("B200", 2250.0, 75.0),  # NVIDIA DGX B200 data sheet, an eighth
    ("H200 NVL", 835.5, 60.0),  # NVIDIA H200 data sheet
    ("H200", 989.5, 67.0),
    ("H100 PCIe", 756.5, 51.0),  # NVIDIA H100 data sheet
    ("H100 NVL", 835.5, 60.0),
    ("H100", 989.5, 67.0),  # SXM
    ("A100", 312.0, 19.5),  # NVIDIA A100 data sheet
    ("L40S", 362.05, 91.6),  # NVIDIA L40S data sheet
    ("A10G", 70.0, 35.0),  # NVIDIA A10G data sheet, made for AWS
    ("L4", 121.0, 30.3),  # NVIDIA L4 data sheet
    ("RTX 4090", 165.2, 82.6),  # NVIDIA Ada GPU architecture whitepaper, appendix A
    ("RTX 3090", 71.0, 35.6),  # NVIDIA Ampere GA102 GPU architecture whitepaper, appendix A
]
# Words of names of a part, or of another card, than the one in the list.
_OTHER = {"MIG", "Ti", "D", "Laptop"}


def forward_flops(shape: Shape, length: int, labelled: int) -> float:
    """Operations of one forward pass over `length` tokens, `labelled` of them through the head."""
    linears = 2.0 * shape.linear_parameters * length
    return linears + _attention(shape, length) + _head(shape, labelled)


def training_flops(
    shape: Shape,
    lengths: Sequence[int],
    labelled: Sequence[int],
    *,
    method: str,
    target_modules: Sequence[str] | str,
    rank: int,
    checkpointing: str,
) -> float:
    """Operations of one forward and backward pass over every example, recomputation included.

    A frozen linear map costs its input gradient in the backward pass, one that is tuned the
    gradient of its weights as well. The head is computed again in the backward pass, as the fused
    heads do that never hold all logits.

    Args:
        shape: the base model's.
        lengths: tokens of each example, prompt and answer.
        labelled: of these, the tokens that have a loss.
        method: "lora" or "full".
        target_modules: names of tuned linear maps, with or without what is before the last dot, or
            "all-linear".
        rank: LoRA rank.
        checkpointing: "none", "selective" (attention is kept, linear maps are computed again) or
            "full".

    Raises:
        ValueError: a name that is not known here.
    """
    if checkpointing not in ("none", "selective", "full"):
        raise ValueError(f"checkpointing: got {checkpointing!r}, takes none, selective or full")
    if method not in ("lora", "full"):
        raise ValueError(f"method: got {method!r}, takes lora or full")
    tuned = tuned_parameters(shape, method=method, target_modules=target_modules, rank=rank)
    total = 0.0
    for length, labels in zip(lengths, labelled, strict=True):
        linears = 2.0 * shape.linear_parameters * length
        weight_gradients = 2.0 * tuned * length
        if method == "lora":
            linears += 2.0 * tuned * length
        attention = _attention(shape, length)
        total += 2 * linears + weight_gradients + (1 + _ATTENTION_BACKWARD) * attention
        total += {"none": 0, "selective": linears, "full": linears + attention}[checkpointing]
        total += 3 * _head(shape, labels)
    return total


def tuned_parameters(
    shape: Shape, *, method: str, target_modules: Sequence[str] | str, rank: int
) -> int:
    """Trainable parameters: of the adapters ("lora"), or of the modules themselves ("full").

    Raises:
        ValueError: a module is no linear map of a layer.
    """
    known = shape.projections
    names = list(known) if isinstance(target_modules, str) else target_modules
    names = [name.rpartition(".")[2] for name in names]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(
            f"target_modules: {', '.join(unknown)} cannot be counted; known: {', '.join(known)}"
        )
    widths = [known[name] for name in names]
    of_layer = (rank * (i + o) if method == "lora" else i * o for i, o in widths)
    return shape.layers * sum(of_layer)


def peak_flops(device_name: str, dtype: str) -> float | None:
    """Dense peak of a GPU in FLOP/s, as its vendor gives it; None of a device not listed here.

    Args:
        device_name: as torch.cuda.get_device_name says it.
        dtype: "bfloat16", "float16" or "float32" (without TF32).
    """
    words = device_name.replace("-", " ").split()
    if _OTHER.intersection(words):
        return None
    for name, half, single in _PEAKS:
        if _contains(words, name.split()):
            return 1e12 * {"bfloat16": half, "float16": half, "float32": single}[dtype]
    return None


def _contains(words: list[str], name: list[str]) -> bool:
    return any(words[i : i + len(name)] == name for i in range(len(words)))


def _attention(shape: Shape, length: int) -> float:
    """Causal: row n sees the positions up to n that are in its layer's window."""
    pairs = sum(seen * (seen + 1) / 2 + (length - seen) * seen for seen in shape.seen(length))
    return 4.0 * shape.heads * shape.head_dim * pairs


def _head(shape: Shape, tokens: int) -> float:
    return 2.0 * shape.hidden * shape.vocabulary * tokens
