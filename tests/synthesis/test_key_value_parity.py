"""The published rows byte for byte, and the figures measured on the released generator."""

from __future__ import annotations

import ast
import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from statistics import mean
from typing import Any

import numpy as np
import pytest

from needlework.rendering.styles import styles
from needlework.synthesis.key_value.parity import parity_rows

# Beginnings of the SHA-256 of the released generator's files, where no task is drawn again:
# train and eval, with the first train answer.
_PUBLISHED = {
    (0, True): ("40c322a8538639c6", "9c0bf7cda3c5baf5", (2371, 885, 12)),
    (1, True): ("edc61ca042e3eb37", "29684889169883a6", (164, 3458, 62)),
    (2, True): ("dd29abef1da6ad9d", "add7a5f316448b73", (1595, 9067, 8)),
    (0, False): ("3dd653b02c461c9a", "c9949a1c47beff42", (2371, 885, 12)),
    (1, False): ("f713ae59fbbdb853", "6521d07af77521ad", (164, 3458, 62)),
    (2, False): ("25550ee382ebe49c", "d0e179fbf68c8ee1", (1595, 9067, 8)),
}
_ANSWER = re.compile(r"The value of key (\d+) is (\d+) and it is in Dictionary \[(\d+)\]\.")

Rows = list[dict[str, Any]]


@cache
def _rows(seed: int, template: bool) -> tuple[Rows, Rows]:
    return parity_rows(seed, template)


def _prompt(row: dict[str, Any]) -> str:
    return str(row["messages"][0]["content"])


def _answer(row: dict[str, Any]) -> tuple[int, ...]:
    match = _ANSWER.fullmatch(row["messages"][1]["content"])
    assert match
    return tuple(map(int, match.groups()))


def _dictionaries(prompt: str) -> list[dict[int, int]]:
    lines = re.findall(r"^Dictionary \[(\d+)\] (\{.*\})$", prompt, re.MULTILINE)
    assert [int(number) for number, _ in lines] == list(range(1, len(lines) + 1))
    return [ast.literal_eval(text) for _, text in lines]


@pytest.mark.parametrize(("seed", "template"), _PUBLISHED)
def test_files_are_the_published_ones(seed: int, template: bool) -> None:
    train, evaluation = _rows(seed, template)
    hashes = [
        hashlib.sha256("".join(json.dumps(row) + "\n" for row in rows).encode()).hexdigest()[:16]
        for rows in (train, evaluation)
    ]
    *expected, first = _PUBLISHED[seed, template]
    assert hashes == expected
    assert _answer(train[0]) == first
    assert (len(train), len(evaluation)) == (350, 150)


def test_every_answer_is_right_and_the_only_one() -> None:
    for row in [*_rows(0, True)[0], *_rows(0, True)[1]]:
        key, value, number = _answer(row)
        dictionaries = _dictionaries(_prompt(row))
        assert len(dictionaries) == 85
        assert dictionaries[number - 1][key] == value
        assert sum(key in pairs for pairs in dictionaries) == 1
        assert sum(list(pairs.values()).count(value) for pairs in dictionaries) == 1
        assert len(dictionaries[number - 1]) <= 3


def test_figures_are_those_measured_on_the_released_generator() -> None:
    prompts = [_prompt(row) for row in _rows(0, True)[0]]
    keys = [[key for pairs in _dictionaries(prompt) for key in pairs] for prompt in prompts]
    assert mean(map(len, keys)) == pytest.approx(296.7, abs=0.7)
    assert mean(len(drawn) - len(set(drawn)) for drawn in keys) == pytest.approx(12.8, abs=0.3)
    sizes = [len(prompt) for prompt in prompts]
    assert mean(sizes) == pytest.approx(5008, abs=8)
    # 200 prompts had 4,846 to 5,193; these are 350.
    assert min(sizes) > 4790
    assert max(sizes) < 5230


def test_places_are_uniform_but_for_the_favoured_rows() -> None:
    train = [_answer(row)[2] for seed in range(3) for row in _rows(seed, False)[0]]
    evaluation = [_answer(row)[2] for seed in range(3) for row in _rows(seed, False)[1]]
    for numbers, rows, firsts, early, bound in [
        (train, 350, 17, 10, 17),
        (evaluation, 150, 7, 4, 7),
    ]:
        uniform = (rows - firsts - early) / 85
        first = 3 * (firsts + early / bound + uniform)
        assert numbers.count(1) == pytest.approx(first, abs=3 * first**0.5)
        low = 3 * (firsts + early + bound * uniform)
        assert sum(n <= bound for n in numbers) == pytest.approx(low, abs=3 * low**0.5)
        high = 3 * (rows - firsts - early) * (85 - bound) / 85
        assert sum(n > bound for n in numbers) == pytest.approx(high, abs=3 * high**0.5)
    assert set(train) == set(range(1, 86))


def test_the_record_is_shown_as_published() -> None:
    style = styles()["dictionaries"]
    for template in (True, False):
        prompt = _prompt(_rows(1, template)[0][0])
        before, after = prompt.split("Dictionary [1] ")[0], prompt.split("\n\nAbove is ")[1]
        assert style.before == before
        assert style.after.format(question="Above is " + after) == f"\nAbove is {after}"
        question = "Above is " + after
        shown = style.before + "".join(
            style.document.format(title=style.title.format(title=f"Dictionary [{i}]"), text=pairs)
            for i, pairs in enumerate(_dictionaries(prompt), start=1)
        )
        assert shown + style.after.format(question=question) == prompt


def _drawn_again(limit: int) -> tuple[Callable[[str], bool], list[str]]:
    refused: list[str] = []

    def too_long(prompt: str) -> bool:
        if len(prompt) > limit:
            refused.append(prompt)
        return len(prompt) > limit

    return too_long, refused


def test_a_task_that_is_too_long_is_drawn_again() -> None:
    too_long, refused = _drawn_again(5000)
    train, evaluation = parity_rows(0, True, too_long)
    assert len(refused) > 300  # about half are longer than that
    # The gold dictionary is moved after the check, which changes no more than line order.
    assert all(len(_prompt(row)) <= 5000 for row in [*train, *evaluation])
    assert (len(train), len(evaluation)) == (350, 150)
    assert _questions(train) != _questions(_rows(0, True)[0])


def _questions(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [_prompt(row).rsplit("\n\n", 1)[1] for row in rows]


def test_what_is_never_short_enough_is_an_error() -> None:
    too_long, refused = _drawn_again(100)
    with pytest.raises(ValueError, match="1000 draws of a task were all too long"):
        parity_rows(0, True, too_long)
    assert len(refused) == 1000


def test_global_random_numbers_are_left_alone() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    parity_rows(0, False)
    assert (random.random(), np.random.random()) == expected
