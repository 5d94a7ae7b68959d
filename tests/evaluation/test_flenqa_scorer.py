"""The published scorer's verdicts, defects and all, and the repaired one beside it."""

from __future__ import annotations

import random
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.evaluation.flenqa_scorer import (
    accuracy,
    accuracy_published,
    coverage,
    early_response,
    published_coverage,
    published_verdict,
    verdict,
)

# --- The reference: the published steps, on their own ------------------------------------------


def _normalised(text: str) -> str:
    text = text.lower()
    joined = list(string.punctuation)
    random.Random(0).shuffle(joined)  # the original joins a set, in any order
    text = text.replace("".join(joined), "")
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def _category(text: str) -> str:
    text = _normalised(_normalised(text)).replace("not true", "false")  # it normalises twice
    true, false = text.rfind("true"), text.rfind("false")
    if true > false:
        return "true"
    return "false" if false > true else "other/refused"


_words = st.lists(
    st.sampled_from(
        ["true", "True.", "FALSE", "untrue", "not", "the", "a", "isn't", "false,", "x", "'true'",
         "\n", "because", "nottrue", "an"]
    )
).map(" ".join)  # fmt: skip


@given(_words | st.text(max_size=20), st.sampled_from(["True", "False"]))
def test_the_published_scorer_is_reproduced(text: str, label: str) -> None:
    category = _category(text)
    assert published_verdict(text) == category
    assert accuracy_published(text, [label]) == float(category in label.lower())
    assert early_response(text) == (category in _normalised(text)[:10])


@given(_words, st.lists(_words, max_size=3) | _words)
def test_the_published_coverage_is_reproduced(text: str, quoted: list[str] | str) -> None:
    expected = sum(_normalised(fact) in _normalised(text) for fact in quoted)
    assert published_coverage(text, quoted) == expected


# --- By hand: (text, published, repaired) ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "published", "repaired"),
    [
        ("True", "true", "true"),
        ("False.", "false", "false"),
        ("**True**", "true", "true"),
        ("It is not true.", "false", "false"),
        ("It is not the truth, so false", "false", "false"),
        ("First true, then false", "false", "false"),
        ("First false, then true", "true", "true"),
        ("I cannot say.", "other/refused", "other/refused"),
        ("", "other/refused", "other/refused"),
        # (a) Punctuation is not stripped.
        ("It is not 'true'.", "true", "false"),
        ("not, true", "true", "false"),
        # (c) Words have no bounds, and "not false" is not read.
        ("That is untrue.", "true", "false"),
        ("That is not untrue.", "true", "true"),
        ("That is not false.", "false", "true"),
        ("It isn’t true.", "true", "false"),
        ("the truest answer", "true", "other/refused"),
        ("falsehoods", "false", "other/refused"),
        ("nottrue", "true", "other/refused"),
    ],
)
def test_verdicts(text: str, published: str, repaired: str) -> None:
    assert published_verdict(text) == published
    assert verdict(text) == repaired


def test_both_accuracies() -> None:
    assert (accuracy("That is untrue.", ["False"]), accuracy("untrue", ["True"])) == (1, 0)
    assert accuracy_published("That is untrue.", ["False"]) == 0
    assert accuracy_published("That is untrue.", ["True"]) == 1
    for label in ("True", "False"):  # no verdict is wrong
        assert accuracy("I cannot say.", [label]) == accuracy_published("No idea.", [label]) == 0


def test_b_correctness_is_containment_in_the_label_as_text() -> None:
    assert accuracy_published("false", ["False, as it were"]) == 1
    assert accuracy("false", ["False, as it were"]) == 0
    with pytest.raises(AttributeError):  # a boolean label has no lower case
        accuracy_published("false", [False])  # type: ignore[list-item]


_CHAIN = "Step 1. Ann's room is blue!  The blue room has a lamp, so: true"
_FACTS = ["Ann's room is blue.", "The blue room has a lamp."]


def test_coverage_counts_the_facts_that_are_quoted() -> None:
    assert coverage(_CHAIN, _FACTS) == 2
    assert coverage(_CHAIN, [*_FACTS, "The lamp is red."]) == 2
    assert coverage(_CHAIN, ["The blue room has a lam"]) == 0  # whole words
    assert coverage("", _FACTS) == 0
    # Full stops are not stripped, so a fact before another mark is missed.
    assert published_coverage(_CHAIN, _FACTS) == 0
    assert published_coverage("Ann's room is blue. So.", _FACTS) == 1


def test_d_of_one_string_the_published_coverage_counts_characters() -> None:
    statement = "Dave is big."
    assert published_coverage(statement, statement) == len(statement)
    assert published_coverage(statement, [statement]) == 1
    with pytest.raises(TypeError, match=r"'Dave is big\.'; give a list"):
        coverage(statement, statement)


@pytest.mark.parametrize(
    ("text", "early"),
    [
        ("True, because the room is blue.", True),
        ("The true", True),  # the article does not count
        ("Answer: true", False),
        ("Let us see. It is false", False),
        ("False at first sight, but true", False),  # early is the verdict, not its opposite
        ("No idea.", False),
    ],
)
def test_early_responses(text: str, early: bool) -> None:
    assert early_response(text) is early
