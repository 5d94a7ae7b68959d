"""The rows of Xiong et al. (arXiv 2406.19292) byte for byte: 350 to train and 150 to evaluate.

Written after their released generator (`simpledict_ndicts85_34_…_ordered_5_3`), with its order of
random draws. Where it is odd, it is followed: comments say so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from needlework.synthesis.chat import chat_rows
from needlework.synthesis.key_value import wording
from needlework.synthesis.key_value.unique import check_unique

_ROWS = (350, 150)  # train, eval
_DICTIONARIES = 85
_GOLD_PAIRS = 3
_DIGITS = (3, 4)
_FIRST = 0.05  # of the rows have the gold dictionary first
_EARLY = 0.03  # further rows have it near the beginning
_TRIES = 1000


class _Task(NamedTuple):
    key: int
    value: int
    gold: dict[wording.Key, int]
    others: list[dict[wording.Key, int]]

    def dictionaries(self, place: int) -> list[dict[wording.Key, int]]:
        return [*self.others[:place], self.gold, *self.others[place:]]

    def prompt(self, place: int, template: bool) -> str:
        lines = [
            f"{wording.title(number)} {pairs}"
            for number, pairs in enumerate(self.dictionaries(place), start=1)
        ]
        question = wording.simple_question(self.key, template=template)
        return "\n".join([wording.INSTRUCTION, "", *lines, "", question])


def parity_rows(
    seed: int, template: bool, too_long: Callable[[str], bool] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The train and eval rows in Mistral's chat form, equal to those of the released generator.

    One JSON object a line, by `json.dumps` with its defaults, gives the released files' bytes.

    Args:
        seed: 0, 1 and 2 in the paper.
        template: whether the question shows the form of the answer.
        too_long: whether a prompt is too long, so that its task is drawn again. The released
            generator asks for fewer than 4096 - 100 tokens of Llama 2's tokenizer, with the gold
            dictionary first; None draws nothing again.

    Raises:
        ValueError: 1000 draws of one task were all too long.
    """
    rng = random.Random(seed)
    choice = np.random.RandomState(seed)  # the same stream as numpy's global generator

    def task() -> _Task:
        for _ in range(_TRIES):
            drawn = _task(rng)
            if too_long is None or not too_long(drawn.prompt(0, template)):
                return drawn
        raise ValueError(f"{_TRIES} draws of a task were all too long; expected one that fits")

    task()  # a probe, which the released generator prints
    tasks, places = [], []
    for rows in _ROWS:
        tasks.append([task() for _ in range(rows)])
        places.append([rng.randint(0, _DICTIONARIES - 1) for _ in range(rows)])
    _force(places, rng, choice)
    train, evaluation = (
        [_row(*pair, template) for pair in zip(*split, strict=True)]
        for split in zip(tasks, places, strict=True)
    )
    return train, evaluation


def _force(places: list[list[int]], rng: random.Random, choice: np.random.RandomState) -> None:
    """Put some rows' gold dictionary first, and that of some others near the beginning."""
    firsts = [choice.choice(len(p), int(len(p) * _FIRST), replace=False).tolist() for p in places]
    rest = [
        [row for row in range(len(p)) if row not in first]
        for p, first in zip(places, firsts, strict=True)
    ]
    early = [
        choice.choice(r, int(len(p) * _EARLY), replace=False).tolist()
        for p, r in zip(places, rest, strict=True)
    ]
    for split, first, further in zip(places, firsts, early, strict=True):
        for row in first:
            split[row] = 0
        for row in further:
            # 5 % of the rows, where 5 % of the dictionaries were surely meant.
            split[row] = rng.choice(range(int(len(split) * _FIRST)))


def _task(rng: random.Random) -> _Task:
    place = rng.randint(0, _GOLD_PAIRS - 1)
    rng.random()  # whether to share subkeys with other keys, of which there are none
    rng.randint(0, 0)  # where in the key its only subkey goes
    key, value = _number(rng), _number(rng)
    gold: dict[wording.Key, int] = {}
    for index in range(_GOLD_PAIRS):
        other_key, other_value = (key, value) if index == place else _pair(rng, key, value)
        gold[other_key] = other_value
    others: list[dict[wording.Key, int]] = [
        dict(_pair(rng, key, value) for _ in range(rng.randint(3, 4)))
        for _ in range(_DICTIONARIES - 1)
    ]
    return _Task(key, value, gold, others)


def _pair(rng: random.Random, key: int, value: int) -> tuple[int, int]:
    rng.randint(1, 1)  # how many subkeys: always one, but the draw moves the stream
    while True:
        rng.random()  # whether to share subkeys with the gold key: never, but drawn each time
        other_key, other_value = _number(rng), _number(rng)
        if other_key != key and other_value != value:
            return other_key, other_value


def _number(rng: random.Random) -> int:
    digits = rng.randint(*_DIGITS)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _row(task: _Task, place: int, template: bool) -> dict[str, Any]:
    check_unique(task.dictionaries(place), task.key, task.value)
    answer = wording.simple_answer(task.key, task.value, place + 1)
    return chat_rows(task.prompt(place, template), answer, "mistral")
