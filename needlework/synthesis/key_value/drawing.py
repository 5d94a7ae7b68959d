"""Random integers and keys: what the dictionaries of the key-value tasks are made of."""

from __future__ import annotations

import random
from collections.abc import Sequence


def check_digits(**ranges: tuple[int, int]) -> None:
    """Check ranges of digits, each given by its option's name.

    Raises:
        ValueError: a range does not go from 1 or more upwards.
    """
    for option, (least, largest) in ranges.items():
        if not 1 <= least <= largest:
            raise ValueError(
                f"{option} is {(least, largest)}; expected the least and the largest number of "
                "digits, from 1"
            )


def integer(rng: random.Random, digits: tuple[int, int]) -> int:
    """An integer without leading zeros; each number of digits is as likely as another."""
    # Two calls of random() take a quarter of the time of two of randint(), and a context of 128K
    # tokens takes 30,000 of these.
    low: int = 10 ** (digits[0] + int(rng.random() * (digits[1] - digits[0] + 1)) - 1)
    return low + int(rng.random() * 9 * low)


def integer_above(rng: random.Random, digits: tuple[int, int], above: int) -> int:
    """An integer as `integer` draws it, given that it is larger than `above`.

    Raises:
        ValueError: none with so many digits is.
    """
    if 10 ** digits[1] - 1 <= above:
        raise ValueError(
            f"the gold value must be larger than {above}, the number of the dictionaries, but has "
            f"at most {digits[1]} digits; allow more digits or choose a shorter length"
        )
    while True:
        drawn = integer(rng, digits)
        if drawn > above:
            return drawn


def subkeys_around(
    common: Sequence[int], size: int, rng: random.Random, digits: tuple[int, int]
) -> tuple[int, ...]:
    """A key of `size` subkeys: those of `common` and random ones, each at a random place."""
    key: list[int] = []
    for subkey in common:
        key.insert(rng.randint(0, len(key)), subkey)
    while len(key) < size:
        key.insert(rng.randint(0, len(key)), integer(rng, digits))
    return tuple(key)
