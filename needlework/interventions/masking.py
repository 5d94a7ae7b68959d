"""Disable attention heads while a model runs: their output, or what they attend to.

Outputs are changed where the heads of a layer meet, at the input of its output projection, so that
every backend, and adapters attached or merged, work alike; attention through the intercept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from needlework.attention.intercept import Call, causal_lm, intercept
from needlework.attention.layers import AttentionLayer, attention_layers
from needlework.interventions.record import During, Intervention, by_layer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Phase:
    """Which rows of a forward pass produce answer tokens: its last `decoding` ones.

    1 is right within `generate`: the prompt's last position, then every generated token. Set it
    before a pass where it is not: to 0 for a beginning of the prompt, to M for a prompt with all
    but the last of M answer tokens.
    """

    def __init__(self) -> None:
        self.decoding = 1

    def rows(self, during: During, count: int) -> slice:
        """The rows of one part of a forward pass of `count` rows."""
        first = max(0, count - self.decoding)
        return {
            "prefill": slice(0, first),
            "decoding": slice(first, count),
            "both": slice(0, count),
        }[during]


class Place(NamedTuple):
    """Heads of one layer: `heads` is (n,), their numbers, on the layer's device."""

    layer: AttentionLayer
    heads: Tensor

    def outputs(self, inputs: Tensor, rows: slice) -> Tensor:
        """What the heads put out at some rows: (B, rows, n, width), a copy.

        Args:
            inputs: (B, Q, heads * width), what the layer's output projection is given.
            rows: which of the Q.
        """
        return self._apart(inputs)[:, rows].index_select(2, self.heads)

    def replaced(self, inputs: Tensor, rows: slice, outputs: Tensor) -> Tensor:
        """`inputs` with other outputs of the heads at some rows; broadcast to (B, rows, n, width).

        `inputs` stays as it is: others may hold it. The copy is smaller than what the layer's MLP
        holds a moment later, so it does not raise the peak of memory.
        """
        changed = inputs.clone()
        self._apart(changed)[:, rows, self.heads] = outputs.to(changed)
        return changed

    def _apart(self, inputs: Tensor) -> Tensor:
        return inputs.view(*inputs.shape[:-1], self.layer.heads, self.layer.value_width)


def places(layers: Sequence[AttentionLayer | None], heads: Iterable[str]) -> list[Place]:
    """The heads "layer-head" in a model's layers, layer by layer.

    Raises:
        ValueError: the model has no such head; the message names it.
    """
    found = []
    for index, numbers in by_layer(heads).items():
        where = f"head {index}-{max(numbers)} does not exist: "
        if index >= len(layers):
            raise ValueError(f"{where}the model has {len(layers)} layers, counted from 0")
        layer = layers[index]
        if layer is None:
            raise ValueError(f"{where}layer {index} has no attention heads")
        if max(numbers) >= layer.heads:
            raise ValueError(f"{where}layer {index} has {layer.heads} heads, counted from 0")
        device = next(layer.module.parameters()).device
        found.append(Place(layer, torch.tensor(numbers, device=device)))
    return found


@contextmanager
def masked(
    model: PreTrainedModel, intervention: Intervention, means: Mapping[int, Tensor] | None = None
) -> Iterator[Phase]:
    """Within it, every forward pass of `model` has the heads of `intervention` masked.

    "zero" and "mean" replace a head's output before the output projection. "uniform" gives the head
    a query of zeros, so that it attends alike to all it sees, as the code of Wu et al. (arXiv
    2404.15574) does.

    Args:
        model: a decoder, with adapters attached, merged or none.
        intervention: a mask.
        means: for kind "mean": by layer, (heads, width), as `mean_outputs` gives them.

    Raises:
        ValueError: it is no mask, a head does not exist, means are missing, or, in the forward
            pass, a layer of a uniform mask has learned attention sinks.
    """
    if intervention.action != "mask" or intervention.during is None:
        raise ValueError(f"{intervention.name} is a {intervention.action}, expected a mask")
    phase = Phase()
    layers = attention_layers(model) if intervention.heads else []
    chosen = places(layers, intervention.heads)
    with ExitStack() as stack:
        if intervention.kind == "uniform":
            edit = _uniform(chosen, phase, intervention.during)
            stack.enter_context(intercept(model, edit=edit))
        else:
            for place in chosen:
                outputs = _outputs(place, intervention, means)
                hook = _replacing(place, phase, intervention.during, outputs)
                handle = place.layer.projection.register_forward_pre_hook(hook)
                stack.callback(handle.remove)
        yield phase


