"""An `Example` as the tokens a model reads: a chat prompt of a length, answer and needles.

Training, probe and evaluation all render here, so they see the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from needlework.examples import Example, Needle
from needlework.rendering.chat import control_tokens, in_template, tokens
from needlework.rendering.fitting import Fitting, without_distractors
from needlework.rendering.styles import Style, style_of
from needlework.text import token_span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A length is met when prompt and answer take this share of it.
CLOSE = 0.99
_SPARE = 0.004
# Each try renders the whole text; the first is nearly always right.
_TRIES = 6
# So many orders of leaving out are tried, where the units are too large for a short length.
_ORDERS = 12


class Unrenderable(ValueError):
    """An example that cannot be shown; `reason` is the same for all that fail the same way."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NeedleSpan(NamedTuple):
    """A needle and the half-open range of prompt tokens that show it.

    Where an answer cites documents, the numbers in their heads are needles of the role "answer";
    their characters count from the beginning of the document as it is shown.
    """

    needle: Needle
    start: int
    end: int


class Rendered(NamedTuple):
    """Token ids of the prompt and of the answer (closed by the end of sequence), and the needles.

    `example` is what is shown: without the distractors that were left out, `dropped` in number,
    and with the answer that cites what is left by its numbers. `after` is the first token of what
    follows the documents: the question in most styles, and the opening of the reply.
    """

    prompt: list[int]
    answer: list[int]
    needles: list[NeedleSpan]
    dropped: int
    example: Example
    after: int

    @property
    def length(self) -> int:
        """Tokens of prompt and answer together."""
        return len(self.prompt) + len(self.answer)


def render(example: Example, tokenizer: PreTrainedTokenizerBase, length: int) -> Rendered:
    """Render `example` so that prompt and answer take at most `length` tokens.

    With distractors enough, they take no less than 99 % of it, unless the units are too large for
    a short length: `length` of the result tells. Distractors are left out in an order drawn at
    random, but always the same for one example, or from the end where the style says so; the end
    of some is cut off, by their own smallest unit. The documents keep their order, so the needle's
    depth stays as it was drawn. No text becomes a control token: `chat.tokens` says how.

    Raises:
        Unrenderable: what is never cut does not fit, or a needle is not found in the tokens.
        ValueError: the chat template changes the message, or a field of the style is missing.
    """
    style = style_of(example)
    if style.whole:
        return render_whole(example, tokenizer, length)
    bare = _tokens(without_distractors(example), style, tokenizer)
    if bare.length > length:
        raise Unrenderable(
            f"{example.id}: the question and its gold documents take {bare.length} tokens, more "
            f"than the length of {length}; raise `length` or choose shorter documents",
            "longer than the length",
        )
    best = bare
    for order in range(_ORDERS if style.cut == "any" else 1):
        fitting = Fitting(example, style, tokenizer, length, order)
        best = max(best, _fitted(fitting, style, tokenizer, bare, length), key=lambda r: r.length)
        if best.length >= CLOSE * length or fitting.all_fits(length - bare.length):
            break
    return best._replace(dropped=len(example.documents) - len(best.example.documents))


def render_whole(example: Example, tokenizer: PreTrainedTokenizerBase, length: int) -> Rendered:
    """Render `example` with all its documents as they are, in at most `length` tokens.

    Raises:
        Unrenderable: they do not fit, or a needle is not found in the tokens.
        ValueError: the chat template changes the message, or a field of the style is missing.
    """
    shown = _tokens(example, style_of(example), tokenizer)
    if shown.length > length:
        raise Unrenderable(
            f"{example.id}: prompt and answer take {shown.length} tokens, more than the length of "
            f"{length}, and this context of {len(example.documents)} documents is never cut; raise "
            "`length`",
            "longer than the length",
        )
    return shown


def check_shown(examples: Sequence[Example], show: Callable[[Example], object]) -> None:
    """Nothing, where `show` can show all of the examples.

    Raises:
        ValueError: it cannot; one line for each that is `Unrenderable`.
    """
    refused = []
    for example in examples:
        try:
            show(example)
        except Unrenderable as error:
            refused.append(str(error))
    if refused:
        raise ValueError("\n".join([f"{len(refused)} of {len(examples)} examples:", *refused]))


