"""What the language model is asked: one template file per kind of request, beside this module.

An answer in the cache belongs to the words of its prompt: a changed template asks its own requests
again and no others.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from needlework.examples import Example, Fact, Needle
from needlework.llm.client import Request
from needlework.synthesis.concepts import INSIGHT

# Of a gold document, so much is shown to the model around the needle, in characters.
_SHOWN = 600


@cache
def _environment() -> Environment:
    folder = Path(__file__).parent
    # Prompts are plain text: escaping HTML would change the words of a fact.
    return Environment(
        loader=FileSystemLoader(folder), undefined=StrictUndefined, keep_trailing_newline=False
    )


def rewrite_request(
    example: Example, fact: Fact, needle: Needle, attempt: int, seed: int
) -> Request:
    """Asks to state a fact in other words; attempts are counted from 0.

    Asked for another beginning, a small model turns a sentence round instead of copying it; the
    beginning alternates between answer and subject. A fact that no template states is taken from
    its gold document.
    """
    if fact.statement is not None:
        beginning = fact.subject if attempt % 2 else fact.answer
        if fact.relation == INSIGHT:
            kind = "rewrite_insight"
            prompt = _render(kind, insight=fact.state())
        else:
            kind = "rewrite_fact"
            prompt = _render(kind, statement=fact.state(), beginning=beginning)
    else:
        kind = "state_answer"
        (document,) = (d for d in example.documents if d.id == needle.document)
        start = max(0, needle.start - _SHOWN // 2)
        passage = document.text[start : start + _SHOWN]
        question = fact.question.format(subject=fact.subject, other=fact.other)
        prompt = _render(
            kind, passage=passage, title=document.title, question=question, answer=fact.answer
        )
    return Request(prompt, seed=seed, kind=kind)


def document_request(topic: str, seed: int, max_tokens: int) -> Request:
    """Asks for a short document on a topic."""
    prompt = _render("write_document", topic=topic)
    return Request(prompt, seed=seed, max_tokens=max_tokens, kind="write_document")


def _render(template: str, **values: object) -> str:
    return _environment().get_template(f"{template}.j2").render(**values)
