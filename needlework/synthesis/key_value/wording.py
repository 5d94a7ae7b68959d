"""What the key-value tasks say: instruction, question and answer, to the letter.

The simple task is worded as released by Xiong et al. (arXiv 2406.19292). The wording of the
multi-subkey task was not released: it is ours, after their figure 2, and so is its template.
"""

from __future__ import annotations

from collections.abc import Sequence

Key = int | tuple[int, ...]

INSTRUCTION = "Do a task using the list of dictionaries below."

_TEMPLATE = " Answer in the following template:\n"


def title(number: int) -> str:
    """How a dictionary is named where it stands; answers name it so too."""
    return f"Dictionary [{number}]"


def simple_question(key: int, *, template: bool) -> str:
    """The question after the dictionaries; with `template`, it shows the form of the answer."""
    form = (
        f"{_TEMPLATE}The value of key {key} is <fill-in-value> and it is in "
        "Dictionary [<fill-in-dictionary-name>]."
    )
    return (
        "Above is a list of dictionaries such that each key and value is an integer. Report the "
        f"value of key {key} and the dictionary it is in.{form if template else ''}"
    )


def simple_answer(key: int, value: int, number: int) -> str:
    """The answer, the same with and without template; `number` is the gold dictionary's, from 1."""
    return f"The value of key {key} is {value} and it is in {title(number)}."


def subkeys_question(subkeys: Sequence[int], *, template: bool) -> str:
    """The question for the key that holds all `subkeys`, which it lists in the order given."""
    listed = ", ".join(map(str, subkeys))
    form = (
        f"{_TEMPLATE}The key that contains the integers {listed} is <fill-in-key>. Its value is "
        "<fill-in-value> and it is in Dictionary [<fill-in-dictionary-name>]."
    )
    return (
        "Above is a list of dictionaries such that each key is a tuple of integers and each value "
        f"is an integer. Report the key that contains the integers {listed} (not necessarily in "
        f"order), its value, and the dictionary it is in.{form if template else ''}"
    )


def subkeys_answer(subkeys: Sequence[int], key: tuple[int, ...], value: int, number: int) -> str:
    """The answer, with the subkeys as the question lists them and the key as it stands."""
    listed = ", ".join(map(str, subkeys))
    return (
        f"The key that contains the integers {listed} is {key}. Its value is {value} and it is in "
        f"{title(number)}."
    )