def _fitted(
    fitting: Fitting, style: Style, tokenizer: PreTrainedTokenizerBase, bare: Rendered, length: int
) -> Rendered:
    """The longest rendering found within the length; `bare` is that without distractors."""
    best = bare
    # The parts do not add up to the whole to the token: the first try leaves a little room, and
    # what is missing or too much is tried again.
    left = length - bare.length
    budget = left if fitting.all_fits(left) else left - round(_SPARE * length)
    tried = {0}
    for _ in range(_TRIES):
        if budget in tried:
            break
        tried.add(budget)
        shown = _tokens(fitting.cut(budget), style, tokenizer)
        if best.length < shown.length <= length:
            best = shown
        if best.length >= CLOSE * length or fitting.all_fits(budget):
            break
        budget = max(0, budget + length - shown.length)
    return best


def _tokens(example: Example, style: Style, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """The tokens of an example with all its documents."""
    message, starts, end = _message(example, style)
    try:
        before, shown, after = in_template(message, tokenizer)
        control = control_tokens(tokenizer, before + after)
        encoded = tokens(before, shown, after + style.opening, tokenizer, control)
    except ValueError as error:
        raise ValueError(f"{example.id}: {error}") from error
    offsets = encoded["offset_mapping"]
    shift = len(before) - message.index(shown)
    try:
        spans = [
            NeedleSpan(
                needle,
                *token_span(
                    offsets,
                    max(shift + start + needle.start, len(before)),
                    shift + start + needle.end,
                ),
            )
            for needle, start in _needles(example, style, starts)
        ]
    except ValueError as error:
        raise Unrenderable(f"{example.id}: {error}", "needle not found in the tokens") from error
    answer = _answer(example.answers[0], style, tokenizer, control)
    behind = (i for i, (_, last) in enumerate(offsets) if last > shift + end)
    follows = next(behind, len(offsets) - 1)
    return Rendered(
        encoded["input_ids"], [*answer, tokenizer.eos_token_id], spans, 0, example, follows
    )


def _answer(
    answer: str, style: Style, tokenizer: PreTrainedTokenizerBase, control: set[int]
) -> list[int]:
    """The tokens of an answer as they follow the opening of the reply."""
    if not style.opening:
        return list(tokens("", answer, "", tokenizer, control)["input_ids"])
    # Alone, its first word would have a second space before it, where a tokenizer adds one.
    opening = tokens("", style.opening, "", tokenizer, control)["input_ids"]
    both = tokens(style.opening, f" {answer}", "", tokenizer, control)["input_ids"]
    if both[: len(opening)] == opening:
        return list(both[len(opening) :])
    return list(tokens("", f" {answer}", "", tokenizer, control)["input_ids"])


def message_of(example: Example) -> str:
    """What the user says: the prompt before the model's own chat template."""
    return _message(example, style_of(example))[0]


def _message(example: Example, style: Style) -> tuple[str, dict[str, tuple[int, int]], int]:
    """The message; by document the characters where its block begins, and the text in it; its end.

    The end is the character after the last document's block.
    """
    fields = {"question": example.question, **example.source.get("fields", {})}
    try:
        parts, after = [style.before.format(**fields)], style.after.format(**fields)
    except KeyError as error:
        raise ValueError(
            f"{example.id}: the style {example.style!r} needs the field {error}, and source.fields "
            f"of the example has only {sorted(fields)}; give it there"
        ) from error
    at = len(parts[0])
    starts: dict[str, tuple[int, int]] = {}
    for number, document in enumerate(example.documents, start=1):
        if document.gold:
            starts[document.id] = (at, at + style.text_start(document, number))
        parts.append(style.block(document, number))
        at += len(parts[-1])
    return "".join([*parts, after]), starts, at


def _needles(
    example: Example, style: Style, starts: dict[str, tuple[int, int]]
) -> list[tuple[Needle, int]]:
    """The needles, and the numbers that are cited, each with where its characters count from."""
    needles = [(needle, starts[needle.document][1]) for needle in example.needles]
    for number, document in enumerate(example.documents, start=1):
        inside = style.number_span(number)
        if document.id in example.cites and inside is not None:
            needle = Needle(
                document=document.id, start=inside[0], end=inside[1], role="answer", hop=2,
                relation="number",
            )  # fmt: skip
            needles.append((needle, starts[document.id][0]))
    return needles
