"""Symbolic examples: dictionaries of invented keys and values, the question a look-up.

The shape is that of Zhao et al. (arXiv 2410.22316, poster); number of keys and wording are ours. A
hop's value names the dictionary of the next hop, or is the key looked up in it where the real
question joins two answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, count, islice
from typing import NamedTuple

from needlework.examples import Document, Example, Needle, citation
from needlework.rendering.room import Room
from needlework.synthesis.concepts import parts_of
from needlework.synthesis.contexts import at_depths
from needlework.synthesis.names import invented

# Entries of a dictionary: so that one takes about as many tokens as a passage of a hundred words.
_ENTRIES = (6, 14)
# What fits a short length best is chosen among so many more than fill it.
_SURPLUS = 6
# Of a context, the dictionaries that hold what is looked up.
_LONGEST_GOLD = 0.5


class _Dictionary(NamedTuple):
    """A named dictionary; `entry` is the one that a hop looks up."""

    name: str
    entries: list[tuple[str, str]]
    entry: int

    def document(self, name: str, gold: bool) -> Document:
        body = ", ".join(f"'{key}': '{value}'" for key, value in self.entries)
        text = f"{self.name} {{{body}}}"
        return Document(id=name, title="", text=text, gold=gold, unit="entry")

    def needle(self, document: Document, real: Needle) -> Needle:
        key, value = self.entries[self.entry]
        start = document.text.index(f"'{key}': '{value}'") + len(f"'{key}': '")
        place = {"start": start, "end": start + len(value), "document": document.id}
        return real.model_copy(update=place | {"relation": "look-up"})


def symbolic(
    example: Example, names: Sequence[str], room: Room, seed: int, rng: random.Random
) -> Example:
    """Dictionaries in the place of the documents of `example`, until the room is full.

    Keys, values and dictionaries have different names throughout an example, but where a hop's
    value is meant, so the look-up has one answer.
    """
    parts = parts_of(example)
    drawn = invented(names, rng)
    small = max(2, min(_ENTRIES[1], int(_LONGEST_GOLD * room.length / 12 / len(parts))))
    golds = [_dictionary(drawn, rng.randint(min(_ENTRIES[0], small), small), rng) for _ in parts]
    if example.cites:
        value = golds[0].entries[golds[0].entry][1]
        golds = [_with(gold, value=value) for gold in golds]
        question = f"Which dictionaries hold the value '{value}'?"
    else:
        golds, question = _chained(example, golds)
        value = golds[-1].entries[golds[-1].entry][1]
    shown = [
        gold.document(needle.document, True) for gold, (_, needle) in zip(golds, parts, strict=True)
    ]
    ids = {document.id: document for document in shown}
    if len(ids) < len(shown):  # two hops of one document: each hop has a dictionary of its own
        shown = [d.model_copy(update={"id": f"hop-{i}"}) for i, d in enumerate(shown, start=1)]
    more = (
        _dictionary(drawn, rng.randint(*_ENTRIES), rng).document(f"dictionary-{i}", False)
        for i in count()
    )
    distractors = _filled(room, shown, more)
    order = [d.id for d in example.documents if d.gold]
    if {d.id for d in shown} == set(order):
        arranged = [ids[name] for name in order]
        documents = at_depths(example, arranged, distractors)
    else:
        documents = [*distractors]
        for document in shown:
            documents.insert(rng.randint(0, len(documents)), document)
    return Example(
        id=example.id,
        task=example.task,
        variant="symbolic",
        question=question,
        answers=[citation(documents, example.cites)] if example.cites else [value],
        documents=documents,
        needles=[
            gold.needle(document, needle)
            for gold, document, (_, needle) in zip(golds, shown, parts, strict=True)
        ],
        cluster=example.cluster,
        source={"from": example.id, "seed": seed},
        cites=example.cites,
        style=example.style,
    )


def _dictionary(names: Iterator[str], size: int, rng: random.Random) -> _Dictionary:
    entries = [(next(names), next(names)) for _ in range(size)]
    return _Dictionary(next(names), entries, rng.randrange(size))


def _with(
    gold: _Dictionary, *, name: str | None = None, key: str | None = None, value: str | None = None
) -> _Dictionary:
    """The dictionary under another name, or with another key or value looked up."""
    entries = list(gold.entries)
    old_key, old_value = entries[gold.entry]
    entries[gold.entry] = (key or old_key, value or old_value)
    return _Dictionary(name or gold.name, entries, gold.entry)


def _chained(example: Example, golds: list[_Dictionary]) -> tuple[list[_Dictionary], str]:
    """The dictionaries joined as the facts of `example` are, and the question that follows them."""
    facts = sorted(example.facts, key=lambda fact: fact.hop)
    order = {fact.hop: i for i, fact in enumerate(facts)}
    joined, steps = list(golds), []
    for i, fact in enumerate(facts):
        where = f"the dictionary {joined[i].name}"
        key = f"the key '{joined[i].entries[joined[i].entry][0]}'"
        sources = [hop for hop in (fact.subject_hop, fact.other_hop) if hop is not None]
        if sources:
            first = joined[order[sources[0]]]
            joined[i] = _with(joined[i], name=first.entries[first.entry][1])
            where = f"the dictionary that value {order[sources[0]] + 1} names"
        if len(sources) > 1:
            second = joined[order[sources[1]]]
            joined[i] = _with(joined[i], key=second.entries[second.entry][1])
            key = f"the key that value {order[sources[1]] + 1} names"
        steps.append(f"the value of {key} in {where}")
    if len(steps) == 1:
        return joined, f"What is {steps[0]}?"
    numbered = "; ".join(f"value {i} is {step}" for i, step in enumerate(steps, start=1))
    return joined, f"{numbered[0].upper()}{numbered[1:]}. What is value {len(steps)}?"


def _filled(room: Room, golds: Sequence[Document], more: Iterator[Document]) -> list[Document]:
    """Dictionaries beside `golds` until the room is full, and a few more to choose from.

    The first few are measured, the rest are taken to be alike: names are drawn evenly, and this
    saves reading millions of tokens.
    """
    sample = [next(more) for _ in range(4)]
    room.measure([*golds, *sample])
    rate = sum(map(room.size, sample)) / sum(len(d.text) for d in sample)
    wanted = room.length * 1.03 - sum(map(room.size, golds))
    taken, size = [], 0.0
    for document in chain(sample, more):
        taken.append(document)
        size += len(document.text) * rate
        if size >= wanted and len(taken) >= len(sample):
            break
    return [*taken, *islice(more, _SURPLUS)]
