"""A prompt and its answer as one row of a chat file, as fine-tuning services read it."""

from __future__ import annotations

from typing import Any, Literal

_SYSTEM = "Write a response that appropriately completes the request."


def chat_rows(prompt: str, answer: str, form: Literal["mistral", "openai"]) -> dict[str, Any]:
    """The row {"messages": [...]} of one example, by which the answer is learned.

    The OpenAI form begins with a system message, as Xiong et al. (arXiv 2406.19292) released it;
    the Mistral form has none.
    """
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    if form == "openai":
        messages.insert(0, {"role": "system", "content": _SYSTEM})
    return {"messages": messages}
