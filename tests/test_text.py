"""Normalisation against the rules of the SQuAD 1.1 script, containment and spans by brute force."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.text import contains_answer, normalise_answer, token_span

_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_WORDS = st.sampled_from(["the", "a", "Lima", "lima", "an", "U.S.", "climate", "-", "3 May", "é"])
_TEXTS = st.text() | st.lists(_WORDS).map(" ".join)


def _squad(text: str) -> str:
    """The rules of the script of Rajpurkar et al. (2016), without its regular expressions."""
    kept = "".join(symbol for symbol in text.lower() if symbol not in _PUNCTUATION)
    runs = ["".join(run) for _, run in groupby(kept, key=str.isalnum)]
    return " ".join("".join(" " if run in ("a", "an", "the") else run for run in runs).split())


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Eiffel Tower!", "eiffel tower"),
        ("Denver Broncos", "denver broncos"),
        ("Santa Clara, California", "santa clara california"),
        ("U.S.A.", "usa"),
        ("twenty-one", "twentyone"),  # punctuation goes and leaves no space behind
        ("  an\tapple\n a  day ", "apple day"),
        ("Theatre Anna", "theatre anna"),  # articles are whole words
        ("“The Hague”", "“ hague”"),  # only ASCII punctuation goes
        ("1,285,216 sq km", "1285216 sq km"),
        ("a", ""),
        ("", ""),
    ],
)
def test_normalisation_of_known_answers(text: str, normal: str) -> None:
    assert normalise_answer(text) == normal
    assert _squad(text) == normal


@settings(deadline=None)
@given(_TEXTS)
def test_normalisation_follows_the_rules_of_squad(text: str) -> None:
    assert normalise_answer(text) == _squad(text)


@settings(deadline=None)
@given(_TEXTS)
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


@pytest.mark.parametrize(
    ("text", "answer", "contained"),
    [
        ("The capital is Lima.", "Lima", True),
        ("The climate is mild.", "Lima", False),
        ("Lima", "Lima", True),
        ("He was born in the city of New York", "New York City", False),
        ("the NEW, York times", "New York", True),
        ("12,345,678 people", "12,345", False),
        ("12345 people", "12,345", True),
        ("anything", "the", False),
        ("", "", False),
        ("?!", "...", False),
    ],
)
def test_whole_words_are_contained(text: str, answer: str, contained: bool) -> None:
    assert contains_answer(text, answer) is contained


@settings(deadline=None)
@given(_TEXTS, _TEXTS)
def test_an_answer_is_contained_where_its_words_stand_in_a_row(text: str, answer: str) -> None:
    words, wanted = _squad(text).split(), _squad(answer).split()
    windows = [words[i : i + len(wanted)] for i in range(len(words))]
    assert contains_answer(text, answer) == (bool(wanted) and wanted in windows)


@st.composite
def _offsets(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Tokens as tokenizers give them: with gaps, without width, several to a character."""
    tokens: list[tuple[int, int]] = []
    place = 0
    for step in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=12)):
        gap, width = step
        place += gap
        tokens += [(place, place + width)] * draw(st.integers(1, 2) if width == 1 else st.just(1))
        place += width
    return tokens


@settings(deadline=None)
@given(_offsets(), st.integers(0, 40), st.integers(1, 12))
def test_a_span_has_the_tokens_of_its_characters(
    offsets: list[tuple[int, int]], start: int, width: int
) -> None:
    wanted = set(range(start, start + width))
    inside = [i for i, (a, b) in enumerate(offsets) if wanted & set(range(a, b))]
    if inside:
        assert token_span(offsets, start, start + width) == (min(inside), max(inside) + 1)
    else:
        with pytest.raises(ValueError, match=f"no token overlaps the characters {start}:"):
            token_span(offsets, start, start + width)


@pytest.mark.parametrize(("offsets", "end"), [([(0, 3), (3, 9)], 9), ([], 0)])
def test_characters_without_a_token_are_an_error(offsets: list[tuple[int, int]], end: int) -> None:
    reason = f"20:24; the {len(offsets)} tokens end at character {end}. Were the offsets computed"
    with pytest.raises(ValueError, match=reason):
        token_span(offsets, 20, 24)
