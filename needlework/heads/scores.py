"""Retrieval scores of all heads of a model, on real examples that nothing was trained on.

While the model answers, a head *copies* a token if its attention is highest on a token of the
needle, and that token is the one being generated. The score of a head on one example is the share
of the needle's distinct tokens that it copied (Wu et al., arXiv 2404.15574, section 2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from needlework.examples import Example
from needlework.progress import track
from needlework.rendering.prompt import Rendered, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Scores = NDArray[np.float64]


class Instance(NamedTuple):
    """One probe example: the answer the model gave, and every head's score, (layers, heads)."""

    id: str
    answers: list[str]
    generated: str
    scores: Scores


def copy_scores(
    attended: NDArray[np.int64], prompt: Sequence[int], needle: set[int], generated: Sequence[int]
) -> Scores:
    """Share of the needle's distinct tokens that each head copied.

    Args:
        attended: (layers, heads, steps), the position with the highest attention at each step.
        prompt: token ids of the prompt, which the positions index.
        needle: positions in the prompt that belong to the needle.
        generated: token ids generated at the steps.

    Returns:
        (layers, heads), each in [0, 1]: |g_h intersected with k| / |k| of Wu et al., with g_h and
        k as sets of token ids.
    """
    wanted = {prompt[position] for position in needle}
    copied = np.zeros(attended.shape[:2])
    for token in wanted & set(generated):
        places = [position for position in needle if prompt[position] == token]
        steps = [step for step, made in enumerate(generated) if made == token]
        copied += np.isin(attended[:, :, steps], places).any(axis=2)
    return copied / len(wanted)


def score_heads(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    length: int,
    max_new_tokens: int,
) -> list[Instance]:
    """Let the model answer each example greedily, and score all heads on the answer needles.

    Raises:
        ValueError: an example has no answer needle, or a layer's attention is not supported.
    """
    return [
        _score(model, tokenizer, example, render(example, tokenizer, length), max_new_tokens)
        for example in track(examples, "probe")
    ]


def _score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    example: Example,
    rendered: Rendered,
    max_new_tokens: int,
) -> Instance:
    needle = {
        position
        for span in rendered.needles
        if span.needle.role == "answer"
        for position in range(span.start, span.end)
    }
    if not needle:
        raise ValueError(f"{example.id} has no answer needle; retrieval scores need one")
    generated, attended = _answer(model, tokenizer, rendered.prompt, max_new_tokens)
    return Instance(
        id=example.id,
        answers=rendered.example.answers,  # of a citation, those of the documents as shown
        generated=tokenizer.decode(generated, skip_special_tokens=True).strip(),
        scores=copy_scores(attended, rendered.prompt, needle, generated),
    )


def _answer(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompt: list[int], max_new_tokens: int
) -> tuple[list[int], NDArray[np.int64]]:
    """Generate greedily; then one short pass for the position each head attends to at each step.

    The keys of the prompt are still in the cache, so the pass runs over the generated tokens only.
    """
    import torch

    from needlework.attention import attention_rows

    ids = torch.tensor([prompt], device=model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        return_dict_in_generate=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    cache, sequence = made.past_key_values, made.sequences[:, :-1]
    steps = made.sequences.shape[1] - len(prompt)
    if any(getattr(layer, "is_sliding", False) for layer in cache.layers):
        cache = None  # a windowed cache has forgotten the keys that the rows need
    else:
        cache.crop(-(cache.get_seq_length() - (len(prompt) - 1)))
        sequence = sequence[:, len(prompt) - 1 :]
    tops = attention_rows(
        model, sequence, rows=steps, reduce=lambda rows: rows.argmax(-1), cache=cache
    )
    return made.sequences[0, len(prompt) :].tolist(), torch.stack(tops).cpu().numpy()


def write_scores(
    path: Path, instances: Sequence[Instance], correct: Sequence[bool], metadata: dict[str, Any]
) -> dict[str, Any]:
    """Write a probe's scores; the schema is in docs/formats.md. Returns what was written.

    `scores` has the layout of Wu et al.'s files: {"layer-head": [score of each instance]}.

    Args:
        path: the JSON file to write.
        instances: the probe's examples, scored.
        correct: whether the model answered each instance right.
        metadata: model, adapter, data, seed and versions that the scores belong to.
    """
    from needlework.atomic import write_json

    stacked = np.stack([instance.scores for instance in instances])
    right = stacked[np.asarray(correct, dtype=bool)]
    document = {
        "metadata": metadata,
        "layers": stacked.shape[1],
        "heads": stacked.shape[2],
        "instances": [
            {"id": i.id, "generated": i.generated, "correct": c}
            for i, c in zip(instances, map(bool, correct), strict=True)
        ],
        "mean": _by_head(stacked.mean(axis=0)),
        "mean_correct": _by_head(right.mean(axis=0)) if len(right) else None,
        "scores": {
            f"{layer}-{head}": stacked[:, layer, head].round(6).tolist()
            for layer, head in np.ndindex(stacked.shape[1:])
        },
    }
    write_json(path, document)
    return document


def _by_head(scores: Scores) -> dict[str, float]:
    return {f"{k[0]}-{k[1]}": round(float(v), 6) for k, v in np.ndenumerate(scores)}


def read_mean_scores(path: Path) -> Scores:
    """Mean score of every head, (layers, heads), from a file that `write_scores` wrote.

    Raises:
        ValueError: the file lacks a head.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    means = np.full((document["layers"], document["heads"]), np.nan)
    for name, value in document["mean"].items():
        layer, head = map(int, name.split("-"))
        means[layer, head] = value
    if np.isnan(means).any():
        raise ValueError(f"{path}: {int(np.isnan(means).sum())} heads have no score; run it again")
    return means
