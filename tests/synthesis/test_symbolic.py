"""Dictionaries that Python can read: the look-up, followed step by step, gives the answer."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.corpora.corpus import Corpus
from needlework.examples import Example
from needlework.rendering.room import Room
from needlework.synthesis.symbolic import symbolic
from tests.synthesis import by_hand
from tests.synthesis.by_hand import EXTRACTIVE, SHAPES, all_shapes

NAMES = ["".join(letters) for letters in product("BCDFGHJKLMNPQRSTVWXZ", repeat=4)]
_STEP = re.compile(
    r"(?:value (?P<number>\d) is |What is )?the value of "
    r"(?:the key '(?P<key>[A-Z]{4})'|the key that value (?P<key_from>\d) names) in "
    r"(?:the dictionary (?P<name>[A-Z]{4})|the dictionary that value (?P<name_from>\d) names)"
)
_CITING = re.compile(r"Which dictionaries hold the value '([A-Z]{4})'\?")


@cache
def _room(length: int) -> Room:
    return Room([by_hand.word_tokenizer()], length)


def _made(example: Example, seed: int = 0, length: int = 1500) -> Example:
    return symbolic(example, NAMES, _room(length), seed, random.Random(seed))


def _dictionaries(example: Example) -> list[tuple[str, dict[str, str]]]:
    """As shown, read by Python itself; no key may stand twice in one."""
    read = []
    for document in example.documents:
        name, body = document.text.split(" ", 1)
        entries = ast.literal_eval(body)
        assert len(entries) == body.count(":")
        read.append((name, entries))
    return read


def _followed(example: Example) -> list[str]:
    """The values of a question's steps, each the only one that is found."""
    values: dict[str, str] = {}
    steps = example.question.replace("Value 1", "value 1").split(". What")[0].rstrip("?")
    for number, step in enumerate(steps.split("; "), start=1):
        match = _STEP.fullmatch(step)
        assert match, step
        assert match["number"] in {str(number), None}
        key = match["key"] or values[match["key_from"]]
        name = match["name"] or values[match["name_from"]]
        (entries,) = (entries for called, entries in _dictionaries(example) if called == name)
        values[str(number)] = entries[key]
    if len(values) > 1:
        assert example.question.endswith(f". What is value {len(values)}?")
    return list(values.values())


def _counted(example: Example) -> Counter[str]:
    return Counter(
        text
        for name, entries in _dictionaries(example)
        for text in (name, *entries, *entries.values())
    )


@settings(max_examples=60)
@given(name=st.sampled_from(EXTRACTIVE), seed=st.integers(0, 2**32), length=st.integers(256, 3000))
def test_the_look_up_gives_the_answer_step_by_step(name: str, seed: int, length: int) -> None:
    made = _made(all_shapes()[name], seed, length)
    values = _followed(made)
    assert made.answers == [values[-1]]
    assert [made.needle_text(needle) for needle in made.needles] == values
    assert [n.hop for n in made.needles] == [f.hop for f in all_shapes()[name].facts]
    # A value stands twice where the next step needs it; every other name stands once.
    counted = _counted(made)
    assert {text for text, times in counted.items() if times > 1} == set(values[:-1])
    assert max(counted.values()) <= 2
    assert all(re.fullmatch("[A-Z]{4}", text) for text in counted)


@settings(max_examples=40)
@given(
    name=st.sampled_from(["citing", "insight"]),
    seed=st.integers(0, 2**32),
    length=st.integers(256, 3000),
)
def test_every_dictionary_with_the_value_is_cited_and_no_other(
    name: str, seed: int, length: int
) -> None:
    made = _made(all_shapes()[name], seed, length)
    match = _CITING.fullmatch(made.question)
    assert match
    held = [match[1] in entries.values() for _, entries in _dictionaries(made)]
    assert made.answers == ["".join(f"[{i}]" for i, holds in enumerate(held, 1) if holds)]
    assert held.count(True) == 3
    assert [made.needle_text(needle) for needle in made.needles] == [match[1]] * 3
    assert {needle.document for needle in made.needles} == set(made.cites)
    assert {text: n for text, n in _counted(made).items() if n > 1} == {match[1]: 3}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("length", [256, 1000, 8192])
