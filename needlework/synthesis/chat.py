"""Examples as rows of a chat file, prompt and answer, as fine-tuning services read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from needlework.examples import Example
from needlework.rendering.prompt import message_of, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Literal["mistral", "openai"]
_SYSTEM = "Write a response that appropriately completes the request."


def chat_rows(prompt: str, answer: str, form: Form) -> dict[str, Any]:
    """The row {"messages": [...]} of one example, by which the answer is learned.

    The OpenAI form begins with a system message, as Xiong et al. (arXiv 2406.19292) released it;
    the Mistral form has none.
    """
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    if form == "openai":
        messages.insert(0, {"role": "system", "content": _SYSTEM})
    return {"messages": messages}


def chat_lines(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, length: int, form: Form
) -> Iterator[str]:
    """The lines of a chat file: each example as it is shown within `length` tokens.

    Raises:
        ValueError: an example cannot be shown, as `rendering.prompt.render` says.
    """
    for example in examples:
        shown = render(example, tokenizer, length).example
        row = chat_rows(message_of(shown), shown.answers[0], form)
        yield json.dumps(row, ensure_ascii=False) + "\n"
