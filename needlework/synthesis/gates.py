"""What makes a rewritten fact valid: each gate is a reason for which a rewrite is refused."""

from __future__ import annotations

import re

from needlework.examples import Fact
from needlework.text import contains_answer, normalise_answer

# A sentence four times as long as the statement tells more than the fact.
_LONGEST = 4
# So much of an insight's longer words stands in a sentence that says the same.
_KEPT = 0.5
# Without the mark after it: "in 2020." is kept by "in 2020, ".
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Words of any question or statement, which say nothing of the relation.
_COMMON = {"what", "which", "does", "that", "with", "from", "date"}


def first_sentence(reply: str) -> str:
    """The first line of a reply that says something, without quotation marks around it."""
    lines = [line.strip() for line in reply.strip().splitlines()]
    line = next((line for line in lines if line and not line.endswith(":")), "")
    return re.sub(r"^(rewrite|rewritten)( sentence)?:\s*", "", line, flags=re.IGNORECASE).strip(
        ' "*'
    )


def _stems(text: str) -> set[str]:
    """First letters of the longer words: "independent" and "independence" share theirs."""
    return {word[:5] for word in normalise_answer(text).split() if len(word) > 3} - _COMMON


def answer_start(sentence: str, answer: str) -> int | None:
    """Where `answer` stands in `sentence` to the letter, as whole words and numbers; None if not.

    So "Male" is not in "Maledives", nor "12,345" in "12,345,678".
    """
    match = re.search(rf"(?<!\w)(?<!\w[-.,]){re.escape(answer)}(?![-.,]?\w)", sentence)
    return match.start() if match else None


def refusal(sentence: str, fact: Fact) -> str | None:
    """Why `sentence` cannot stand for `fact`; None if it can.

    The answer must stand in it to the letter, because it is the training target; the subject in
    its normal form, where a template names it, and so the other entity; a word of the relation's
    templates at least by its stem, beside those of the entities; and a copy of the template's
    statement is no rewrite.
    An insight must keep its numbers and most of its longer words.
    """
    if not sentence:
        return "empty"
    said = fact.answer if fact.statement is None else fact.state()
    if fact.relation == "insight":
        if not _keeps(sentence, said):
            return "lost the insight"
    else:
        reason = _lost(sentence, fact)
        if reason is not None:
            return reason
    if fact.statement is not None:
        if normalise_answer(sentence) == normalise_answer(said):
            return "copied the statement"
        if len(sentence) > _LONGEST * len(said):
            return "too long"
    return None


def _lost(sentence: str, fact: Fact) -> str | None:
    if answer_start(sentence, fact.answer) is None:
        return "lost the answer"
    asked = fact.question.format(subject="", other="")
    if fact.statement is not None:
        # "Peru's capital" names Peru; "the People's Republic" names itself with its apostrophe.
        without_possessive = re.sub(r"['’]s?(?!\w)", "", sentence)
        for role, entity in (("subject", fact.subject), ("other entity", fact.other)):
            if entity is not None and not any(
                contains_answer(s, entity) for s in (sentence, without_possessive)
            ):
                return f"lost the {role}"
        asked += f" {fact.state('', '', '')}"
    own = _stems(sentence) - _stems(f"{fact.subject} {fact.other or ''} {fact.answer}")
    return None if own & _stems(asked) else "lost the relation"


def _keeps(sentence: str, insight: str) -> bool:
    if not set(_NUMBER.findall(insight)) <= set(_NUMBER.findall(sentence)):
        return False
    wanted = _stems(insight)
    return len(_stems(sentence) & wanted) >= _KEPT * len(wanted)
