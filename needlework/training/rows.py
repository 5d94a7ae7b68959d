"""The rows that a trainer takes: which examples, as which tokens, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from needlework.examples import Example
from needlework.provenance import derived_seed
from needlework.rendering.prompt import render

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

# What the loss leaves out, in PyTorch and in TRL.
IGNORED = -100


class Tokens(NamedTuple):
    """Tokens of some rows: those of prompts, and those of answers, which are labelled."""

    prompt: int
    answer: int


def chosen(examples: list[Example], count: int | None, data_hash: str) -> list[Example]:
    """The first `count` of a shuffle of `examples`, in their own order; None takes all.

    The shuffle depends on the data alone, so that a smaller choice is part of a larger one, and
    training seeds see the same examples.

    Args:
        examples: the whole dataset.
        count: how many to take.
        data_hash: the hash of the dataset's file.

    Raises:
        ValueError: there are fewer examples.
    """
    if count is None:
        return examples
    if not 1 <= count <= len(examples):
        raise ValueError(
            f"examples {count}: the dataset has {len(examples)}; take 1 to {len(examples)}"
        )
    order = list(range(len(examples)))
    Random(derived_seed(data_hash, "examples")).shuffle(order)
    return [examples[place] for place in sorted(order[:count])]


def rows_of(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, length: int
) -> Dataset:
    """Token ids and labels of examples, -100 on the prompt: TRL uses labels as given.

    Raises:
        ValueError: an example does not fit the length.
    """
    from datasets import Dataset

    ids: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for example in examples:
        shown = render(example, tokenizer, length)
        ids.append(np.array(shown.prompt + shown.answer, dtype=np.int32))
        labels.append(np.array([IGNORED] * len(shown.prompt) + shown.answer, dtype=np.int32))
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def token_counts(rows: Dataset) -> list[tuple[int, int]]:
    """Tokens of every row, prompt and answer; and how many of them are labelled."""
    return [
        (len(labels), int((labels != IGNORED).sum()))
        for labels in rows.with_format("numpy")["labels"]
    ]


def tokens_of(rows: Dataset) -> Tokens:
    """How many tokens prompts and answers of rows have."""
    counts = token_counts(rows)
    answer = sum(labelled for _, labelled in counts)
    return Tokens(sum(length for length, _ in counts) - answer, answer)


def check_rows(examples: Sequence[Example], given: Dataset, kept: Dataset) -> None:
    """Every example has labels, and a trainer kept all that it was given, whole.

    Args:
        examples: those that the rows were made of, in order.
        given: what `rows_of` made.
        kept: what the trainer trains on.

    Raises:
        ValueError: it dropped, cut or unlabelled some, or they had no labels; ids are named.
    """
    counts = zip(examples, token_counts(given), strict=True)
    empty = [example.id for example, (_, labelled) in counts if not labelled]
    if empty:
        raise ValueError(
            f"no token is labelled, so that nothing would be learned, in {_some(empty)}"
        )
    found = {_fingerprint(row) for row in kept.with_format("numpy")}
    lost = [
        example.id
        for example, row in zip(examples, given.with_format("numpy"), strict=True)
        if _fingerprint(row) not in found
    ]
    if lost or len(given) != len(kept):
        raise ValueError(
            f"the trainer kept {len(kept)} of {len(given)} examples whole; it dropped or cut "
            f"{_some(lost)}: its max_length must be None, and labels taken as given"
        )


def _fingerprint(row: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    return row["input_ids"].astype(np.int32).tobytes(), row["labels"].astype(np.int32).tobytes()


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
