"""A model on the examples of a probe: its answers, and what its heads saw while giving them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from needlework.answering import Batch, answer_of, batches, content_length, end_tokens, generate
from needlework.attention.reading import attention_rows, reading
from needlework.examples import Example
from needlework.heads.kinds import KINDS
from needlework.heads.seen import Seen, per_instance, reduction
from needlework.progress import track
from needlework.rendering.prompt import Rendered, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROLES = ("answer", "bridge", "insight")

Correct = Callable[[str, Sequence[str]], bool]
"""Whether an answer is right, given the accepted ones."""

# What stands in the question's place to see what attention any question draws (QRHead).
NULL_QUESTION = "N/A"
# A length at which nothing is left out: documents that were shown once are shown again, all alike.
_ENDLESS = sys.maxsize


@dataclass(frozen=True)
class Probe:
    """How heads are scored; docs/heads.md says where each choice is from.

    Attributes:
        length: longest prompt and answer, in tokens.
        max_new_tokens: longest answer.
        kind, role, instances: the measure that counts in comparisons, and on which instances.
        answers: the model's own greedy answer, or the gold one, given token by token.
        mass_rows: whether `mass` is of the rows that produce the answer, or of the question's.
        mass_span: whether `mass` counts attention on the needle, or on its whole document.
        null_question: whether `mass` is less that of a null question; takes question rows.
        batch: examples that are answered together.
    """

    length: int
    max_new_tokens: int
    kind: str = "copy"
    role: str = "answer"
    instances: Literal["all", "correct"] = "all"
    answers: Literal["own", "gold"] = "own"
    mass_rows: Literal["answer", "question"] = "answer"
    mass_span: Literal["needle", "document"] = "needle"
    null_question: bool = False
    batch: int = 1

    def __post_init__(self) -> None:
        for key, known in (("kind", KINDS), ("role", ROLES)):
            if getattr(self, key) not in known:
                raise ValueError(
                    f"there is no {key} {getattr(self, key)!r}; known: {', '.join(known)}"
                )
        if self.null_question and self.mass_rows != "question":
            raise ValueError("null_question takes mass_rows: question; an answer's rows have none")


class Observed(NamedTuple):
    """One example of a probe as a model answered it.

    Attributes:
        shown: the prompt.
        tokens: the answer, without the token that ended it.
        generated: its text.
        correct: whether it is right; a gold answer is where each token was the most likely one.
        seen: at the rows that produced the tokens, for the needles of each of `ROLES`, and after
            them for their mass spans.
        mass: (L, H, rows, roles), attention on the mass span at the rows that `mass` is of.
        null_mass: the same under a null question, or None.
    """

    shown: Rendered
    tokens: list[int]
    generated: str
    correct: bool
    seen: Seen
    mass: NDArray[np.float64]
    null_mass: NDArray[np.float64] | None


def positions(shown: Rendered, role: str) -> set[int]:
    """Positions in the prompt of all needles of a role."""
    return {
        position
        for span in shown.needles
        if span.needle.role == role
        for position in range(span.start, span.end)
    }


def observe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    shown: Sequence[Rendered],
    probe: Probe,
    correct: Correct,
) -> list[Observed]:
    """Have the model answer every prompt, in the order given."""
    run = _own_answers if probe.answers == "own" else _gold_answers
    found: dict[str, Observed] = {}
    groups = list(batches(shown, tokenizer, probe.batch, model.device))
    for batch in track(groups, f"probe, batches of {probe.batch}"):
        targets = [_targets(each, tokenizer, probe) for each in batch.shown]
        for observed in run(model, tokenizer, batch, targets, probe, correct):
            null = _null_mass(model, tokenizer, observed.shown, probe)
            found[observed.shown.example.id] = observed._replace(null_mass=null)
    return [found[each.example.id] for each in shown]


def _targets(shown: Rendered, tokenizer: PreTrainedTokenizerBase, probe: Probe) -> list[set[int]]:
    """By role the positions of its needles, and then by role those that `mass` counts."""
    needles = [positions(shown, role) for role in ROLES]
    if probe.mass_span == "needle":
        return needles * 2
    whole = render(_widened(shown), tokenizer, _ENDLESS)
    return [*needles, *(positions(whole, role) for role in ROLES)]


def _widened(shown: Rendered) -> Example:
    """The example with every needle, those that are cited numbers too, as long as its document."""
    lengths = {document.id: len(document.text) for document in shown.example.documents}
    needles = [
        needle.model_copy(update={"start": 0, "end": lengths[needle.document]})
        for needle, _, _ in shown.needles
    ]
    return shown.example.model_copy(update={"needles": needles})


def _asked(shown: Rendered) -> int:
    """Rows of the question: everything after the documents."""
    return len(shown.prompt) - shown.after


def _own_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    targets: list[list[set[int]]],
    probe: Probe,
    correct: Correct,
) -> Iterator[Observed]:
    """Read the rows while the model generates: those of the questions, then one a token."""
    width = batch.ids.shape[1]
    padding = [width - len(each.prompt) for each in batch.shown]
    asked = max(map(_asked, batch.shown)) if probe.mass_rows == "question" else 1
    reduce = reduction(_shifted(targets, padding), model.device)
    with reading(model, reduce, rows=asked) as found:
        made = generate(model, tokenizer, batch, probe.max_new_tokens)
    ends = end_tokens(model, tokenizer)
    layers = [found.layers.get(i) for i in range(_layer_count(model))]
    for shown, tokens, seen in zip(batch.shown, made, per_instance(layers, padding), strict=True):
        text = answer_of(tokens, shown, tokenizer, ends).text
        kept = tokens[: content_length(tokens, shown, tokenizer, ends)]
        right = correct(text, shown.example.answers)
        yield _observed(shown, kept, text, right, seen, asked - 1, probe)


def _gold_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    targets: list[list[set[int]]],
    probe: Probe,
    correct: Correct,
) -> Iterator[Observed]:
    """One pass over prompts and answers; the rows that produce an answer's tokens are its last."""
    answers = [each.answer[:-1] or each.answer for each in batch.shown]
    sequences = [
        each.prompt + answer[:-1] for each, answer in zip(batch.shown, answers, strict=True)
    ]
    width, longest = max(map(len, sequences)), max(map(len, answers))
    padding = [width - len(sequence) for sequence in sequences]
    ids = torch.full((len(sequences), width), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, padding[row] :] = torch.tensor(sequence)
        mask[row, padding[row] :] = 1
    asked = max(map(_asked, batch.shown)) if probe.mass_rows == "question" else 1
    rows = min(width, asked + longest - 1)
    layers, logits = attention_rows(
        model,
        ids.to(model.device),
        rows=rows,
        reduce=reduction(_shifted(targets, padding), model.device),
        attention_mask=mask.to(model.device),
    )
    likeliest = logits.argmax(-1).tolist()
    for row, seen in enumerate(per_instance(layers, padding)):
        shown, answer = batch.shown[row], answers[row]
        right = likeliest[row][rows - len(answer) :] == answer
        text = tokenizer.decode(answer, skip_special_tokens=True).strip()
        yield _observed(shown, answer, text, right, seen, rows - len(answer), probe)


