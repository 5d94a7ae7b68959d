"""Which layers of a model have attention heads, how many, and where their outputs meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from needlework.attention.intercept import Call, causal_lm, intercept

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What the architectures of transformers call the projection of the concatenated heads.
_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj", "wo", "proj", "attention_output")


@dataclass(frozen=True)
class AttentionLayer:
    """The attention heads of one decoder layer.

    `value_width` is the width of one head's output, which is not always that of its queries (MLA).
    `window` is how many positions a row sees, itself included; None: all before it.
    """

    index: int
    heads: int
    kv_heads: int
    value_width: int
    window: int | None
    module: Any

    @property
    def projection(self) -> torch.nn.Module:
        """The output projection: its input is (B, Q, heads * value_width), head after head.

        Where an adapter wraps it, the wrapper, which has the same input.

        Raises:
            ValueError: the layer has none that is known here, so its heads cannot be told apart.
        """
        width = self.heads * self.value_width
        for name in _PROJECTIONS:
            found = getattr(self.module, name, None)
            if isinstance(found, torch.nn.Module) and getattr(found, "in_features", None) == width:
                return found
        raise ValueError(
            f"layer {self.index} ({type(self.module).__name__}) has no output projection of input "
            f"width {width} under the names {', '.join(_PROJECTIONS)}; its heads cannot be masked "
            "or patched"
        )


def attention_layers(model: PreTrainedModel) -> list[AttentionLayer | None]:
    """The heads of every decoder layer; None for a layer without any (linear attention, ...).

    One token goes through the model: a layer has heads if it calls the attention interface.

    Raises:
        ValueError: no layer has attention heads that can be intercepted.
    """
    found: dict[int, AttentionLayer] = {}

    def note(call: Call) -> None:
        found[call.layer] = AttentionLayer(
            index=call.layer,
            heads=call.query.shape[1],
            kv_heads=call.key.shape[1],
            value_width=call.value.shape[-1],
            window=call.window,
            module=call.module,
        )

    base = causal_lm(model)
    with intercept(model, read=note, alone=True), torch.no_grad():
        base(input_ids=torch.zeros(1, 1, dtype=torch.long, device=base.device), use_cache=False)
    return [found.get(index) for index in range(base.config.get_text_config().num_hidden_layers)]
