"""What every task gives: examples of each split with their counts; documents in their places."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from needlework.examples import Document, Example
from needlework.provenance import derived_seed


class Corpus(NamedTuple):
    """Examples of each split, and how many questions were considered, made and skipped, and why.

    `further` are the questions of the test in other contexts, with the same ids in the same order;
    `source["split"]` names their set, such as "test-random".
    """

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    counts: dict[str, Any]
    further: Sequence[Example] = ()


def arranged(
    golds: Sequence[Document],
    distractors: Sequence[Document],
    rng: random.Random,
    depth: float | None = None,
) -> list[Document]:
    """Gold documents among distractors, in the order they are shown.

    Args:
        golds: at random places and in random order; or, with a `depth`, one after the other in
            the order given.
        distractors: keep their order.
        rng: draws the places.
        depth: where the gold documents begin: 0 is before all distractors, 1 after all.
    """
    if depth is None:
        number = len(golds) + len(distractors)
        places = dict(zip(rng.sample(range(number), len(golds)), golds, strict=True))
        others = iter(distractors)
        return [places[i] if i in places else next(others) for i in range(number)]
    before = round(depth * len(distractors))
    return [*distractors[:before], *golds, *distractors[before:]]


def dealt(clusters: Iterable[str], seed: int, task: str) -> dict[str, str]:
    """The split of every cluster: 15 % for validation, 25 % for the test, the rest for training.

    The numbers wanted play no part, so that asking for more training examples moves no cluster.
    Three clusters or more leave no split empty.
    """
    order = sorted(set(clusters))
    random.Random(derived_seed(seed, task, "splits")).shuffle(order)
    sizes = {
        "test": max(1, round(0.25 * len(order))),
        "validation": max(1, round(0.15 * len(order))),
    }
    splits = [split for split, size in sizes.items() for _ in range(size)]
    splits += ["train"] * (len(order) - len(splits))
    return dict(zip(order, splits, strict=False))  # one cluster alone is for the test


def shuffled(indices: Iterable[int], rng: random.Random) -> Iterator[int]:
    """The indices in random order, drawn one by one: most contexts need only a few of them."""
    left = list(indices)
    while left:
        place = rng.randrange(len(left))
        left[place], left[-1] = left[-1], left[place]
        yield left.pop()
