"""Invented names: no word of a vocabulary, a country or a text, and none twice."""

from __future__ import annotations

import random
import re
import string
from functools import cache
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from needlework.synthesis.names import COUNTRIES, invented, possible_names
from tests.synthesis.by_hand import word_tokenizer

_WORDS = ["QUIZ", "jazz", "▁Onyx", "▁fjord", "▁waXY", "Žiga", "QU1Z", "vex"]


@cache
def _sentencepiece() -> Any:
    """A tokenizer that marks a space by "▁", as SentencePiece does."""
    words = {word: number for number, word in enumerate(["<unk>", *_WORDS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@cache
def _all_names() -> list[str]:
    return possible_names([_sentencepiece(), word_tokenizer()])


def test_names_are_all_of_four_capitals_but_words_and_countries(tokenizer: Any) -> None:
    words = {"QUIZ", "JAZZ", "ONYX", "WAXY"}
    names = possible_names([tokenizer, _sentencepiece()])
    assert len(names) == len(set(names)) == 26**4 - len(words | COUNTRIES)
    assert all(re.fullmatch("[A-Z]{4}", name) for name in names)
    assert not (words | COUNTRIES) & set(names)
    assert {"CHAD", "PERU", "IRAN"} <= COUNTRIES
    assert len(possible_names([])) == 26**4 - len(COUNTRIES)


def test_no_word_of_any_vocabulary_is_a_name_whatever_its_case() -> None:
    names = set(_all_names())
    decoded = {
        tokenizer.decode([number]).strip()
        for tokenizer in (_sentencepiece(), word_tokenizer())
        for number in range(len(tokenizer))
    }
    words = {text.upper() for text in decoded if re.fullmatch("[A-Za-z]{4}", text)}
    assert {"QUIZ", "ONYX"} < words
    assert len(words) > 20  # the second vocabulary has words of its own
    assert not words & names


@given(seed=st.integers(0, 2**64), count=st.integers(1, 300))
def test_names_differ_and_are_the_same_for_the_same_seed(seed: int, count: int) -> None:
    drawn = list(islice(invented(_all_names(), random.Random(seed)), count))
    assert len(set(drawn)) == count
    assert all(re.fullmatch("[A-Z]{4}", name) for name in drawn)
    assert drawn == list(islice(invented(_all_names(), random.Random(seed)), count))


_FEW = [f"{a}{b}{a}{b}" for a in "ABCD" for b in "WXYZ"]
_CASES = st.sampled_from([str.upper, str.lower, str.title, lambda name: f"({name},"])


@given(
    seed=st.integers(0, 2**32),
    taken=st.lists(st.tuples(st.sampled_from(_FEW), _CASES), max_size=10),
    noise=st.text(alphabet=string.punctuation + " \n", min_size=1, max_size=3),
)
def test_every_name_is_given_once_but_those_that_a_text_holds(
    seed: int, taken: list[tuple[str, Any]], noise: str
) -> None:
    texts = [noise.join(case(name) for name, case in taken), "of a few letters"]
    names = invented(_FEW, random.Random(seed), texts)
    given_names = list(islice(names, len(_FEW) - len({name for name, _ in taken})))
    assert set(given_names) == set(_FEW) - {name for name, _ in taken}
    with pytest.raises(ValueError, match="all 16 names are used up; shorten the context"):
        next(names)


def test_a_part_of_a_word_takes_no_name() -> None:
    assert set(islice(invented(_FEW, random.Random(1), ["AWAWS", "xBWBW"]), 16)) == set(_FEW)
