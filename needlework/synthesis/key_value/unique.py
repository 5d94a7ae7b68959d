"""The check that a look-up has one answer: no second pair has the gold key or the gold value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from needlework.synthesis.key_value.wording import Key


def subkeys(key: Key) -> set[int]:
    """The integers of a key."""
    return set(key) if isinstance(key, tuple) else {key}


def check_unique(dictionaries: Sequence[Mapping[Key, int]], key: Key, value: int) -> None:
    """Check that one pair alone holds all subkeys of `key`, and one alone has `value`.

    Raises:
        ValueError: it is not so; the message says how many pairs there are of each.
    """
    wanted = subkeys(key)
    keys = sum(wanted <= subkeys(other) for pairs in dictionaries for other in pairs)
    values = sum(other == value for pairs in dictionaries for other in pairs.values())
    if (keys, values) != (1, 1):
        raise ValueError(
            f"{keys} keys hold all integers of the gold key {key} and {values} pairs have its "
            f"value {value}; expected 1 of each, or the look-up has no single answer"
        )
