"""Invented names: four capital letters that mean nothing to the model or in the example."""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A tokenizer may have no token for them; a name that is one of them would be a real entity.
COUNTRIES = frozenset(
    ["CHAD", "CUBA", "FIJI", "GUAM", "IRAN", "IRAQ", "LAOS", "MALI", "NIUE", "OMAN", "PERU", "TOGO"]
)  # fmt: skip


def possible_names(tokenizers: Iterable[PreTrainedTokenizerBase]) -> list[str]:
    """All names of four capital letters (Zhao et al., arXiv 2410.22316, poster) that may be used.

    None is a word of a tokenizer's vocabulary, in whatever case, nor a country.
    """
    tokens = {
        tokenizer.convert_tokens_to_string([token]).strip()
        for tokenizer in tokenizers
        for token in tokenizer.get_vocab()
    }
    words = {t.upper() for t in tokens if len(t) == 4 and t.isascii() and t.isalpha()}
    letters = string.ascii_uppercase
    return [
        name
        for name in map("".join, product(letters, repeat=4))
        if name not in words and name not in COUNTRIES
    ]


def invented(names: Sequence[str], rng: random.Random, taken: Iterable[str] = ()) -> Iterator[str]:
    """Different names, none of them a word of a text in `taken`, whatever its case.

    Raises:
        ValueError: there are no more names.
    """
    used = {word for text in taken for word in _words(text) if len(word) == 4}
    while len(used) < len(names):
        # Not rng.choice: this is called millions of times.
        name = names[int(rng.random() * len(names))]
        if name not in used:
            used.add(name)
            yield name
    # Words of `taken` that are no names were counted as if they were: so many are left.
    rest = [name for name in names if name not in used]
    rng.shuffle(rest)
    yield from rest
    raise ValueError(f"all {len(names)} names are used up; shorten the context")


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.upper()).split()