def test_dictionaries_of_a_few_entries_fill_the_room(name: str, length: int) -> None:
    made = _made(all_shapes()[name], 3, length)
    golds = [document for document in made.documents if document.gold]
    assert len(golds) == len(made.needles)
    assert _room(length).is_full(made.documents)
    # Not much more than it takes, for a surplus is rendered again and again.
    distractors = [document for document in made.documents if not document.gold]
    assert not _room(length).is_full([*golds, *distractors[: int(0.85 * len(distractors)) - 8]])
    assert {(d.unit, d.title) for d in made.documents} == {("entry", "")}
    sizes: dict[bool, set[int]] = {True: set(), False: set()}
    for document, (_, entries) in zip(made.documents, _dictionaries(made), strict=True):
        sizes[document.gold].add(len(entries))
    assert sizes[False] <= set(range(6, 15))
    assert sizes[True] <= set(range(2, 15))
    if length > 256:
        assert sizes[True] <= set(range(6, 15))
        assert sum(map(_room(length).size, golds)) < 0.75 * length


def test_entries_are_drawn_from_six_to_fourteen_and_any_may_be_asked_for() -> None:
    sizes: Counter[int] = Counter()
    places: Counter[float] = Counter()
    for seed in range(60):
        made = _made(by_hand.one_hop(), seed, 2500)
        for document, (_, entries) in zip(made.documents, _dictionaries(made), strict=True):
            if not document.gold:
                sizes[len(entries)] += 1
            else:
                place = list(entries.values()).index(made.answers[0])
                places[round(place / (len(entries) - 1), 1)] += 1
    assert set(sizes) == set(range(6, 15))
    assert {0.0, 1.0} < set(places)
    assert max(places.values()) < 25


def test_gold_dictionaries_stand_as_deep_as_the_real_documents() -> None:
    for name in ("one", "linear-3", "tree", "citing"):
        real = all_shapes()[name]
        made = _made(real, 1, 8000)
        golds = [document.id for document in made.documents if document.gold]
        assert golds == [document.id for document in real.documents if document.gold]
        others = sum(not document.gold for document in made.documents)
        for gold in golds:
            before = [document.id for document in real.documents].index(gold)
            share = sum(not d.gold for d in real.documents[:before]) / 4
            place = [document.id for document in made.documents].index(gold)
            depth = sum(not d.gold for d in made.documents[:place]) / others
            assert abs(depth - share) <= 1 / others


def test_two_hops_of_one_document_have_a_dictionary_each() -> None:
    real = by_hand.linear(2)
    needles = [n.model_copy(update={"document": "hop-of-2"}) for n in real.needles]
    one = real.model_copy(update={"needles": [needles[0].model_copy(update={"start": 0, "end": 4}),
                                              needles[1]]})  # fmt: skip
    seen = set()
    for seed in range(40):
        made = _made(one, seed)
        assert made.answers == [_followed(made)[-1]]
        golds = [document.id for document in made.documents if document.gold]
        assert sorted(golds) == ["hop-1", "hop-2"]
        seen.add(tuple(golds))
    assert len(seen) == 2  # either may come first


def test_what_an_example_is_from_is_kept_and_nothing_else(corpus: Corpus, room: Room) -> None:
    for real in corpus.train[:4]:
        made = symbolic(real, NAMES, room, 5, random.Random(5))
        assert (made.id, made.task, made.cluster) == (real.id, real.task, real.cluster)
        assert (made.variant, made.style) == ("symbolic", real.style)
        assert made.source == {"from": real.id, "seed": 5}
        shown = " ".join([made.question, *(f"{d.title} {d.text}" for d in made.documents)])
        assert real.facts[0].subject not in shown
        assert {needle.relation for needle in made.needles} == {"look-up"}
    citing: Any = _made(by_hand.citing_facts())
    assert (citing.cites, citing.style) == (by_hand.citing_facts().cites, "citation")


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_seed_gives_the_same_example(name: str) -> None:
    example = all_shapes()[name]
    fresh = Room([by_hand.word_tokenizer()], 1500)  # what a room remembers changes nothing
    assert symbolic(example, NAMES, fresh, 7, random.Random(7)) == _made(example, 7)
    assert _made(example, 8) != _made(example, 7)
