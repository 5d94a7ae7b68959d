"""Token F1 and exact match of an answer against the accepted ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from needlework.text import normalise_answer


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction equals an accepted answer, both normalised, else 0 (SQuAD 1.1)."""
    return float(normalise_answer(prediction) in {normalise_answer(a) for a in answers})


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the normalised words as multisets, in [0, 1], best over the answers (SQuAD 1.1).

    Two answers without a word left by the normalisation agree, as in SQuAD 2.0.
    """
    return max(_f1(normalise_answer(prediction).split(), normalise_answer(a)) for a in answers)


def _f1(predicted: list[str], answer: str) -> float:
    wanted = answer.split()
    shared = sum((Counter(predicted) & Counter(wanted)).values())
    if not shared:
        return float(predicted == wanted)  # two empty answers agree
    return 2 * shared / (len(predicted) + len(wanted))


METRICS = {"f1": token_f1, "exact_match": exact_match}
