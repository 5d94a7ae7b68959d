"""How metrics, numbers and lists are written for a person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_METRICS = {"f1": "token F1", "citation_f1": "citation F1", "best_subspan_em": "best subspan EM"}


KIND_WORDS = {
    "copy": "the share of the needle's distinct tokens that the head copies in the answer",
    "copy_repeats": "the needle's tokens that the head copies, repeats too, by the needle's length",
    "argmax": "the share of answer rows whose highest attention is on the needle",
    "mass": "the attention that the head pays to the needle, mean over rows",
    "topk": "the attention on the needle among each row's k highest, k being the needle's length",
}


def metric_words(name: str) -> str:
    """A metric as a person reads it."""
    return _METRICS.get(name, name.replace("_", " "))


def listed(items: Sequence[str]) -> str:
    """Items as a list in a sentence: "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def interval(low: float, high: float, form: str = ".2f") -> str:
    """An interval in brackets; nothing where there is none."""
    return "" if np.isnan(low) or np.isnan(high) else f" [{low:{form}}, {high:{form}}]"


def p_words(p: float) -> str:
    """A p value in a sentence, with two digits that count."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
