"""The metrics of every task, what counts as an answer at all, and the metrics of plain answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from needlework.evaluation.citations import (
    citation_f1,
    citation_match,
    citation_precision,
    citation_recall,
    cited,
)
from needlework.evaluation.flenqa_scorer import accuracy, accuracy_published, verdict
from needlework.text import normalise_answer

Metric = Callable[[str, Sequence[str]], float]
"""The score in [0, 1] of a prediction, given the accepted answers."""


_normal = lru_cache(maxsize=2**16)(normalise_answer)  # an item's answers come with every run


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction equals an accepted answer, both normalised, else 0 (SQuAD 1.1)."""
    return float(_normal(prediction) in map(_normal, answers))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the normalised words as multisets, in [0, 1], best over the answers (SQuAD 1.1).

    Two answers without a word left by the normalisation agree, as in SQuAD 2.0.
    """
    predicted = _normal(prediction).split()
    return max(_f1(predicted, _normal(answer).split()) for answer in answers)


def _f1(predicted: list[str], wanted: list[str]) -> float:
    if set(predicted).isdisjoint(wanted):
        return float(predicted == wanted)  # two empty answers agree
    shared = sum((Counter(predicted) & Counter(wanted)).values())
    return 2 * shared / (len(predicted) + len(wanted))


def best_subspan_em(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction's first line contains an accepted answer, both normalised, else 0.

    Source: Liu et al. (2024), Lost in the Middle. Letters count, not words, as in the original:
    "climate" contains "Lima".
    """
    line = _normal(prediction.split("\n")[0])
    return float(any(_normal(answer) in line for answer in answers))


_EXTRACTIVE: dict[str, Metric] = {"f1": token_f1, "exact_match": exact_match}
_CITATION: dict[str, Metric] = {
    "citation_f1": citation_f1,
    "citation_precision": citation_precision,
    "citation_recall": citation_recall,
    "exact_match": citation_match,
}
_OF_TASK: dict[str, dict[str, Metric]] = {
    "mdqa": _EXTRACTIVE | {"best_subspan_em": best_subspan_em},
    "summhay": _CITATION,
    "factbook_citation": _CITATION,
    "flenqa": {"accuracy": accuracy, "accuracy_published": accuracy_published},
}
_PARSEABLE: dict[str, Callable[[str], bool]] = {
    "summhay": lambda prediction: bool(cited(prediction)),
    "factbook_citation": lambda prediction: bool(cited(prediction)),
    "flenqa": lambda prediction: verdict(prediction) != "other/refused",
}


def metrics_for(task: str) -> dict[str, Metric]:
    """The metrics of a task by name, the main one first; token F1 and exact match by default."""
    return _OF_TASK.get(task, _EXTRACTIVE)


def main_metric(task: str) -> str:
    """The name of the metric that decides between variants on a task."""
    return next(iter(metrics_for(task)))


def parseable(task: str) -> Callable[[str], bool]:
    """Whether a reply can be read as an answer: it cites, it gives a verdict, or else it is a text.

    One that cannot is scored like any other, and counted beside the score.
    """
    return _PARSEABLE.get(task, lambda prediction: bool(prediction.strip()))


def judge(task: str) -> Callable[[str, Sequence[str]], bool]:
    """Whether an answer counts as right: the main metric of the task above one half."""
    metric = metrics_for(task)[main_metric(task)]
    return lambda prediction, answers: metric(prediction, answers) > 0.5
