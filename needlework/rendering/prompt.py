"""An `Example` as the tokens a model reads: a chat prompt within a length, answer and needles.

Training, probe and evaluation all render here, so they see the same tokens.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from needlework.examples import Document, Example, Needle
from needlework.provenance import derived_seed
from needlework.text import token_span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Kept short, because every token of it is paid for in every example.
INSTRUCTION = (
    "Answer the question with a short phrase from the documents. "
    "Most of the documents are irrelevant."
)
# The reply is opened for the model. So the answer's first token follows a space, as it does in
# the documents, and copying it is copying a token: retrieval scores compare token ids.
REPLY_OPENING = "Answer:"


class NeedleSpan(NamedTuple):
    """A needle and the half-open range of prompt tokens that show it."""

    needle: Needle
    start: int
    end: int


class Rendered(NamedTuple):
    """Token ids of the prompt and of the answer (closed by the end of sequence), and the needles.

    `dropped` counts the distractors left out to keep the prompt within the length.
    """

    prompt: list[int]
    answer: list[int]
    needles: list[NeedleSpan]
    dropped: int


def render(example: Example, tokenizer: PreTrainedTokenizerBase, length: int) -> Rendered:
    """Render `example` so that prompt and answer take at most `length` tokens.

    Distractors are taken in an order drawn at random, but always the same for one example, as long
    as they fit; the documents keep their order, so the needle's depth stays as it was drawn.

    Raises:
        ValueError: the gold documents alone do not fit, or a needle is not found in the tokens.
    """
    answer = tokenizer(" " + example.answers[0], add_special_tokens=False)["input_ids"]
    answer.append(tokenizer.eos_token_id)
    kept = {d.id for d in example.documents if d.gold}
    gold = _tokens(example, kept, tokenizer).prompt
    left = length - len(gold) - len(answer)
    if left < 0:
        raise ValueError(
            f"{example.id}: the question and its gold documents take {len(gold) + len(answer)} "
            f"tokens, more than the length of {length}; raise `length` or choose shorter documents"
        )
    distractors = [d for d in example.documents if not d.gold]
    random.Random(derived_seed("render", example.id)).shuffle(distractors)
    taken = []
    for document in distractors:
        size = _size(document, tokenizer)
        if size <= left:
            left -= size
            taken.append(document.id)
    # Tokens may merge otherwise in the whole text than in its parts: what is too much goes again.
    while True:
        shown = _tokens(example, kept | set(taken), tokenizer)
        if len(shown.prompt) + len(answer) <= length:
            dropped = len(example.documents) - len(kept) - len(taken)
            return Rendered(shown.prompt, answer, shown.needles, dropped)
        taken.pop()


def _size(document: Document, tokenizer: PreTrainedTokenizerBase) -> int:
    return len(tokenizer(_block(0, document)[0], add_special_tokens=False)["input_ids"])


def _block(number: int, document: Document) -> tuple[str, int]:
    """A document as it is shown, and the offset of its text in it."""
    title = f" (Title: {document.title})" if document.title else ""
    head = f"Document [{number}]{title} "
    return f"{head}{document.text}\n\n", len(head)


class _Shown(NamedTuple):
    prompt: list[int]
    needles: list[NeedleSpan]


def _tokens(example: Example, kept: set[str], tokenizer: PreTrainedTokenizerBase) -> _Shown:
    documents = [document for document in example.documents if document.id in kept]
    message = f"{INSTRUCTION}\n\n"
    text_starts: dict[str, int] = {}
    for number, document in enumerate(documents, start=1):
        block, offset = _block(number, document)
        text_starts[document.id] = len(message) + offset
        message += block
    message += f"Question: {example.question}"
    text = _chat(message, tokenizer)
    shift = text.index(message)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = []
    for needle in example.needles:
        start = shift + text_starts[needle.document] + needle.start
        end = start + needle.end - needle.start
        spans.append(NeedleSpan(needle, *token_span(encoded["offset_mapping"], start, end)))
    return _Shown(encoded["input_ids"], spans)


def _chat(message: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The message in the model's chat template, up to the opening of the reply."""
    if tokenizer.chat_template is None:  # a base model reads plain text
        return f"{tokenizer.bos_token or ''}{message}\n{REPLY_OPENING}"
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    return f"{chat}{REPLY_OPENING}"
