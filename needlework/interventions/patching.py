"""Run a model with some heads' outputs from another run of it: two adapters in lock-step.

Before each forward pass of the target, the source runs on the same tokens with a cache of its own;
then the target runs with the source's head outputs in place of its own, and applies its own output
projection to them: CMAP of Prakash et al. (arXiv 2402.14811). Both are adapters of one base model,
so that memory holds one model and two caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor
from transformers import DynamicCache

from needlework.attention.intercept import ARGUMENT, causal_lm
from needlework.attention.layers import AttentionLayer, attention_layers
from needlework.interventions.masking import Phase, Place, places
from needlework.interventions.record import During, Intervention

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers.cache_utils import Cache


class LockStep(Phase):
    """What is patched now, and where the source stands.

    `decoding` says which rows a patch at the "last" position changes.

    Attributes:
        cache: the source's keys and values. It grows with the target's cache, and begins anew with
            it. Whoever crops the target's or puts an older one back does the same here.
    """

    def __init__(self, layers: list[AttentionLayer | None]) -> None:
        super().__init__()
        self.cache: Cache | None = None
        self._layers = layers
        self._intervention: Intervention | None = None
        self._during: During = "decoding"
        self._places: dict[int, Place] = {}
        self._recorded: dict[int, Tensor] = {}
        self._in_source = False

    @property
    def intervention(self) -> Intervention | None:
        """The patch that is applied from the next forward pass on; None: none.

        Setting it raises ValueError if it is no patch or a head of it does not exist.
        """
        return self._intervention

    @intervention.setter
    def intervention(self, intervention: Intervention | None) -> None:
        if intervention is not None and intervention.action != "patch":
            raise ValueError(f"{intervention.name} is a mask, expected a patch")
        heads = intervention.heads if intervention else []
        self._places = {place.layer.index: place for place in places(self._layers, heads)}
        all_rows = intervention is not None and intervention.positions == "all"
        self._during = "both" if all_rows else "decoding"
        self._intervention = intervention

    def source_cache(self, keywords: dict[str, Any], config: Any) -> Cache | None:
        """The cache the source runs with where the target runs with `keywords`.

        Raises:
            ValueError: the source's cache holds another number of tokens than the target's.
        """
        cache, used = keywords.get("past_key_values"), keywords.get("use_cache")
        if cache is None and not (config.use_cache if used is None else used):
            return None
        length = 0 if cache is None else int(cache.get_seq_length())
        if length == 0:
            self.cache = DynamicCache(config=config)
        held = 0 if self.cache is None else int(self.cache.get_seq_length())
        if held != length:
            raise ValueError(
                f"the target's cache holds {length} tokens and the source's {held}: read the "
                "prompt within the lock-step, and crop or restore both caches alike"
            )
        return self.cache

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, forward passes are the source's."""
        self._in_source = True
        try:
            yield
        finally:
            self._in_source = False

    @property
    def in_source(self) -> bool:
        """Whether the forward pass that is running is the source's."""
        return self._in_source

    def at_projection(self, layer: int, inputs: Tensor) -> Tensor:
        """What a layer's output projection is to be given in place of `inputs`, (B, Q, width)."""
        place = self._places.get(layer)
        rows = self.rows(self._during, inputs.shape[1])
        if place is None or rows.start == rows.stop:
            return inputs
        if self._in_source:
            self._recorded[layer] = place.outputs(inputs, rows)
            return inputs
        return place.replaced(inputs, rows, self._recorded.pop(layer))


@contextmanager
def lockstep(model: PeftModel, source: str | None, target: str | None) -> Iterator[LockStep]:
    """Within it, `model` runs as `target`, patched from `source`, in `generate` too.

    A forward pass without cache leaves the source's cache alone. Beam search reorders the target's
    cache only, so it must not be used.

    Args:
        model: a base model with the adapters attached, in evaluation mode.
        source: the adapter that gives outputs; None: the base model.
        target: the adapter that is patched; None: the base model.

    Yields:
        What decides about the patch; it patches nothing until its `intervention` is set.

    Raises:
        ValueError: the model has no such adapter, or cannot switch between them.
    """
    switched = _switched(model, source, target)
    decoder = causal_lm(model).get_decoder()
    layers = attention_layers(model)
    step = LockStep(layers)

    def lead(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if step.in_source:
            return
        cache = step.source_cache(keywords, decoder.config)
        # Whoever reads or edits attention means the target's.
        own = {name: value for name, value in keywords.items() if name != ARGUMENT}
        own |= {"past_key_values": cache, "use_cache": cache is not None}
        _switch(switched, source)
        try:
            with step.recording(), torch.no_grad():
                decoder(*arguments, **own)
        finally:
            _switch(switched, target)

    def at_projection(layer: int) -> Callable[[Any, tuple[Tensor]], tuple[Tensor]]:
        return lambda module, inputs: (step.at_projection(layer, inputs[0]),)

    with ExitStack() as stack:
        stack.enter_context(_restored(model, switched))
        hook = decoder.register_forward_pre_hook(lead, with_kwargs=True)
        stack.callback(hook.remove)
        for layer in layers:
            if layer is not None:
                hook = layer.projection.register_forward_pre_hook(at_projection(layer.index))
                stack.callback(hook.remove)
        yield step


def _switched(model: PeftModel, source: str | None, target: str | None) -> list[BaseTunerLayer]:
    """The modules that hold the adapters, each with all of them."""
    known = sorted(getattr(model, "peft_config", {}))
    for name in (source, target):
        if name is not None and name not in known:
            raise ValueError(f"the model has no adapter {name!r}; it has {known}")
    if source is None and target is None:
        raise ValueError("source and target are both the base model: there is nothing to patch")
    modules = list(model.modules())
    if any(isinstance(module, AuxiliaryTrainingWrapper) for module in modules):
        raise ValueError(
            "an adapter has whole modules of its own (modules_to_save); lock-step switches between "
            "low-rank adapters only"
        )
    found = [module for module in modules if isinstance(module, BaseTunerLayer)]
    if any(module.merged or module.disable_adapters for module in found):
        raise ValueError("the model's adapters are merged or disabled; unmerge or enable them")
    return found


def _switch(layers: list[BaseTunerLayer], adapter: str | None) -> None:
    # Each layer's own switch, as transformers does it: PeftModel.set_adapter walks all modules of
    # the model and takes three times as long, and PeftModel.disable_adapter longer still.
    for layer in layers:
        layer.set_adapter([] if adapter is None else [adapter], inference_mode=True)


@contextmanager
def _restored(model: PeftModel, layers: list[BaseTunerLayer]) -> Iterator[None]:
    """Whatever is switched within, adapters and gradient flags are as before after it."""
    active = [list(layer.active_adapters) for layer in layers]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for layer, adapters in zip(layers, active, strict=True):
            layer.set_adapter(adapters, inference_mode=True)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
