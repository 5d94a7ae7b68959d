"""Answers of a model whose attention heads are masked or patched, condition by condition.

A batch's prompts are read once for all conditions that leave the reading alone; each of them then
costs its decode steps only. The others read the prompts anew.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from needlework.adapters import adapter_hash, attach, using
from needlework.answering import Batch, batches, generate, prefill, rewound
from needlework.evaluation.predict import Row, answer_identity, fill, rows_of
from needlework.examples import Example, read_examples
from needlework.interventions.masking import Phase, masked, mean_outputs
from needlework.interventions.patching import LockStep, lockstep
from needlework.interventions.record import Intervention, write_intervention
from needlework.models import base_of, load_model, load_tokenizer
from needlework.progress import say
from needlework.provenance import file_hash
from needlework.rendering.prompt import Unrenderable, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Apply = Callable[[Intervention], AbstractContextManager[Phase]]


def predict_conditions(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    conditions: Sequence[Intervention],
    folder: Path,
    *,
    target: str | None,
    source: str | None,
    probe: Sequence[Example],
    length: int,
    max_new_tokens: int,
    batch: int,
    identity: str,
) -> dict[str, list[Row]]:
    """Answer every example under every condition, and write `folder`/<name of it>.jsonl.

    The rows are those of `predict`, with the same steps of computation: a condition that does
    nothing gives the answers of the plain model. A killed run loses one batch of examples.

    Args:
        model: the base model, or a PeftModel with the adapters attached.
        tokenizer: its tokenizer.
        examples: what to answer.
        conditions: masks of the target's heads, and patches into it from the source.
        folder: where the files go.
        target: the adapter that answers; None: the base model.
        source: the adapter whose outputs patches take; None: the base model.
        probe: examples over whose tokens masks of kind "mean" take the mean outputs.
        length: longest prompt and answer, in tokens.
        max_new_tokens: tokens after which an answer is cut.
        batch: examples answered together.
        identity: hash of model, adapters, examples, conditions and decoding.

    Returns:
        The rows written, by the name of their condition.

    Raises:
        ValueError: two conditions have one name, patches are of several sources, or a condition
            does not fit the model.
    """
    _check(conditions)

    def answer(rest: Sequence[Example]) -> Iterator[dict[str, list[Row]]]:
        shown = [render(example, tokenizer, length) for example in rest]
        means: Mapping[int, Tensor] = {}
        if rest and any(condition.kind == "mean" for condition in conditions):
            with using(model, target):
                means = _means(model, tokenizer, probe, length, batch)
        for each in batches(shown, tokenizer, batch, model.device):
            answered = partial(_answered, model, tokenizer, each, max_new_tokens)
            rows: dict[str, list[Row]] = {}
            if masks := [condition for condition in conditions if condition.action == "mask"]:
                with using(model, target):
                    rows |= answered(masks, partial(masked, model, means=means))
            if patches := [condition for condition in conditions if condition.action == "patch"]:
                with lockstep(model, source, target) as step:
                    rows |= answered(patches, partial(_patched, step))
            yield rows

    outputs = {condition.name: folder / f"{condition.name}.jsonl" for condition in conditions}
    return fill(outputs, examples, answer, batch=batch, identity=identity)


def _check(conditions: Sequence[Intervention]) -> None:
    names = [condition.name for condition in conditions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{', '.join(twice)}: several conditions have this name, and would be one file; "
            "leave all but one out"
        )
    sources = {condition.source for condition in conditions if condition.action == "patch"}
    if len(sources) > 1:
        raise ValueError(
            f"the patches are of the sources {', '.join(sorted(map(str, sources)))}; their files "
            "would have the same names: answer under those of one source at a time"
        )


def _means(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    probe: Sequence[Example],
    length: int,
    batch: int,
) -> dict[int, Tensor]:
    shown, left_out = [], []
    for example in probe:
        try:
            shown.append(render(example, tokenizer, length))
        except Unrenderable:  # the probe's scores are without it too
            left_out.append(example.id)
    if left_out:
        say(f"mean outputs are without {len(left_out)} of {len(probe)} examples: {left_out}")
    found = batches(shown, tokenizer, batch, model.device)
    return mean_outputs(model, ((each.ids, each.mask) for each in found))


@contextmanager
def _patched(step: LockStep, condition: Intervention) -> Iterator[LockStep]:
    step.intervention = condition
    try:
        yield step
    finally:
        step.intervention = None


def _answered(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    max_new_tokens: int,
    conditions: Sequence[Intervention],
    apply: Apply,
) -> dict[str, list[Row]]:
    """The rows of one batch under each condition."""
    rows: dict[str, list[Row]] = {}
    cache = None
    for condition in sorted(conditions, key=lambda each: each.touches_prefill):
        with ExitStack() as stack:
            phase = stack.enter_context(apply(condition))
            if cache is None or condition.touches_prefill:
                cache = None  # freed first, so that memory holds one
                phase.decoding = 0
                cache = prefill(model, batch)
                phase.decoding = 1
            stack.enter_context(rewound(cache))
            if isinstance(phase, LockStep) and phase.cache is not None:
                stack.enter_context(rewound(phase.cache))
            made = generate(model, tokenizer, batch, max_new_tokens, cache=cache)
        rows[condition.name] = rows_of(model, tokenizer, batch, made)
    return rows


def run_conditions(
    args: Namespace,
    conditions: Sequence[Intervention],
    *,
    target: Path | None,
    source: Path | None = None,
    probe: Path | None = None,
) -> None:
    """What the commands that mask and patch do: record the conditions, load a model, answer.

    Args:
        args: the flags of `add_answer_flags`, `add_condition_flags` and `add_compute_flags`.
        conditions: masks of the target's heads, or patches into it from the source.
        target: folder of the adapter that answers; None: the base model.
        source: folder of the adapter whose outputs patches take; None: the base model.
        probe: examples over which masks of the kind "mean" take their mean.
    """
    for condition in conditions:
        write_intervention(args.records / f"{condition.name}.json", condition)
    base = base_of(args.base)
    named = {"target": target, "source": source}
    folders = {name: folder for name, folder in named.items() if folder}
    model = load_model(base, dtype=args.dtype, device=args.device, attention=args.attention)
    predict_conditions(
        attach(model, base, folders),
        load_tokenizer(base),
        read_examples(args.examples)[: args.test_examples],
        conditions,
        args.output,
        target="target" if target else None,
        source="source" if source else None,
        probe=read_examples(probe) if probe else [],
        length=args.length,
        max_new_tokens=args.max_new_tokens,
        batch=args.batch,
        identity=answer_identity(
            args,
            base.model_dump(),
            [adapter_hash(folder) for folder in named.values()],
            file_hash(probe) if probe else None,
            [condition.model_dump() for condition in conditions],
            args.test_examples,
        ),
    )
