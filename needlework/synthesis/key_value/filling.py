"""A look-up among as many dictionaries as fill a length, as an `Example`."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from needlework.examples import Document, Example, Needle
from needlework.synthesis.key_value.unique import check_unique
from needlework.synthesis.key_value.wording import INSTRUCTION, Key, title

if TYPE_CHECKING:
    from needlework.rendering.room import Room

_Pairs = dict[Key, int]

# Dictionaries for so many times the length are made: what is too much is cut off at the end.
_SURPLUS = 1.08
# Tokens that a chat template may put around the message.
_CHAT_TEMPLATE = 40
# So many dictionaries are measured first, to tell how many are needed.
_PROBE = 8


class LookUp(NamedTuple):
    """What is asked for, and what else may stand in the dictionaries.

    `other` draws a pair that does not answer the question and does not hold the gold value;
    `longest` is the question with the template: room is left for it in any case, so that with and
    without it the same dictionaries are shown. `answer` gives the sentence by the number of the
    gold dictionary, from 1.
    """

    key: Key
    value: int
    other: Callable[[], tuple[Key, int]]
    question: str
    longest: str
    answer: Callable[[int], str]


def look_up_example(
    name: str,
    variant: str,
    begin: Callable[[int], LookUp],
    room: Room,
    rng: random.Random,
    *,
    depth: float | None,
    pairs: tuple[int, int],
) -> Example:
    """The example of a look-up, its dictionaries in the order and by the numbers they are shown.

    Args:
        name: the example's id.
        variant: the example's variant.
        begin: draws a look-up whose gold value is above the number that it is given.
        room: the length; its leanest tokenizer decides how many dictionaries are made.
        rng: draws pairs and places.
        depth: of the gold dictionary: 0 is first, 1 last among those shown, None uniform.
        pairs: the least and the largest number of pairs of a dictionary; the gold one has the
            least. A key drawn twice for one dictionary leaves it a pair shorter, as in the
            released generator.

    Raises:
        ValueError: the pairs are out of range, the value cannot be unique, or not even the gold
            dictionary fits into the length.
    """
    if not 1 <= pairs[0] <= pairs[1]:
        raise ValueError(f"pairs is {pairs}; expected the least and the largest number, from 1")
    above = 0
    while True:
        look_up = begin(above)
        # A dictionary's number stands in its title: a value no larger would be in a distractor.
        limit = look_up.value - 1
        others, sizes, number = _others(look_up, room, rng, pairs, limit)
        if number < limit:
            break
        above = number + 1
    gold = _gold(look_up, rng, pairs[0])
    shown = _shown(look_up, room, gold, sizes)
    place = rng.randrange(shown) if depth is None else round(depth * (shown - 1))
    dictionaries = [*others[:place], gold, *others[place:]]
    check_unique(dictionaries, look_up.key, look_up.value)
    return _record(name, variant, look_up, dictionaries, place, shown)


def _others(
    look_up: LookUp, room: Room, rng: random.Random, pairs: tuple[int, int], limit: int
) -> tuple[list[_Pairs], list[int], int]:
    """Dictionaries that take the length and the surplus, the tokens of each, and their number.

    As soon as they are foreseen to be `limit` or more, the drawing ends with the number foreseen.
    """
    drawn: list[_Pairs] = []
    sizes: list[int] = []
    wanted = _SURPLUS * room.length
    missing = _PROBE
    while missing > 0 and len(drawn) + missing < limit:
        for _ in range(missing):
            drawn.append(dict(look_up.other() for _ in range(rng.randint(*pairs))))
        blocks = [_block(i + 1, drawn[i], gold=False) for i in range(len(sizes), len(drawn))]
        room.measure(blocks)
        sizes += map(room.size, blocks)
        missing = math.ceil((wanted - sum(sizes)) * len(sizes) / sum(sizes))
    if missing > 0:
        return drawn, sizes, len(drawn) + missing
    enough = 1 + bisect_left(list(accumulate(sizes)), wanted)
    return drawn[:enough], sizes[:enough], enough


def _gold(look_up: LookUp, rng: random.Random, size: int) -> _Pairs:
    place = rng.randrange(size)
    gold: _Pairs = {}
    while len(gold) < size:
        at_place = len(gold) == place
        key, value = (look_up.key, look_up.value) if at_place else look_up.other()
        gold[key] = value
    return gold


def _shown(look_up: LookUp, room: Room, gold: _Pairs, sizes: list[int]) -> int:
    """How many dictionaries, the gold one among them, surely fit into the length."""
    last = len(sizes) + 1
    asked = f"{look_up.longest}\n{look_up.answer(last)}"
    frame = Document(id="frame", title=INSTRUCTION, text=asked, gold=False)
    left = room.length - room.size(frame) - room.size(_block(last, gold, gold=True))
    if left < 0:
        raise ValueError(
            f"question, answer and gold dictionary take {room.length - left} tokens, more than "
            f"the length of {room.length}; choose a larger one or fewer pairs"
        )
    return 1 + bisect_right(list(accumulate(sizes)), left - _CHAT_TEMPLATE)


def _block(number: int, pairs: _Pairs, *, gold: bool) -> Document:
    return Document(
        id=f"dictionary-{number}", title=title(number), text=str(pairs), gold=gold, unit="entry"
    )


def _record(
    name: str,
    variant: str,
    look_up: LookUp,
    dictionaries: list[_Pairs],
    place: int,
    shown: int,
) -> Example:
    documents = [_block(i + 1, pairs, gold=i == place) for i, pairs in enumerate(dictionaries)]
    gold = dictionaries[place]
    index = list(gold).index(look_up.key)
    # A value ends where the braces of its dictionary, cut off after it, would close.
    end = len(str(dict(list(gold.items())[: index + 1]))) - len("}")
    value = str(look_up.value)
    needle = Needle(
        document=documents[place].id, start=end - len(value), end=end, role="answer",
        relation="look-up",
    )  # fmt: skip
    source: dict[str, Any] = {
        "gold_dictionary": place + 1,
        "gold_pair": index + 1,
        "dictionaries_shown": shown,
    }
    return Example(
        id=name,
        task="key_value",
        variant=variant,
        question=look_up.question,
        answers=[look_up.answer(place + 1), value],
        documents=documents,
        needles=[needle],
        cluster=name,
        source=source,
        style="dictionaries",
    )
