"""Symbolic examples: dictionaries of invented keys and values, the question a look-up.

The shape is that of Zhao et al. (arXiv 2410.22316, poster); number of keys and wording are ours.
"""

from __future__ import annotations

import random

from needlework.examples import Document, Example, Needle
from needlework.synthesis.concepts import invented_name

# Characters of text that one entry stands for. Random capitals take about twice as many tokens as
# English of their length, so an entry stands for twice its own, and contexts are about as long.
_ENTRY = 2 * len("'UQCA': 'SXVI', ")


def symbolic(example: Example, seed: int, rng: random.Random) -> Example:
    """One dictionary per document of `example`, about as many tokens; the gold one has the key.

    Keys and values are unique over all dictionaries of the example, so the look-up has one answer.

    Raises:
        ValueError: the example has more than one hop, which has no symbolic form yet.
    """
    golds = [needle for needle in example.needles if needle.role == "answer"]
    if len(example.needles) != 1 or not golds:
        raise ValueError(f"{example.id}: symbolic examples are made from one-hop examples")
    taken: set[str] = set()
    documents = []
    for document in example.documents:
        name = invented_name(rng, taken)
        pairs = [
            (invented_name(rng, taken), invented_name(rng, taken))
            for _ in range(max(2, len(document.text) // _ENTRY))
        ]
        body = ", ".join(f"'{key}': '{value}'" for key, value in pairs)
        text = f"{name} {{{body}}}"
        documents.append(Document(id=document.id, title="", text=text, gold=document.gold))
        if document.id == golds[0].document:
            key, value = rng.choice(pairs)
            dictionary, start = name, text.index(f"'{value}'") + 1
    needle = Needle(
        document=golds[0].document, start=start, end=start + len(value), role="answer",
        relation="look-up",
    )  # fmt: skip
    return Example(
        id=example.id,
        task=example.task,
        variant="symbolic",
        question=f"What is the value of the key '{key}' in the dictionary {dictionary}?",
        answers=[value],
        documents=documents,
        needles=[needle],
        cluster=example.cluster,
        source={"from": example.id, "seed": seed},
    )
