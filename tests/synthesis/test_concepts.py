"""What needles state: one name for an entity wherever it stands, the words of a question kept."""

from __future__ import annotations

import random
import re
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.corpora.corpus import Corpus
from needlework.examples import Example
from needlework.relations.templates import load_openers
from needlework.synthesis.concepts import Concept, parts_of, renamed, rewritten, stands, templated
from tests.synthesis import by_hand
from tests.synthesis.by_hand import INSIGHT_TEXT, SHAPES, all_shapes

NAMES = ["".join(letters) for letters in product("BFKQXZ", repeat=4)]


def _templated(example: Example, seed: int = 0, context: str = "") -> Concept:
    concept = templated(example, NAMES, random.Random(seed), context)
    assert isinstance(concept, Concept), concept
    return concept


def _changed(example: Example, number: int, **update: object) -> Example:
    facts = [
        f.model_copy(update=update if i == number else {}) for i, f in enumerate(example.facts)
    ]
    return example.model_copy(update={"facts": facts})


def _names(text: str) -> list[str]:
    return re.findall(r"\b[BFKQXZ]{4}\b", text)


def test_every_fact_has_the_needle_of_its_hop_in_the_order_of_hops() -> None:
    for name in ("one", "linear-2", "linear-3", "tree"):
        example = all_shapes()[name]
        backwards = example.model_copy(
            update={"facts": example.facts[::-1], "needles": example.needles[::-1]}
        )
        parts = parts_of(backwards)
        assert [fact for fact, _ in parts] == example.facts
        assert [needle for _, needle in parts] == example.needles


def test_citations_have_a_fact_for_each_document_or_one_for_all() -> None:
    citing = by_hand.citing_facts()
    assert parts_of(citing) == list(zip(citing.facts, citing.needles, strict=True))
    insight = by_hand.citing_insight()
    parts = parts_of(insight)
    assert [fact for fact, _ in parts] == insight.facts * 3
    assert [needle.document for _, needle in parts] == insight.cites
    assert [needle for _, needle in parts][:2] == insight.needles
    assert parts[2][1].role == "insight"  # the corpus found no words of it: it is stated anyway


def test_what_cannot_be_synthesised_is_an_error_that_says_why() -> None:
    one, two = by_hand.one_hop(), by_hand.linear(2)
    with pytest.raises(ValueError, match="one has no facts; the task that made it must say"):
        parts_of(one.model_copy(update={"facts": []}))
    with pytest.raises(ValueError, match="linear-2 has no needle for its hop 1"):
        parts_of(two.model_copy(update={"needles": two.needles[1:]}))
    citing = by_hand.citing_facts()
    with pytest.raises(ValueError, match="citing cites 3 documents and has 2 facts; expected one"):
        parts_of(citing.model_copy(update={"facts": citing.facts[:2]}))


def test_one_hop_over_invented_names() -> None:
    concept = _templated(by_hand.one_hop())
    subject, answer = concept.names["Peru"], concept.names["Lima"]
    assert concept.names.keys() == {"Peru", "Lima"}
    assert subject != answer
    assert concept.question == f"What is the capital of {subject}?"
    assert concept.answers == [answer]
    ((needle, sentence, stated),) = concept.statements
    assert needle == by_hand.one_hop().needles[0]
    assert (sentence, stated) == (f"The capital of {subject} is {answer}.", answer)


@pytest.mark.parametrize("hops", [2, 3])
def test_the_answer_of_a_hop_is_the_subject_of_the_next(hops: int) -> None:
    example = by_hand.linear(hops)
    concept = _templated(example)
    pairs = [_names(statement.sentence) for statement in concept.statements]
    assert all(len(set(pair)) == 2 for pair in pairs)
    for (_, answer), (subject, _) in pairwise(pairs):
        assert answer == subject  # though the facts say "Netherlands" and "the Netherlands"
    assert len({name for pair in pairs for name in pair}) == hops + 1
    assert concept.names["the Netherlands"] == concept.names["Netherlands"]
    assert concept.answers == [pairs[-1][1]] == [concept.statements[-1].answer]
    assert concept.question == example.question.replace("Suriname", pairs[0][0])


def test_an_entity_is_known_by_its_hop_or_by_its_words() -> None:
    example = by_hand.linear(2)
    other_words = _templated(_changed(example, 1, subject="Holland"))
    assert other_words.names["Holland"] == other_words.names["Netherlands"]
    assert other_words.names["Holland"] in other_words.statements[1].sentence
    for subject in ("the Netherlands", "NETHERLANDS"):
        root = _changed(example, 1, subject=subject, subject_hop=None)  # no hop gives it
        asked = root.model_copy(update={"question": "Of Suriname and THE NETHERLANDS, what?"})
        same_words = _templated(asked)
        assert same_words.names[subject] == same_words.names["Netherlands"]


def test_a_tree_joins_the_answers_of_its_roots() -> None:
    concept = _templated(by_hand.tree())
    (acme, founder), (bolt, home), last = (_names(s.sentence) for s in concept.statements)
    assert last[:2] == [founder, home]
    assert len({acme, founder, bolt, home, last[2]}) == 5
    assert concept.question == f"When did the founder of {acme} visit the home of {bolt}?"
    assert concept.answers == [last[2]]
    assert [s.needle.role for s in concept.statements] == ["bridge", "bridge", "answer"]


def test_citations_keep_their_answers_and_state_the_same_value_in_each_document() -> None:
    example = by_hand.citing_facts()
    concept = _templated(example)
    pairs = [_names(statement.sentence) for statement in concept.statements]
    (value,) = {value for _, value in pairs}
    assert len({country for country, _ in pairs}) == 3
    assert concept.question == f"Which documents list {value} among the official languages?"
    assert concept.answers == example.answers
    for statement in concept.statements:  # the whole sentence is what a model must find
        assert statement.answer == statement.sentence


