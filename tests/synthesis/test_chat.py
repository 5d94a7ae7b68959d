"""Rows of the two chat forms, word for word."""

from __future__ import annotations

from needlework.synthesis.chat import chat_rows

_TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def test_mistral_has_the_user_and_the_assistant() -> None:
    assert chat_rows("Why?", "Because.", "mistral") == {"messages": _TURNS}


def test_openai_has_a_system_message_first() -> None:
    system = {
        "role": "system",
        "content": "Write a response that appropriately completes the request.",
    }
    assert chat_rows("Why?", "Because.", "openai") == {"messages": [system, *_TURNS]}
