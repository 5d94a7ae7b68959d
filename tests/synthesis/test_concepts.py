"""Facts from real examples, their templates, invented names, and what the generator is asked."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from needlework.corpora.factbook import Corpus
from needlework.examples import Example
from needlework.synthesis.concepts import Fact, facts_of, invented_name, rewrite_prompt

_FACT = Fact(
    hop=1,
    relation="capital",
    subject="Peru",
    answer="Lima",
    question="What is the capital of {subject}?",
    statement="The capital of {subject} is {answer}.",
)


def test_real_examples_carry_the_fact_that_they_ask(corpus: Corpus) -> None:
    for example in [*corpus.train, *corpus.validation, *corpus.test]:
        (fact,) = facts_of(example)
        assert fact.ask(fact.subject) == example.question
        assert fact.answer == example.answers[0]
        assert fact.relation == example.needles[0].relation
        assert fact.subject in fact.state()
        assert fact.answer in fact.state()


def _carrying(example: Example, *facts: dict[str, object]) -> Example:
    return example.model_copy(update={"source": {"facts": list(facts)}})


def test_facts_are_in_the_order_of_hops(corpus: Corpus) -> None:
    rows = [_FACT.model_dump() | {"hop": hop} for hop in (3, 1, 2)]
    assert [fact.hop for fact in facts_of(_carrying(corpus.train[0], *rows))] == [1, 2, 3]


def test_an_example_without_facts_is_named(corpus: Corpus) -> None:
    example = corpus.train[0].model_copy(update={"source": {}})
    with pytest.raises(ValueError, match=rf"{example.id} has no source\['facts'\]"):
        facts_of(example)


@pytest.mark.parametrize("change", [{"statement": None}, {"tone": "dry"}])
def test_a_fact_with_a_wrong_or_unknown_key_is_refused(
    corpus: Corpus, change: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        facts_of(_carrying(corpus.train[0], _FACT.model_dump() | change))


def test_a_template_takes_other_names_and_even_none() -> None:
    assert _FACT.state() == "The capital of Peru is Lima."
    assert _FACT.state("ABCD", "EFGH") == "The capital of ABCD is EFGH."
    assert _FACT.state(answer="EFGH") == "The capital of Peru is EFGH."
    assert _FACT.state("", "") == "The capital of  is ."
    assert _FACT.ask("ABCD") == "What is the capital of ABCD?"


@settings(deadline=None)
@given(st.integers(0, 2**64), st.integers(1, 50))
def test_names_are_four_capitals_and_none_comes_twice(seed: int, count: int) -> None:
    taken: set[str] = set()
    rng = random.Random(seed)
    names = [invented_name(rng, taken) for _ in range(count)]
    assert all(re.fullmatch(r"[A-Z]{4}", name) for name in names)
    assert len(set(names)) == count
    assert taken == set(names)
    again = random.Random(seed)
    assert names == [invented_name(again, set(names[:i])) for i in range(count)]


def test_a_name_that_is_taken_is_not_given() -> None:
    first = invented_name(random.Random(1), set())
    taken = {first}
    assert invented_name(random.Random(1), taken) != first
    assert len(taken) == 2


def test_the_prompt_states_the_fact_and_asks_for_answer_and_subject_first_in_turn() -> None:
    prompts = [rewrite_prompt(_FACT, attempt) for attempt in range(4)]
    assert all(prompt.endswith(f":\n{_FACT.state()}") for prompt in prompts)
    assert ['"Lima"' in prompt for prompt in prompts] == [True, False, True, False]
    assert ['"Peru"' in prompt for prompt in prompts] == [False, True, False, True]