def _observed(
    shown: Rendered, tokens: list[int], text: str, right: bool, seen: Seen, first: int,
    probe: Probe,
) -> Observed:  # fmt: skip
    """Cut what was seen in a batch to one instance's rows; `first` is the answer's first row."""
    answer = seen.rows(first, len(tokens))
    roles = len(ROLES)
    if probe.mass_rows == "question":
        asked = _asked(shown)
        mass = seen.rows(first - asked + 1, asked).mass[..., roles:]
    else:
        mass = answer.mass[..., roles:]
    return Observed(shown, tokens, text, right, answer, mass, None)


def _null_mass(
    model: Any, tokenizer: PreTrainedTokenizerBase, shown: Rendered, probe: Probe
) -> NDArray[np.float64] | None:
    """Attention of a null question's rows on the same spans of the same documents."""
    if not probe.null_question:
        return None
    asked = shown.example.model_copy(update={"question": NULL_QUESTION})
    null = render(asked, tokenizer, _ENDLESS)
    layers = attention_rows(
        model,
        torch.tensor([null.prompt], device=model.device),
        rows=_asked(null),
        reduce=reduction([_targets(null, tokenizer, probe)], model.device),
    ).layers
    return per_instance(layers, [0])[0].mass[..., len(ROLES) :]


def _shifted(targets: list[list[set[int]]], padding: list[int]) -> list[list[set[int]]]:
    return [
        [{position + shift for position in role} for role in each]
        for each, shift in zip(targets, padding, strict=True)
    ]


def _layer_count(model: Any) -> int:
    return int(model.config.get_text_config().num_hidden_layers)
