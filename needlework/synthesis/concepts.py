"""How a synthetic needle states its fact: rewritten by a language model, or by a template.

Every extractive example carries its facts, hop by hop, in `source["facts"]`: the subject, the
relation, and the relation's own question and statement as templates over {subject} and {answer}.
"""

from __future__ import annotations

import random
import string

from pydantic import BaseModel, ConfigDict

from needlework.examples import Example

_LETTERS = string.ascii_uppercase


class Fact(BaseModel):
    """One hop: `answer` stands in `relation` to `subject`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hop: int
    relation: str
    subject: str
    answer: str
    question: str
    statement: str

    def state(self, subject: str | None = None, answer: str | None = None) -> str:
        """The template's sentence, with other names where given."""
        return self.statement.format(
            subject=self.subject if subject is None else subject,
            answer=self.answer if answer is None else answer,
        )

    def ask(self, subject: str) -> str:
        """The relation's question about `subject`."""
        return self.question.format(subject=subject)


def facts_of(example: Example) -> list[Fact]:
    """The facts of an example in hop order.

    Raises:
        ValueError: the example carries none, so nothing can be synthesised from it.
    """
    facts = [Fact.model_validate(fact) for fact in example.source.get("facts", [])]
    if not facts:
        raise ValueError(
            f"{example.id} has no source['facts']; the task that made it must say subject, "
            "relation, question and statement of every hop"
        )
    return sorted(facts, key=lambda fact: fact.hop)


def invented_name(rng: random.Random, taken: set[str]) -> str:
    """A name of four capital letters (Zhao et al., arXiv 2410.22316, poster) not yet in `taken`.

    It is added to `taken`.
    """
    while True:
        name = "".join(rng.choices(_LETTERS, k=4))
        if name not in taken:
            taken.add(name)
            return name


def rewrite_prompt(fact: Fact, attempt: int) -> str:
    """What a language model is asked, to express a fact in words of its own.

    Asked for another beginning, a small model turns a sentence round instead of copying it; the
    beginning alternates between answer and subject with the attempt, counted from 0.
    """
    beginning = fact.subject if attempt % 2 else fact.answer
    return f'Rewrite this sentence so that it begins with "{beginning}":\n{fact.state()}'
