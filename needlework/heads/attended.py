"""Where in its documents a model's heads looked while it gave an answer, token by token."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from needlework.attention.reading import attention_rows
from needlework.examples import Example
from needlework.heads.score_file import HeadScores
from needlework.heads.sets import Head, top
from needlework.rendering.chat import control_tokens, in_template, tokens
from needlework.rendering.prompt import Rendered, message_of, render_whole
from needlework.rendering.styles import style_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# A length at which nothing is left out: what is shown stays as it is.
_ENDLESS = sys.maxsize


class Place(NamedTuple):
    """The characters [start, end) of a document's text, or what is in none: None, 0, 0."""

    document: str | None
    start: int
    end: int


_OUTSIDE = Place(None, 0, 0)


def top_heads(scores: HeadScores, count: int) -> list[tuple[int, int, float]]:
    """Layer, head and mean score of the heads of `sets.top`, the highest first."""
    mean = scores.mean()
    found = [(layer, head, float(mean[layer, head])) for layer, head in top(mean, count)]
    return sorted(found, key=lambda each: (-each[2], each))


def token_places(
    shown: Rendered, example: Example, tokenizer: PreTrainedTokenizerBase
) -> list[Place]:
    """What each token of a prompt shows of the documents' texts, one entry per token.

    Instructions, heads and titles of documents, the question and the model's own template are in no
    document; nor is what closes a document whose end was cut off. A token that reaches beyond a
    text is given for its part in it.

    Args:
        shown: what `render` made of `example`.
        example: has the texts that characters are counted in, which may be longer than those shown.
        tokenizer: the one that `shown` was rendered with.

    Raises:
        ValueError: it is another tokenizer, or another style: the prompt has other tokens.
    """
    style, message = style_of(shown.example), message_of(shown.example)
    before, text, after = in_template(message, tokenizer)
    control = control_tokens(tokenizer, before + after)
    encoded = tokens(before, text, after + style.opening, tokenizer, control)
    if list(encoded["input_ids"]) != shown.prompt:
        raise ValueError(f"{example.id}: the prompt has other tokens than it was rendered in")
    texts = _texts(shown.example, example, len(before) - message.index(text))
    ends = [start + length for _, start, length in texts]
    found = []
    for a, b in encoded["offset_mapping"]:
        first, last = max(a, len(before)), min(b, len(before) + len(text))
        index = bisect_right(ends, first)
        if first >= last or index == len(ends) or last <= texts[index][1]:
            found.append(_OUTSIDE)
        else:
            name, start, length = texts[index]
            found.append(Place(name, max(first - start, 0), min(last - start, length)))
    return found


def _texts(shown: Example, example: Example, shift: int) -> list[tuple[str, int, int]]:
    """Of each document its id, where its text begins, and how many characters it shows of it."""
    style = style_of(shown)
    fields = {"question": shown.question, **shown.source.get("fields", {})}
    at = shift + len(style.before.format(**fields))
    whole = {document.id: document.text for document in example.documents}
    found = []
    for number, document in enumerate(shown.documents, start=1):
        pairs = enumerate(zip(document.text, whole[document.id], strict=False))
        length = next((i for i, (a, b) in pairs if a != b), len(document.text))
        if length:
            found.append((document.id, at + style.text_start(document, number), length))
        at += len(style.block(document, number))
    return found


def trace(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    shown: Rendered,
    places: Sequence[Place],
    answer: str,
    heads: Sequence[Head],
) -> dict[str, Any]:
    """Which place each of some heads looked at most when each token of an answer was produced.

    The answer is given to the model token by token, as it follows the prompt; a row is the
    position that produces a token, the one before it.

    Args:
        model: base model, with an adapter or without.
        tokenizer: its tokenizer.
        shown: the prompt.
        places: of its tokens, from `token_places`.
        answer: what the model answered; an empty one has no tokens, and nothing is looked at.
        heads: layer and head of those that are followed.

    Returns:
        `tokens`, the text of each, which together make the answer (a character of several tokens
        stands in the last of them), and `spans`: by "layer-head" a list of document, start, end
        and the numbers of the rows whose highest attention was there.
    """
    given = answer_tokens(shown, answer, tokenizer)
    looked = _attended(model, [*shown.prompt, *given[:-1]], len(given), heads)
    return {
        "tokens": _pieces(given, tokenizer),
        "spans": {
            f"{layer}-{head}": _spans(positions, places)
            for (layer, head), positions in zip(heads, looked, strict=True)
        },
    }


def answer_tokens(shown: Rendered, answer: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of an answer as they follow the prompt, without the end of sequence."""
    if not answer:
        return []
    answered = shown.example.model_copy(update={"answers": [answer]})
    return render_whole(answered, tokenizer, _ENDLESS).answer[:-1]


def _attended(
    model: Any, sequence: Sequence[int], rows: int, heads: Sequence[Head]
) -> list[list[int]]:
    """By head the positions of the highest attention at each of the last rows."""
    if not rows or not heads:
        return [[] for _ in heads]
    layers = attention_rows(
        model,
        torch.tensor([sequence], device=model.device),
        rows=rows,
        reduce=lambda weights, offset: (weights.argmax(-1) + offset,),
    ).layers
    found = []
    for layer, head in heads:
        reduced = layers[layer]
        if reduced is None:
            raise ValueError(f"layer {layer} has no attention heads: these are another model's")
        found.append(reduced[0][0, head].tolist())
    return found


def _spans(positions: Sequence[int], places: Sequence[Place]) -> list[list[Any]]:
    rows: dict[Place, list[int]] = {}
    for row, position in enumerate(positions):
        # Beyond the prompt are the answer's own tokens.
        place = places[position] if position < len(places) else _OUTSIDE
        rows.setdefault(place, []).append(row)
    return [[*place, numbers] for place, numbers in rows.items()]


def _pieces(given: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What each token adds to the text; alone it may be half a character, or lose its space."""
    found: list[str] = []
    for count in range(1, len(given) + 1):
        text = tokenizer.decode(given[:count], clean_up_tokenization_spaces=False)
        incomplete = text.endswith("\ufffd") and count < len(given)
        found.append("" if incomplete else text[len("".join(found)) :])
    return found
