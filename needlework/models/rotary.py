"""Whether the rotary frequencies in a model are those that its record asks for.

A theta that is ignored, or frequencies cast to half precision, give plausible numbers. So they are
computed here from the record by own formulas and compared with the buffers really in the model.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from needlework.models.base import Base

# float32 powers differ by about 1e-6 between devices; half precision by 5e-4 and more.
_TOLERANCE = 1e-5

# Types whose frequencies at load are the default's: scaling begins with longer input.
_AS_DEFAULT = ("default", "dynamic")


def expected_inv_freq(config: Any) -> dict[str, tuple[Tensor, float]]:
    """What a model's configuration makes of its rotary positions.

    Default: theta ** (-2i / d) for i < d / 2, with d the rotated part of a head (Su et al., arXiv
    2104.09864, section 3.2.2); linear: divided by the factor (Chen et al., arXiv 2306.15595);
    dynamic: the default's until the input is longer; yarn: Peng et al. (arXiv 2309.00071, sections
    3.2 and 3.4). Other types: transformers' own functions.

    Args:
        config: a text model's configuration, with `rope_parameters`.

    Returns:
        Inverse frequencies (d / 2,) in float32 and the factor of cosines and sines; by layer type,
        or under "" where all layers turn alike. Empty without rotary positions.
    """
    rope = config.rope_parameters or {}
    if not rope or "rope_type" in rope:
        return {"": _frequencies(config, rope, None)} if rope else {}
    return {kind: _frequencies(config, each, kind) for kind, each in rope.items() if each}


def check_rotary(model: PreTrainedModel, base: Base) -> None:
    """Compare the frequencies in a model with those its record asks for.

    Raises:
        ValueError: they differ; or the context was extended, and the model has none to check.
    """
    config = copy.deepcopy(model.config.get_text_config())
    config.rope_parameters = base.rope
    expected = expected_inv_freq(config)
    checked = 0
    for module in model.get_decoder().modules():
        for kind, (frequencies, scale) in expected.items():
            prefix = f"{kind}_" if kind else ""
            found = dict(module.named_buffers(recurse=False)).get(f"{prefix}inv_freq")
            if found is None:
                continue
            rope = base.rope[kind] if kind else base.rope
            _compare(found, frequencies, rope, base)
            _compare_rest(module, kind, rope, scale, base)
            checked += 1
    if not checked and base.context is not None:
        raise ValueError(f"{base.path} has no rotary frequencies, its record asks for {base.rope}")


def _frequencies(config: Any, rope: dict[str, Any], kind: str | None) -> tuple[Tensor, float]:
    import torch

    name, theta = rope["rope_type"], rope["rope_theta"]
    if name not in (*_AS_DEFAULT, "linear", "yarn"):
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        keywords = {"layer_type": kind} if kind else {}
        frequencies, scale = ROPE_INIT_FUNCTIONS[name](config, "cpu", **keywords)
        return frequencies, scale
    # Heads of different layers may differ in size (Gemma 4).
    sized = config.per_layer_config[kind] if kind and config.is_heterogeneous else config
    head = getattr(sized, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = int(head * rope.get("partial_rotary_factor", 1.0))
    plain = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    if name in _AS_DEFAULT:
        return plain.float(), 1.0
    if name == "linear":
        return (plain / rope["factor"]).float(), 1.0
    factor = rope["factor"] or (
        config.max_position_embeddings / rope["original_max_position_embeddings"]
    )
    kept = _yarn_kept(rope, size)
    return (plain * kept + plain / factor * (1 - kept)).float(), _yarn_scale(rope, factor)


def _yarn_kept(rope: dict[str, Any], size: int) -> Tensor:
    """The share of every dimension's frequency that YaRN leaves unscaled: (size / 2,).

    1 where a dimension turns more than beta_fast times within the trained length, 0 where less than
    beta_slow times, linear in the dimension's number between (arXiv 2309.00071, section 3.2).
    """
    import torch

    def dimension(turns: float) -> float:
        """The number of the dimension that turns so often within the trained length."""
        period = rope["original_max_position_embeddings"] / (turns * 2 * math.pi)
        return size * math.log(period) / (2 * math.log(rope["rope_theta"]))

    first, last = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    width = last - first or 0.001
    numbers = torch.arange(size // 2, dtype=torch.float64)
    return 1 - ((numbers - first) / width).clamp(0, 1)


def _yarn_scale(rope: dict[str, Any], factor: float) -> float:
    """The factor of cosines and sines: 0.1 ln(factor) + 1 unless given (section 3.4)."""
    given = rope.get("attention_factor")
    if given is not None:
        return float(given)

    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    above, below = rope.get("mscale"), rope.get("mscale_all_dim")
    return grown(above) / grown(below) if above and below else grown(1)


def _compare(found: Tensor, expected: Tensor, rope: dict[str, Any], base: Base) -> None:
    import torch

    there = found.detach().float().cpu()
    if there.shape == expected.shape and torch.allclose(there, expected, rtol=_TOLERANCE, atol=0):
        return
    reason = (
        f"in {str(found.dtype).removeprefix('torch.')}, too coarse for long contexts"
        if found.dtype != torch.float32
        else f"of theta {_theta(there):.6g}"
    )
    raise ValueError(
        f"the model from {base.path} turns positions by {len(there)} frequencies {reason}; its "
        f"record asks for {len(expected)} of theta {rope['rope_theta']:.6g} "
        f"({rope['rope_type']}). Change theta in the model's folder before it is loaded, and "
        "prepare the model anew"
    )


def _compare_rest(module: Any, kind: str, rope: dict[str, Any], scale: float, base: Base) -> None:
    """What the frequencies at load do not show: scaling that begins later, and YaRN's factor."""
    named = getattr(module, "rope_type", rope["rope_type"])
    named = named.get(kind) if isinstance(named, dict) else named
    found = getattr(module, f"{kind}_attention_scaling" if kind else "attention_scaling", scale)
    if named != rope["rope_type"] or not math.isclose(found, scale, rel_tol=_TOLERANCE):
        raise ValueError(
            f"the model from {base.path} turns positions by {named!r} with cosines times "
            f"{found:.6g}; its record asks for {rope['rope_type']!r} and {scale:.6g}"
        )


def _theta(frequencies: Tensor) -> float:
    """The theta of default or linearly scaled frequencies: (d / 2,) to a number; nan for one."""
    count = len(frequencies)
    if count < 2:
        return math.nan
    return float((frequencies[0] / frequencies[-1]).double() ** (count / (count - 1)))
