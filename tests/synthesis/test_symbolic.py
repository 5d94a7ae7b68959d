"""Dictionaries that Python can read, and a question that has one answer in them."""

from __future__ import annotations

import ast
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework import models
from needlework.corpora.factbook import Corpus
from needlework.examples import Example
from needlework.synthesis.concepts import facts_of
from needlework.synthesis.symbolic import symbolic
from needlework.text import contains_answer

_QUESTION = re.compile(r"What is the value of the key '([A-Z]{4})' in the dictionary ([A-Z]{4})\?")
_ENTRY = len("'UQCA': 'SXVI', ")


def _made(example: Example, seed: int = 0) -> Example:
    return symbolic(example, seed, random.Random(seed))


def _dictionary(text: str) -> tuple[str, dict[str, str]]:
    name, body = text.split(" ", 1)
    return name, ast.literal_eval(body)


def _dictionaries(example: Example) -> dict[str, dict[str, str]]:
    """The dictionaries of an example by name, read by Python itself."""
    dictionaries = dict(_dictionary(document.text) for document in example.documents)
    assert len(dictionaries) == len(example.documents)
    return dictionaries


@settings(deadline=None)
@given(seed=st.integers(0, 2**63), number=st.integers(0, 12))
def test_the_look_up_gives_the_answer_and_no_other(corpus: Corpus, seed: int, number: int) -> None:
    made = _made(corpus.train[number], seed)
    match = _QUESTION.fullmatch(made.question)
    assert match
    key, name = match.groups()
    dictionaries = _dictionaries(made)
    assert [dictionaries[name][key]] == made.answers
    assert sum(key in dictionary for dictionary in dictionaries.values()) == 1
    (needle,) = made.needles
    (gold,) = (document for document in made.documents if document.gold)
    assert gold.id == needle.document
    assert gold.text.startswith(f"{name} {{")
    assert gold.text[: needle.start].endswith(f"'{key}': '")
    assert made.needle_text(needle) == made.answers[0]


def test_names_keys_and_values_are_four_capitals_and_all_different(corpus: Corpus) -> None:
    for example in corpus.train:
        dictionaries = _dictionaries(_made(example))
        names = [*dictionaries]
        for dictionary in dictionaries.values():
            names += [*dictionary.keys(), *dictionary.values()]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Z]{4}", name) for name in names)


def test_documents_keep_place_and_number_and_half_their_characters(corpus: Corpus) -> None:
    for example in [*corpus.train, *corpus.test]:
        made = _made(example)
        assert [d.id for d in made.documents] == [d.id for d in example.documents]
        assert [d.gold for d in made.documents] == [d.gold for d in example.documents]
        for document, real in zip(made.documents, example.documents, strict=True):
            size = len(document.text) - len("ABCD {}") + len(", ")
            assert size == _ENTRY * len(_dictionary(document.text)[1])
            assert size == 2 * _ENTRY or len(real.text) / 2 - _ENTRY < size <= len(real.text) / 2


@pytest.mark.slow
def test_contexts_have_about_as_many_tokens_as_real_ones(corpus: Corpus) -> None:
    from transformers import AutoTokenizer

    gguf = models.bundled_gguf()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)

    def tokens(examples: list[Example]) -> int:
        texts = [f"{d.title} {d.text}" for example in examples for d in example.documents]
        return sum(len(ids) for ids in tokenizer(texts)["input_ids"])

    examples = [*corpus.train, *corpus.validation, *corpus.test]
    assert 0.7 < tokens([_made(example) for example in examples]) / tokens(examples) < 1.4


def test_nothing_real_is_left(corpus: Corpus) -> None:
    for example in corpus.train:
        made = _made(example)
        (fact,) = facts_of(example)
        shown = [made.question, *(f"{d.title} {d.text}" for d in made.documents), *made.answers]
        for real in [fact.subject, *example.answers]:
            assert not any(contains_answer(text, real) for text in shown)
        assert {document.title for document in made.documents} == {""}


def test_what_an_example_is_from_is_kept(corpus: Corpus) -> None:
    real = corpus.train[2]
    made = _made(real, 5)
    assert (made.id, made.task, made.cluster) == (real.id, real.task, real.cluster)
    assert made.variant == "symbolic"
    assert made.source == {"from": real.id, "seed": 5}


def test_every_entry_of_the_gold_dictionary_may_be_asked_for(corpus: Corpus) -> None:
    example = max(corpus.train, key=lambda e: sum(len(d.text) for d in e.documents if d.gold))
    depths = set()
    for seed in range(300):
        made = _made(example, seed)
        match = _QUESTION.fullmatch(made.question)
        assert match
        keys = list(_dictionaries(made)[match[2]])
        depths.add(keys.index(match[1]))
    assert depths == set(range(len(keys)))


def test_two_hops_have_no_symbolic_form_yet(corpus: Corpus) -> None:
    real = corpus.train[0]
    bridge = real.needles[0].model_copy(update={"role": "bridge", "hop": 1})
    for needles in ([bridge, real.needles[0]], [bridge], []):
        two = real.model_copy(update={"needles": needles})
        with pytest.raises(
            ValueError, match=rf"{real.id}: symbolic examples are made from one-hop"
        ):
            _made(two)
