"""Which training examples overlap with the evaluation data: its questions, documents and answers.

Two documents that share 13 words in a row count as overlapping, the length that Brown et al. 2020
(GPT-3, appendix C) take for their filter.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from needlework.examples import Document, Example
from needlework.text import normalise_answer

ASKS_QUESTION = "asks an evaluation question"
SHARES_WORDS = "shares 13 words in a row with an evaluation document"
HAS_ANSWER = "its answer is an evaluation answer"

_WORDS = 13
# Odd, and 5 modulo 8, so that a change of order is lost in as few of the 64 bits as can be.
_BASE = 0x9E3779B97F4A7C15
_POWERS = np.array([pow(_BASE, i, 2**64) for i in range(_WORDS)], dtype=np.uint64)
# Documents return in many examples; of so many, the last verdict is kept.
_REMEMBERED = 20_000


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """Questions, answers and 13-grams of the documents of evaluation examples.

    Attributes:
        questions, answers: in normal form.
        grams: hashes of the 13-grams of normalised words, sorted; 8 bytes each.
    """

    questions: frozenset[str]
    answers: frozenset[str]
    grams: npt.NDArray[np.uint64]
    _verdicts: dict[bytes, bool] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, examples: Iterable[Example]) -> EvaluationData:
        """What `examples` hold; they are gone through once, and each different text is read once.

        Documents of dictionaries are left out: their entries are drawn at random. So are answers
        that cite documents, which say nothing by themselves.
        """
        questions: set[str] = set()
        answers: set[str] = set()
        read: set[bytes] = set()
        grams = array("Q")
        for example in examples:
            questions.add(normalise_answer(example.question))
            answers.update(_answers(example))
            for document in _prose(example):
                key = _digest(document.text)
                if key not in read:
                    read.add(key)
                    grams.frombytes(gram_hashes(document.text).tobytes())
        # Repeated grams stay: numpy's `unique` takes longer and more memory than they are worth.
        ordered = np.sort(np.frombuffer(grams, dtype=np.uint64))
        return cls(frozenset(questions) - {""}, frozenset(answers), ordered)

    def overlap(self, example: Example, *, answers: bool) -> str | None:
        """Why `example` overlaps with the evaluation data, the first reason found; None if not.

        Args:
            example: of the training or validation data.
            answers: whether a shared answer is such a reason too.
        """
        if normalise_answer(example.question) in self.questions:
            return ASKS_QUESTION
        if any(map(self._shares_words, _prose(example))):
            return SHARES_WORDS
        return HAS_ANSWER if answers and self.knows_answer(example) else None

    def knows_answer(self, example: Example) -> bool:
        """Whether one of its accepted answers is one of an evaluation example.

        An answer that cites documents is none: "[1][4]" names other documents in each example.
        """
        return not self.answers.isdisjoint(_answers(example))

    def _shares_words(self, document: Document) -> bool:
        key = _digest(document.text)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self._holds_any(gram_hashes(document.text))
        return verdict

    def _holds_any(self, grams: npt.NDArray[np.uint64]) -> bool:
        if not self.grams.size:
            return False
        places = np.searchsorted(self.grams, grams).clip(max=self.grams.size - 1)
        return bool((self.grams[places] == grams).any())


def gram_hashes(text: str) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each 13 normalised words in a row, in their order; of fewer words, none.

    The hash is a polynomial over the words' own, modulo 2^64: equal on every machine.
    """
    words = [_word_hash(word) for word in normalise_answer(text).split()]
    if len(words) < _WORDS:
        return np.empty(0, dtype=np.uint64)
    return np.convolve(np.array(words, dtype=np.uint64), _POWERS, "valid")


@lru_cache(maxsize=2**16)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _answers(example: Example) -> set[str]:
    return set() if example.cites else {normalise_answer(a) for a in example.answers} - {""}


def _prose(example: Example) -> Iterator[Document]:
    return (document for document in example.documents if document.unit != "entry")
