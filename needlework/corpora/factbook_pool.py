"""Where the distractors of a Factbook context come from: the sections of a split's countries."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from needlework.corpora.factbook_sections import section, section_keys
from needlework.examples import Document
from needlework.provenance import derived_seed

if TYPE_CHECKING:
    from needlework.rendering.room import Room

LONGEST_DISTRACTOR = 2000
"""Characters; longer sections are left out whole, because a cut one is no longer real text."""

_BATCH = 256  # sections whose tokens are counted together


class Pool:
    """The sections of some countries by index, in random order, and which of them hold a text.

    Each section is one document object, so that many long contexts share their texts.
    """

    def __init__(self, countries: Sequence[str], seed: int, room: Room) -> None:
        self.countries = list(countries)
        self.room = room
        found = (section(country, key) for country in countries for key in section_keys(country))
        self.sections = [s for s in found if s is not None and len(s.text) <= LONGEST_DISTRACTOR]
        random.Random(derived_seed(seed, "pool", *countries)).shuffle(self.sections)
        self._documents: dict[int, Document] = {}
        self._containing: dict[str, frozenset[int]] = {}
        self._sizes: list[int] = []  # of the first sections, as far as they have been needed
        self._total = 0

    def document(self, index: int) -> Document:
        """A section as a distractor."""
        if index not in self._documents:
            self._documents[index] = self.sections[index].document(gold=False)
        return self._documents[index]

    def of_sections(self, keys: Iterable[str]) -> set[int]:
        """The sections of these chapters and names, of every country."""
        return {index for key in keys for index in self._by_key[key]}

    def containing(self, words: str) -> frozenset[int]:
        """The sections whose title or text contains `words`, a normal form between spaces."""
        if words not in self._containing:
            # Every word of the text is in the section; few sections have the rarest one.
            fewest = min((self._by_word[word] for word in words.split()), key=len, default=[])
            self._containing[words] = frozenset(
                i for i in fewest if words in self.sections[i].words
            )
        return self._containing[words]

    def has(self, tokens: float, outside: set[int]) -> bool:
        """Whether the sections that are not in `outside` take at least so many tokens.

        Only as many sections are measured as it takes to know.
        """
        while True:
            measured = len(self._sizes)
            lost = sum(self._sizes[index] for index in outside if index < measured)
            if self._total - lost >= tokens:
                return True
            if measured == len(self.sections):
                return False
            batch = range(measured, min(2 * measured + _BATCH, len(self.sections)))
            self.room.measure(map(self.document, batch))
            self._sizes += [self.room.size(self.document(index)) for index in batch]
            self._total = sum(self._sizes)

    def size(self, indices: Iterable[int]) -> int:
        """Tokens of some sections."""
        return sum(self.room.size(self.document(index)) for index in indices)

    @cached_property
    def _by_key(self) -> defaultdict[str, list[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for index, one in enumerate(self.sections):
            found[one.key].append(index)
        return found

    @cached_property
    def _by_word(self) -> defaultdict[str, list[int]]:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for index, one in enumerate(self.sections):
            for word in set(one.words.split()):
                found[word].append(index)
        return found