def mean_outputs(
    model: PreTrainedModel, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[int, Tensor]:
    """The mean output of every head over all real positions of some prompts.

    Args:
        model: a decoder, with or without adapters.
        batches: ids and mask, each (B, Q); the mask is 0 where a token is padding.

    Returns:
        By layer, (heads, width), float32; a layer without attention heads is missing.

    Raises:
        ValueError: there is no position to take a mean over.
    """
    decoder = causal_lm(model).get_decoder()
    layers = [layer for layer in attention_layers(model) if layer is not None]
    sums: dict[int, Tensor] = {}
    count = 0

    def adding(layer: AttentionLayer, real: Tensor) -> Callable[[Any, tuple[Tensor]], None]:
        def add(module: Any, inputs: tuple[Tensor]) -> None:
            added = inputs[0][real.to(inputs[0].device)].sum(0, dtype=torch.float32)
            sums[layer.index] = sums[layer.index] + added if layer.index in sums else added

        return add

    for ids, mask in batches:
        count += int(mask.sum())
        with ExitStack() as stack, torch.no_grad():
            for layer in layers:
                hook = adding(layer, mask.bool())
                stack.callback(layer.projection.register_forward_pre_hook(hook).remove)
            decoder(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                use_cache=False,
            )
    if not count:
        raise ValueError("the mean of head outputs needs at least one prompt")
    return {
        layer.index: (sums[layer.index] / count).view(layer.heads, layer.value_width)
        for layer in layers
    }


def _outputs(
    place: Place, intervention: Intervention, means: Mapping[int, Tensor] | None
) -> Tensor:
    """What masked heads put out: (n, width)."""
    layer = place.layer
    if intervention.kind == "zero":
        return torch.zeros(len(place.heads), layer.value_width, device=place.heads.device)
    if means is None or layer.index not in means:
        raise ValueError(
            f"{intervention.name} needs the mean outputs of the heads of layer {layer.index}, and "
            "there are none; make them with mean_outputs"
        )
    if means[layer.index].shape != (layer.heads, layer.value_width):
        raise ValueError(
            f"the mean outputs of layer {layer.index} are {tuple(means[layer.index].shape)}, "
            f"expected {(layer.heads, layer.value_width)}; make them with this model"
        )
    return means[layer.index].to(place.heads.device)[place.heads]


def _replacing(
    place: Place, phase: Phase, during: During, outputs: Tensor
) -> Callable[[Any, tuple[Tensor]], tuple[Tensor]]:
    def replace(module: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        rows = phase.rows(during, inputs[0].shape[1])
        if rows.start == rows.stop:
            return inputs
        return (place.replaced(inputs[0], rows, outputs),)

    return replace


def _uniform(chosen: Sequence[Place], phase: Phase, during: During) -> Callable[[Call], Tensor]:
    by_index = {place.layer.index: place for place in chosen}

    def edit(call: Call) -> Tensor:
        place = by_index.get(call.layer)
        if place is None:
            return call.query
        if call.terms.sinks is not None:
            raise ValueError(
                f"layer {call.layer} has learned attention sinks: with a query of zeros its heads "
                "do not attend uniformly; mask them with kind zero or mean"
            )
        query = call.query.clone()
        query[:, place.heads, phase.rows(during, query.shape[2])] = 0
        return query

    return edit