def test_an_insight_is_a_plain_sentence_behind_an_opener() -> None:
    example = by_hand.citing_insight()
    plain = {o.statement.format(insight=INSIGHT_TEXT) for o in load_openers().openers}
    seen = set()
    for seed in range(60):
        concept = _templated(example, seed)
        assert (concept.question, concept.answers) == (example.question, example.answers)
        assert [s.needle.document for s in concept.statements] == ["a", "b", "c"]
        seen |= {s.sentence for s in concept.statements}
        assert all(s.answer == s.sentence for s in concept.statements)
    assert seen == plain


def test_the_question_keeps_its_wording_but_for_the_names() -> None:
    example = by_hand.one_hop().model_copy(
        update={"question": "PERU, peru's peer: is Peruvian Lima-Peru it?"}
    )
    concept = _templated(example)
    name = concept.names["Peru"]
    assert concept.question == f"{name}, {name}'s peer: is Peruvian Lima-{name} it?"


def test_why_there_is_no_concept() -> None:
    rng = random.Random(0)
    bare = _changed(by_hand.linear(2), 1, statement=None)
    assert templated(bare, NAMES, rng, "") == "no template covers a relation"
    unnamed = "its question does not name the subject"
    other = by_hand.one_hop().model_copy(update={"question": "What is the capital of the Incas?"})
    assert templated(other, NAMES, rng, "") == unnamed
    half = by_hand.tree().model_copy(
        update={"question": "When did the founder of Acme visit the home of Boltons?"}
    )
    assert templated(half, NAMES, rng, "") == unnamed


def test_no_name_is_a_word_of_context_question_or_template() -> None:
    example = by_hand.one_hop()
    first, second = NAMES[:2]
    few = [first, second, "ZZZZ", "ZZZX"]
    for update, question, context in [
        ({}, example.question, f"{first.lower()} ({second})"),
        ({}, f"{first.title()}, {second}: what of Peru?", ""),
        ({"statement": f"{first}'s {second} of {{subject}} is {{answer}}."}, example.question, ""),
    ]:
        changed = _changed(example, 0, **update).model_copy(update={"question": question})
        concept = templated(changed, few, random.Random(0), context)
        assert isinstance(concept, Concept)
        assert set(concept.names.values()) == {"ZZZZ", "ZZZX"}


@pytest.mark.parametrize("name", SHAPES)
def test_rewritten_facts_keep_question_and_needles(name: str) -> None:
    example = all_shapes()[name]
    sentences = [f"It is so: {fact.state()}" for fact, _ in parts_of(example)]
    concept = rewritten(example, sentences)
    assert concept.question == example.question
    assert concept.names == {}
    assert [s.sentence for s in concept.statements] == sentences
    assert [s.needle for s in concept.statements] == [needle for _, needle in parts_of(example)]
    answers = sentences if example.cites else [fact.answer for fact in example.facts]
    assert [s.answer for s in concept.statements] == answers
    if example.cites:
        assert concept.answers == example.answers


def test_the_target_of_a_rewrite_is_the_answer_as_its_fact_has_it() -> None:
    example = by_hand.one_hop().model_copy(update={"answers": ["the city of Lima", "Lima", "x"]})
    concept = rewritten(example, ["Lima is the capital."])
    assert concept.answers == ["Lima", "the city of Lima", "x"]
    with pytest.raises(ValueError, match=r"zip\(\)"):
        rewritten(by_hand.linear(2), ["Only one."])


def test_every_real_example_can_be_stated_with_invented_names(corpus: Corpus) -> None:
    for example in [*corpus.train, *corpus.validation, *corpus.test]:
        concept = _templated(example)
        for real in (example.facts[0].subject, example.facts[0].answer):
            assert not stands(real, f"{concept.question} {concept.statements[0].sentence}")


def test_the_longest_name_is_replaced_first_and_never_a_part_of_a_word() -> None:
    names = {"Guinea": "AAAA", "Papua New Guinea": "BBBB", ".pe": "CCCC", "C++": "DDDD"}
    text = "Papua New guinea is not Guinea, nor Guineas; .pe ends it. Xavier.pe uses c++."
    assert renamed(text, names) == (
        "BBBB is not AAAA, nor Guineas; CCCC ends it. Xavier.pe uses DDDD."
    )
    assert renamed(text, {}) == text
    assert renamed("İzmir and IZMIR", {"izmir": "AAAA"}) == "AAAA and AAAA"  # as re folds case


_WORDS = st.text(alphabet="aAbB", min_size=1, max_size=3)


@given(
    st.lists(st.lists(_WORDS, min_size=1, max_size=3).map(" ".join), max_size=4),
    st.lists(_WORDS, max_size=12),
)
def test_renaming_takes_the_longest_entity_at_each_word(
    entities: list[str], words: list[str]
) -> None:
    names = {entity: f"<{entity.lower().replace(' ', '_')}>" for entity in entities}
    expected = []
    left = list(words)
    while left:  # at each word, the entity of the most words that stands there
        found = max(
            (
                e.split() for e in entities
                if [w.lower() for w in left[: len(e.split())]] == e.lower().split()
            ),
            key=lambda e: len(" ".join(e)), default=None,
        )  # fmt: skip
        expected.append(f"<{'_'.join(found).lower()}>" if found else left[0])
        del left[: len(found) if found else 1]
    assert renamed(" ".join(words), names) == " ".join(expected)
    glued = "".join(f"x{word}" for word in words)
    assert renamed(glued, names) == glued
