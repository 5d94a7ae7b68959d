"""The key-value families at any length: `kv_simple` and `kv_multi_subkey`, as examples.

An example holds about 8 % more dictionaries than its length shows. Their numbers are fixed, for
answers name them: the last ones are to be left out. The gold one is among those that are shown by
the leanest tokenizer of the room; under one that needs more tokens, the end of the list may be the
gold dictionary after a gap in the numbers.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from needlework.examples import Example
from needlework.synthesis.key_value import wording
from needlework.synthesis.key_value.drawing import (
    check_digits,
    integer,
    integer_above,
    subkeys_around,
)
from needlework.synthesis.key_value.filling import LookUp, look_up_example

if TYPE_CHECKING:
    from needlework.rendering.room import Room

_TRIES = 1000
# Shares of the rows, and the part of the dictionaries, that Xiong et al. favour.
_FIRST_ROWS = 0.05
_EARLY_ROWS = 0.03
_EARLY_DEPTH = 0.05


def kv_simple(
    name: str,
    room: Room,
    rng: random.Random,
    *,
    template: bool,
    depth: float | None = None,
    pairs: tuple[int, int] = (3, 4),
    digits: tuple[int, int] = (3, 4),
) -> Example:
    """A look-up of one integer by another: the simple task of Xiong et al., at any length.

    Gold key and gold value occur once. Beyond the released generator, the gold value is neither a
    key nor the number of a dictionary.

    Args:
        name: the example's id.
        room: the length to fill.
        rng: draws everything.
        template: whether the question shows the form of the answer.
        depth: of the gold dictionary among those shown: 0 first, 1 last, None uniform.
        pairs: least and largest number of pairs of a dictionary; the gold one has the least.
        digits: least and largest number of digits of keys and values, each as likely.

    Raises:
        ValueError: an option is out of range, or so many dictionaries take more digits.
    """
    check_digits(digits=digits)

    def begin(above: int) -> LookUp:
        value = integer_above(rng, digits, above)
        key = value
        while key == value:
            key = integer(rng, digits)

        def other() -> tuple[wording.Key, int]:
            while True:
                pair = integer(rng, digits), integer(rng, digits)
                if pair[0] != key and value not in pair:
                    return pair

        return LookUp(
            key, value, other, wording.simple_question(key, template=template),
            wording.simple_question(key, template=True),
            lambda number: wording.simple_answer(key, value, number),
        )  # fmt: skip

    variant = "kv_simple_template" if template else "kv_simple"
    return look_up_example(name, variant, begin, room, rng, depth=depth, pairs=pairs)


def kv_multi_subkey(
    name: str,
    room: Room,
    rng: random.Random,
    *,
    template: bool,
    depth: float | None = None,
    pairs: tuple[int, int] = (3, 4),
    gold_key_size: int = 3,
    key_sizes: tuple[int, int] = (3, 3),
    common_subkeys: int = 2,
    share: float = 0.5,
    share_each: float = 0.5,
    subkey_digits: tuple[int, int] = (3, 3),
    value_digits: tuple[int, int] = (4, 4),
) -> Example:
    """A look-up by integers that stand in one key in any order: the multi-subkey task.

    No other key holds all gold subkeys, in whatever order and with whatever besides. The gold
    value occurs once, and is neither a subkey nor the number of a dictionary. The digits are the
    released builder's defaults; sizes, common subkeys and shares were not published: ours.

    Args:
        name: the example's id.
        room: the length to fill.
        rng: draws everything.
        template: whether the question shows the form of the answer (wording ours).
        depth: of the gold dictionary among those shown: 0 first, 1 last, None uniform.
        pairs: least and largest number of pairs of a dictionary; the gold one has the least.
        gold_key_size: subkeys of the gold key, all different.
        key_sizes: least and largest number of subkeys of the other keys.
        common_subkeys: so many gold subkeys are shared with other keys on purpose.
        share: the probability that another key shares any of them.
        share_each: the probability that it then shares a certain one.
        subkey_digits: least and largest number of digits of a subkey.
        value_digits: least and largest number of digits of a value.

    Raises:
        ValueError: an option is out of range, or nothing is left to draw.
    """
    check_digits(subkey_digits=subkey_digits, value_digits=value_digits)
    _check_sizes(gold_key_size, key_sizes, common_subkeys, subkey_digits)

    def begin(above: int) -> LookUp:
        value = integer_above(rng, value_digits, above)
        gold: list[int] = []
        while len(gold) < gold_key_size:
            subkey = integer(rng, subkey_digits)
            if subkey != value and subkey not in gold:
                gold.append(subkey)
        key, asked = tuple(gold), rng.sample(gold, gold_key_size)
        common = rng.sample(gold, common_subkeys)

        def other() -> tuple[wording.Key, int]:
            for _ in range(_TRIES):
                shares = rng.random() < share
                shared = [s for s in common if shares and rng.random() < share_each]
                drawn = subkeys_around(shared, rng.randint(*key_sizes), rng, subkey_digits)
                its_value = integer(rng, value_digits)
                if not set(gold) <= set(drawn) and value not in (*drawn, its_value):
                    return drawn, its_value
            raise ValueError(
                f"{_TRIES} draws of a key all held the gold subkeys {gold} or the gold value "
                f"{value}; raise subkey_digits or lower key_sizes"
            )

        return LookUp(
            key, value, other, wording.subkeys_question(asked, template=template),
            wording.subkeys_question(asked, template=True),
            lambda number: wording.subkeys_answer(asked, key, value, number),
        )  # fmt: skip

    variant = "kv_multi_subkey_template" if template else "kv_multi_subkey"
    return look_up_example(name, variant, begin, room, rng, depth=depth, pairs=pairs)


def _check_sizes(
    gold_key_size: int, key_sizes: tuple[int, int], common: int, digits: tuple[int, int]
) -> None:
    if key_sizes[0] > key_sizes[1] or not 0 <= common < min(gold_key_size, key_sizes[0]):
        raise ValueError(
            f"gold_key_size is {gold_key_size}, key_sizes {key_sizes}, common_subkeys {common}; "
            "expected the least size first, and all sizes larger than common_subkeys"
        )
    numbers = 10 ** digits[1] - 10 ** (digits[0] - 1)
    if numbers <= gold_key_size:  # one may be the gold value
        raise ValueError(
            f"gold_key_size is {gold_key_size}, but there are {numbers} integers of so many "
            "digits; raise subkey_digits"
        )


def parity_depths(rows: int, rng: random.Random) -> list[float | None]:
    """The `depth` of each of `rows` examples as Xiong et al. favour the beginning.

    5 % of the rows have the gold dictionary first, and a further 3 % among the first 5 % of the
    dictionaries (which the released generator takes from the number of rows); the rest is uniform.
    """
    depths: list[float | None] = [None] * rows
    firsts = int(rows * _FIRST_ROWS)
    for order, row in enumerate(rng.sample(range(rows), firsts + int(rows * _EARLY_ROWS))):
        depths[row] = 0.0 if order < firsts else rng.uniform(0, _EARLY_DEPTH)
    return depths
