"""Scores of all heads of a model on a probe: real examples that nothing was trained on.

The model answers each example, or is given its answer, and the attention rows that produce the
answer's tokens say what each head looks at; `kinds` has the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from needlework.examples import Example
from needlework.heads import kinds
from needlework.heads.probe import (
    NULL_QUESTION,
    ROLES,
    Correct,
    Observed,
    Probe,
    observe,
    positions,
)
from needlework.heads.score_file import HeadScores, Instance, Layer, Scores, existing_heads
from needlework.rendering.prompt import Rendered, Unrenderable, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from needlework.attention.layers import AttentionLayer


def score_heads(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    probe: Probe,
    *,
    correct: Correct,
    metadata: dict[str, Any],
) -> HeadScores:
    """Score all heads of `model`, by every kind and for every role that the examples have.

    Args:
        model: base model, with an adapter or without.
        tokenizer: its tokenizer.
        examples: the probe; those that cannot be scored are counted, by reason.
        probe: how to score.
        correct: whether an answer of the model is right.
        metadata: what the scores belong to; the probe is added.

    Raises:
        ValueError: no example can be scored, none has a needle of the probe's role, or a layer's
            attention is not supported.
    """
    from needlework.attention.layers import attention_layers

    shown, failures = _rendered(examples, tokenizer, probe.length)
    roles = [role for role in ROLES if any(positions(each, role) for each in shown)]
    if probe.role not in roles:
        raise ValueError(
            f"no example of the probe has a needle of the role {probe.role!r}; the roles are "
            f"{', '.join(roles)}"
        )
    structure = attention_layers(model)
    found = observe(model, tokenizer, shown, probe, correct)
    layers = [_layer(each, found) for each in structure]
    return HeadScores(
        metadata=metadata | {"probe": vars(probe) | {"null_text": NULL_QUESTION}},
        layers=layers,
        instances=[
            Instance(
                id=each.shown.example.id,
                cluster=each.shown.example.cluster,
                generated=each.generated,
                correct=each.correct,
            )
            for each in found
        ],
        measures=_measures(found, existing_heads(layers), roles),
        failures=failures,
    )


def _rendered(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, length: int
) -> tuple[list[Rendered], dict[str, list[str]]]:
    """The examples that can be scored; the ids of the others, by reason."""
    shown: list[Rendered] = []
    failures: dict[str, list[str]] = {}
    messages: list[str] = []
    for example in examples:
        try:
            rendered = render(example, tokenizer, length)
            if not rendered.needles:
                raise Unrenderable(f"{example.id}: no needle is marked", "no needle is marked")
        except Unrenderable as error:
            failures.setdefault(error.reason, []).append(example.id)
            messages.append(str(error))
        else:
            shown.append(rendered)
    if not shown:
        raise ValueError(
            f"none of the {len(examples)} examples of the probe can be scored; the first: "
            f"{messages[0] if messages else 'there is none'}"
        )
    return shown, failures


def _measures(
    found: Sequence[Observed], there: np.ndarray[Any, Any], roles: Sequence[str]
) -> dict[str, Scores]:
    """Every kind for every one of the roles, (I, L, H) each."""
    measures: dict[str, Scores] = {}
    for role in roles:
        for kind in kinds.KINDS:
            scores = np.full((len(found), *there.shape), np.nan)
            for instance, each in enumerate(found):
                if positions(each.shown, role):
                    scores[instance] = np.where(there, _score(kind, each, role), np.nan)
            measures[f"{kind}/{role}"] = scores
    return measures


def _score(kind: str, each: Observed, role: str) -> Scores:
    """One kind's score of all heads on one instance."""
    needle, column = positions(each.shown, role), ROLES.index(role)
    seen = each.seen
    match kind:
        case "copy":
            return kinds.copy(seen.top, each.shown.prompt, needle, each.tokens)
        case "copy_repeats":
            return kinds.copy_repeats(seen.top, each.shown.prompt, needle, each.tokens)
        case "argmax":
            return kinds.argmax(seen.top, needle)
        case "topk":
            return kinds.topk(seen.topk[..., column], len(needle))
        case "mass":
            mass = kinds.mass(each.mass[..., column])
            null = each.null_mass
            return mass if null is None else mass - kinds.mass(null[..., column])
    raise ValueError(f"there is no kind {kind!r}; known: {', '.join(kinds.KINDS)}")


def _layer(structure: AttentionLayer | None, found: Sequence[Observed]) -> Layer:
    """A layer for the file, with the instances whose needles its window never reached."""
    if structure is None:
        return Layer(attention="none", heads=0, kv_heads=0)
    window = structure.window
    unseen = dict.fromkeys(ROLES, 0)
    for each in found if window is not None else ():
        # The first row that produces an answer token sees the farthest back.
        nearest = len(each.shown.prompt) - 1 - (window or 0)
        for role in ROLES:
            needle = positions(each.shown, role)
            unseen[role] += bool(needle) and max(needle) <= nearest
    return Layer(
        attention="full" if window is None else "sliding",
        heads=structure.heads,
        kv_heads=structure.kv_heads,
        window=window,
        unseen={role: count for role, count in unseen.items() if count},
    )
