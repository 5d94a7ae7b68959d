"""What makes a rewritten fact valid: each gate is a reason for which a rewrite is refused."""

from __future__ import annotations

import re

from needlework.synthesis.concepts import Fact
from needlework.text import contains_answer, normalise_answer

# A sentence four times as long as the statement tells more than the fact.
_LONGEST = 4


def first_sentence(reply: str) -> str:
    """The first line of a reply that says something, without quotation marks around it."""
    lines = [line.strip() for line in reply.strip().splitlines()]
    line = next((line for line in lines if line and not line.endswith(":")), "")
    return re.sub(r"^(fact|sentence):\s*", "", line, flags=re.IGNORECASE).strip(' "*')


def refusal(sentence: str, fact: Fact) -> str | None:
    """Why `sentence` cannot stand for `fact`; None if it can.

    The answer must stand in it to the letter, because it is the training target; the subject in
    its normal form; and a copy of the template's statement is no rewrite.
    """
    if not sentence:
        return "empty"
    if not re.search(rf"(?<!\w){re.escape(fact.answer)}(?!\w)", sentence):
        return "lost the answer"
    if not contains_answer(sentence, fact.subject):
        return "lost the subject"
    if normalise_answer(sentence) == normalise_answer(fact.state()):
        return "copied the statement"
    if len(sentence) > _LONGEST * len(fact.state()):
        return "too long"
    return None
