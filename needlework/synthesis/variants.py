"""Every variant of a dataset by name, and how its examples are made from the real ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from needlework.examples import Example
from needlework.provenance import derived_seed
from needlework.synthesis.concepts import facts_of, invented_name
from needlework.synthesis.contexts import FILLER, in_filler
from needlework.synthesis.rewriting import Rewrite
from needlework.synthesis.symbolic import symbolic
from needlework.text import normalise_answer


class Dataset(NamedTuple):
    """A variant's examples and the real examples that gave none, by reason."""

    examples: list[Example]
    skipped: dict[str, list[str]]


def real(example: Example, rewrites: dict[str, Rewrite], seed: int) -> Example:
    """The real example as it is."""
    return example


def high_low(example: Example, rewrites: dict[str, Rewrite], seed: int) -> Example | str:
    """The real fact in a language model's words, in filler; or why there is none."""
    rewrite = rewrites.get(example.id)
    if rewrite is None:
        raise ValueError(f"{example.id} has no rewrite; rewrites and corpus are of different runs")
    if rewrite.sentences is None:
        return "every rewrite was refused"
    facts = facts_of(example)
    return _in_filler(
        example, "high_low", example.question, rewrite.sentences, [f.answer for f in facts], seed
    )


def low_low(example: Example, rewrites: dict[str, Rewrite], seed: int) -> Example:
    """The fact's template over invented names, in filler; a hop's answer is the next's subject."""
    rng = random.Random(derived_seed(seed, "low_low", "names", example.id))
    facts = facts_of(example)
    # A name that is also a word of its context could not be told from it.
    words = " ".join([*FILLER, *(f"{fact.statement} {fact.question}" for fact in facts)])
    taken = set(normalise_answer(words).upper().split())
    names = [invented_name(rng, taken) for _ in range(len(facts) + 1)]
    sentences = [f.state(s, a) for f, s, a in zip(facts, names[:-1], names[1:], strict=True)]
    question = example.question.replace(facts[0].subject, names[0])
    return _in_filler(example, "low_low", question, sentences, names[1:], seed)


def _symbolic(example: Example, rewrites: dict[str, Rewrite], seed: int) -> Example:
    return symbolic(example, seed, random.Random(derived_seed(seed, "symbolic", example.id)))


def _in_filler(
    example: Example,
    variant: str,
    question: str,
    sentences: list[str],
    answers: list[str],
    seed: int,
) -> Example:
    rng = random.Random(derived_seed(seed, variant, "depth", example.id))
    documents, needles = in_filler(example, sentences, answers, rng)
    return Example(
        id=example.id,
        task=example.task,
        variant=variant,
        question=question,
        answers=[answers[-1]],
        documents=documents,
        needles=needles,
        cluster=example.cluster,
        source={"from": example.id, "seed": seed, "sentences": sentences},
    )


Maker = Callable[[Example, dict[str, Rewrite], int], Example | str]
MAKERS: dict[str, Maker] = {
    "real": real,
    "high_low": high_low,
    "low_low": low_low,
    "symbolic": _symbolic,
}
# Variants whose facts a language model rewrites first.
REWRITTEN = frozenset({"high_low"})


def make_dataset(
    variant: str,
    examples: Sequence[Example],
    rewrites: Sequence[Rewrite],
    *,
    wanted: int,
    seed: int,
) -> Dataset:
    """The first `wanted` examples of a variant that can be made, in the order of `examples`.

    Every variant has the same size, so that no variant wins by having more data: `examples` hold
    some spare ones to stand in for those whose rewrite failed.
    """
    by_id = {rewrite.id: rewrite for rewrite in rewrites}
    made: list[Example] = []
    skipped: dict[str, list[str]] = {}
    for example in examples:
        if len(made) == wanted:
            break
        result = MAKERS[variant](example, by_id, seed)
        if isinstance(result, str):
            skipped.setdefault(result, []).append(example.id)
        else:
            made.append(result)
    return Dataset(made, skipped)
