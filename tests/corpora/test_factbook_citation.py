"""Citations over the Factbook: every cited document states the value, no other mentions it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_citation import capacity, factbook_citation, mentions, stated
from needlework.corpora.factbook_relations import load_relations
from needlework.corpora.factbook_sections import Section, names, section, splits
from needlework.examples import Document, Example, citation, read_examples
from needlework.rendering.room import Room
from needlework.text import contains_answer

SEED = 7
ATTRIBUTES = {attribute.name: attribute for attribute in load_relations().attributes}


@pytest.fixture(scope="module")
def room() -> Room:
    """A room of 1,500 words."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return Room([PreTrainedTokenizerFast(tokenizer_object=tokenizer)], 1500)


@pytest.fixture(scope="module")
def corpus(room: Room) -> Corpus:
    return factbook_citation(train=240, validation=60, test=120, room=room, seed=SEED)


@pytest.fixture(scope="module")
def examples(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def section_of(document: Document) -> Section:
    code, key = document.id.split("/", 1)
    found = section(code, key)
    assert found is not None
    return found


def test_the_answer_cites_every_gold_document(examples: list[Example]) -> None:
    for example in examples:
        golds = [document.id for document in example.documents if document.gold]
        assert example.cites == golds
        assert 1 <= len(golds) <= 4
        assert example.answers == [citation(example.documents, golds)]
        numbers = [i for i, d in enumerate(example.documents, start=1) if d.gold]
        assert example.answers[0] == "".join(f"[{number}]" for number in numbers)


def test_every_gold_document_states_the_value(examples: list[Example]) -> None:
    for example in examples:
        attribute = ATTRIBUTES[example.source["attribute"]]
        for document in example.documents:
            if document.gold:
                one = section_of(document)
                assert one.key == attribute.section
                assert example.cluster in [found.value for found in stated(attribute, one)]
                assert not contains_answer(document.title, example.cluster)


def test_no_distractor_mentions_the_value(examples: list[Example]) -> None:
    for example in examples:
        attribute = ATTRIBUTES[example.source["attribute"]]
        value = example.cluster.casefold()
        for document in example.documents:
            if not document.gold:
                shown = f"{document.title}\n{document.text}"
                assert not contains_answer(shown, example.cluster)
                if document.id.endswith(attribute.section):
                    assert value not in shown.casefold()
                    assert not [
                        found
                        for found in stated(attribute, section_of(document))
                        if found.value == example.cluster
                    ]


def test_as_many_distractors_are_of_the_same_section(examples: list[Example]) -> None:
    for example in examples:
        alike = [d for d in example.documents if d.id.endswith(example.source["section"])]
        golds = [document for document in alike if document.gold]
        assert len(alike) >= 2 * len(golds)


def test_needles_and_facts_are_in_the_order_cited(examples: list[Example]) -> None:
    for example in examples:
        attribute = ATTRIBUTES[example.source["attribute"]]
        assert [needle.document for needle in example.needles] == example.cites
        for needle, fact in zip(example.needles, example.facts, strict=True):
            assert (needle.role, needle.hop, needle.relation) == ("insight", 1, attribute.name)
            assert example.needle_text(needle) == fact.answer == example.cluster
            code = needle.document.split("/")[0]
            assert fact.subject.removeprefix("the ") == names()[code]
            assert (fact.hop, fact.subject_hop, fact.relation) == (1, None, attribute.name)
            assert contains_answer(fact.state(), fact.answer)
        assert example.question == attribute.citing.format(answer=example.cluster)


def test_gold_documents_take_half_of_the_length_at_most(
    room: Room, examples: list[Example]
) -> None:
    for example in examples:
        golds = [document for document in example.documents if document.gold]
        assert sum(map(room.size, golds)) <= room.length / 2
        assert room.is_full(example.documents)


def test_numbers_and_attributes_take_turns(corpus: Corpus) -> None:
    first = corpus.train[:120]
    assert Counter(len(e.cites) for e in first) == {1: 30, 2: 30, 3: 30, 4: 30}
    assert {example.source["attribute"] for example in first} == set(ATTRIBUTES)


def test_no_document_is_cited_twice_for_a_value(room: Room) -> None:
    most = capacity(room=room, seed=SEED)
    corpus = factbook_citation(train=0, validation=most["validation"], test=0, room=room, seed=SEED)
    cited = Counter(
        (example.source["attribute"], example.cluster, document)
        for example in corpus.validation
        for document in example.cites
    )
    assert len(cited) > 200
    assert max(cited.values()) == 1


def test_splits_share_no_country(corpus: Corpus) -> None:
    for split, countries in splits(SEED).items():
        for example in getattr(corpus, split):
            assert {d.id.split("/")[0] for d in example.documents} <= set(countries)


SCRIPT = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from needlework.corpora.factbook_citation import factbook_citation
from needlework.examples import write_examples
from needlework.rendering.room import Room
words = Tokenizer(models.WordLevel({"?": 0}, "?"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
room = Room([PreTrainedTokenizerFast(tokenizer_object=words)], 600)
corpus = factbook_citation(train=6, validation=3, test=5, room=room, seed=3)
write_examples(sys.argv[1], [*corpus.train, *corpus.validation, *corpus.test])
"""


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, root: Path) -> None:
    hashes = set()
    for hash_seed in ("0", "1"):
        path = tmp_path / f"{hash_seed}.jsonl"
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=True, env=environment)
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1
    assert len(read_examples(path)) == 14


def test_known_statements() -> None:
    peru = section("pe", "People and Society/Languages")
    assert peru is not None
    values = [found.value for found in stated(ATTRIBUTES["official_language"], peru)]
    assert values == ["Spanish", "Quechua", "Aymara"]
    one = stated(ATTRIBUTES["official_language"], peru)[1]
    assert peru.text[one.start : one.end] == "Quechua"
    assert mentions(peru, "quechuas")
    assert not mentions(peru, "German")
    bolivia = section("bl", "Geography/Coastline")
    assert bolivia is not None
    assert [found.value for found in stated(ATTRIBUTES["coast"], bolivia)] == ["landlocked"]


def test_what_a_title_tells_is_not_stated() -> None:
    australia = section("as", "Economy/Exchange rates")
    assert australia is not None
    attribute = ATTRIBUTES["shared_currency"]
    assert [found.value for found in stated(attribute, australia)] == ["Australian dollars"]
    guinea = section("gv", "Economy/Exchange rates")
    assert guinea is not None
    renamed = Section("gv", guinea.key, "Guinean francs: x", guinea.text, "", guinea.fields)
    assert stated(attribute, guinea)
    assert not stated(attribute, renamed)


def test_more_than_the_capacity_is_refused(room: Room) -> None:
    most = capacity(room=room, seed=SEED)
    assert most["train"] > 1000
    assert min(most.values()) > 100
    with pytest.raises(ValueError, match=f"holds {most['test']} questions .*'test'"):
        factbook_citation(train=0, validation=0, test=most["test"] + 1, room=room, seed=SEED)


def test_counts_add_up(corpus: Corpus) -> None:
    for split, counts in corpus.counts.items():
        assert counts["made"] == len(getattr(corpus, split))
        skipped = sum(counts["skipped"].values())
        assert counts["considered"] == counts["made"] + counts["not wanted"] + skipped
        assert counts["skipped"]["value of one country"] > 0


def test_no_question_is_asked_in_two_splits(room: Room) -> None:
    corpus = factbook_citation(train=400, validation=100, test=200, room=room, seed=SEED)
    asked = [{e.question for e in split} for split in corpus[:3]]
    assert not asked[0] & asked[1]
    assert not (asked[0] | asked[1]) & asked[2]
    assert corpus.counts["train"]["skipped"]["asked in another split"] > 0
