"""Examples of mdqa are full, distractors hold no answer, and splits share no gold passage."""

from __future__ import annotations

import gzip
import json
import runpy
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from needlework import models
from needlework.corpora.corpus import Corpus
from needlework.corpora.mdqa import LONGEST_GOLD, mdqa
from needlework.corpora.passages import ngrams, read_passages
from needlework.corpora.retrieval import ranker
from needlework.examples import Example, read_examples, write_examples
from needlework.relations.templates import load_relations
from needlework.rendering.placing import Positions
from needlework.rendering.room import Room
from needlework.text import contains_answer
from tests.listing import names

CITIES = [
    "Lima", "Oslo", "Rome", "Bern", "Kyiv", "Riga", "Doha", "Baku", "Suva", "Lome", "Male", "Apia",
]  # fmt: skip
RIVERS = [
    "Rimac", "Aker", "Tiber", "Aare", "Dnipro", "Daugava",
    "Wadi", "Kura", "Mana", "Mono", "Sea", "Vai",
]  # fmt: skip
LENGTH = 1500  # bytes, which are the tokens of the tiny model


def gold_text(i: int) -> str:
    return f"{CITIES[i]} is a city that lies on the old river {RIVERS[i]} and has a market there."


def questions() -> list[dict[str, Any]]:
    rows = []
    for i, (city, river) in enumerate(zip(CITIES, RIVERS, strict=True)):
        gold = {"title": city, "text": gold_text(i), "hasanswer": True, "isgold": True}
        answers = [river.upper(), f"the {river} river"]
        rows.append({"question": f"which river is {city} on", "answers": answers, "ctxs": [gold]})
    return rows


def pool() -> list[dict[str, Any]]:
    texts = [
        ("Trade", f"{c} trades tea number {i} in its market.") for i, c in enumerate(CITIES * 3)
    ]
    texts += [("Boats", f"Boats of kind {i} sail the river {r}.") for i, r in enumerate(RIVERS)]
    # Gold passages in another spelling, cut elsewhere; without the answer, so that only their
    # words tell what they are.
    texts += [("Town", f"'''{c}''' is a city that lies on the old river") for c in CITIES]
    texts += [("Field", f"Wheat of kind {i} grows on a farm.") for i in range(20)]
    return [{"title": title, "text": text} for title, text in texts]


Draw = Callable[..., Corpus]


@pytest.fixture
def room(tiny_base: models.Base) -> Callable[[int], Room]:
    return lambda length: Room([models.load_tokenizer(tiny_base)], length)


@pytest.fixture
def draw(tmp_path: Path, room: Callable[[int], Room]) -> Draw:
    """Draws with small defaults, from the rows of this module or others."""

    def call(
        rows: list[dict[str, Any]] | None = None,
        passages: list[dict[str, Any]] | None = None,
        length: int = LENGTH,
        **options: Any,
    ) -> Corpus:
        paths = {}
        for name, given in (("questions", rows or questions()), ("passages", passages or pool())):
            paths[name] = tmp_path / f"{name}.jsonl"
            paths[name].write_text("".join(f"{json.dumps(row)}\n" for row in given))
        sizes: dict[str, Any] = {"train": 4, "validation": 2, "test": 3, "seed": 5}
        where = {"path": paths["questions"], "passages": paths["passages"]}
        return mdqa(**{"room": room(length), **where, **sizes, **options})

    return call


def every(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def distractors(example: Example) -> list[str]:
    return [document.text for document in example.documents if not document.gold]


@pytest.mark.parametrize("kind", ["retrieved", "random"])
def test_examples_are_whole_and_full(
    draw: Draw, room: Callable[[int], Room], kind: str, tmp_path: Path
) -> None:
    corpus = draw(distractors=kind)
    by_question = {row["question"]: row for row in questions()}
    for example in every(corpus):
        row = by_question[example.question]
        (gold,) = (document for document in example.documents if document.gold)
        (needle,) = example.needles
        assert gold.text == row["ctxs"][0]["text"]
        assert example.answers == row["answers"]
        assert example.needle_text(needle).upper() == example.answers[0]
        assert (needle.role, needle.hop, needle.document) == ("answer", 1, gold.id)
        for text in distractors(example):
            assert not any(contains_answer(text, answer) for answer in example.answers)
        assert room(LENGTH).is_full(example.documents)
        assert not room(LENGTH).is_full(example.documents[1:-1])
    assert [len(corpus.train), len(corpus.validation), len(corpus.test)] == [4, 2, 3]
    write_examples(tmp_path / "examples.jsonl", every(corpus))
    assert read_examples(tmp_path / "examples.jsonl") == every(corpus)


@pytest.mark.parametrize("kind", ["retrieved", "random"])
def test_no_gold_passage_is_a_distractor_in_any_spelling(draw: Draw, kind: str) -> None:
    golds = set().union(*(ngrams(gold_text(i)) for i in range(len(CITIES))))
    for example in every(draw(distractors=kind, length=2500)):
        for text in distractors(example):
            assert golds.isdisjoint(ngrams(text))


def test_distractors_come_in_the_order_of_their_ranks(draw: Draw, tmp_path: Path) -> None:
    corpus = draw(test_depths=[0.0])
    passages = read_passages(tmp_path / "passages.jsonl")
    for example in corpus.test:
        (ranks,) = ranker("bm25", passages)([example.question], 1000)
        names = [passages.document(i).id for i in ranks]
        shown = [document.id for document in example.documents[1:]]
        places = [names.index(name) for name in shown if name in names]
        assert places == sorted(places)
        assert len(places) > 3
        city = example.documents[0].title
        assert f"{city} trades" in example.documents[1].text


def test_when_the_ranks_run_out_the_rest_follows_at_random(draw: Draw) -> None:
    passages = [row for row in pool() if row["title"] in {"Trade", "Field"}]
    shown = {}
    for seed in (1, 2):
        corpus = draw(passages=passages, seed=seed, test_depths=[0.0], length=1700)
        for example in corpus.test:
            texts = distractors(example)
            assert all(example.documents[0].title in text for text in texts[:3])
            assert len(set(texts)) == len(texts)
            assert any("Wheat" in text for text in texts[3:])
        shown[seed] = {tuple(distractors(example)[3:]) for example in corpus.test}
        assert len(shown[seed]) == 3
    assert not shown[1] & shown[2]


def test_random_distractors_have_no_regard_to_the_question(draw: Draw) -> None:
    corpus = draw(distractors="random", test_depths=[0.0], train=4, validation=2, test=6)
    firsts = [example.documents[1].text for example in every(corpus)]
    assert sum("Wheat" in text for text in firsts) > 1
    again = draw(distractors="random", test_depths=[0.0], train=4, validation=2, test=6)
    assert every(again) == every(corpus)
    other = draw(distractors="random", test_depths=[0.0], train=4, validation=2, test=6, seed=6)
    assert {tuple(distractors(e)) for e in every(other)}.isdisjoint(
        tuple(distractors(e)) for e in every(corpus)
    )


def test_upstream_distractors_come_first_and_are_checked_as_well(draw: Draw) -> None:
    rows = questions()
    for i, row in enumerate(rows):
        own = ["An own text.", f"It is the {RIVERS[i]} again.", gold_text(i - 1)[9:], "A last one."]
        row["ctxs"] += [
            {"title": "Own", "text": text, "hasanswer": False, "isgold": False} for text in own
        ]
    copy = {"title": "Own", "text": "an own text"}
    corpus = draw(rows, [*pool(), copy], test_depths=[0.0])
    for example in corpus.test:
        texts = distractors(example)
        assert texts[:2] == ["An own text.", "A last one."]
        assert not any("own" in text for text in texts[2:])
    corpus = draw(rows, distractors="random")
    assert not any("An own text." in distractors(example) for example in every(corpus))


def test_test_depths_take_turns(draw: Draw) -> None:
    corpus = draw(test=4, test_depths=[0.0, 1.0, 0.5])
    for example, depth in zip(corpus.test, [0.0, 1.0, 0.5, 0.0], strict=True):
        place = [document.gold for document in example.documents].index(True)
        assert place == round(depth * (len(example.documents) - 1))
    places = {
        [d.gold for d in e.documents].index(True)
        for e in draw(train=12, validation=0, test=0).train
    }
    assert len(places) > 2


def test_splits_share_no_gold_passage_and_smaller_ones_begin_larger_ones(draw: Draw) -> None:
    rows = questions()
    rows[1]["ctxs"][0]["title"] = rows[0]["ctxs"][0]["title"].upper()
    rows[3]["ctxs"][0]["text"] += " And so its people say it is old."
    rows[2]["ctxs"][0]["text"] += " And so its people say it is old."
    large = draw(rows, train=5, validation=2, test=3)
    clusters = [{e.cluster for e in split} for split in (large.train, large.validation, large.test)]
    assert sum(map(len, clusters)) == len(set().union(*clusters))
    titles = {"Lima": {"Lima", "LIMA"}, "Rome": {"Rome", "Bern"}}
    for example in every(large):
        (gold,) = (document for document in example.documents if document.gold)
        assert gold.title in titles.get(example.cluster, {example.cluster})
    small = draw(rows, train=2, validation=1, test=2)
    assert small.train == large.train[:2]
    assert small.test == large.test[:2]
    assert draw(rows, train=2, validation=2, test=3).test == large.test
    assert len({e.id for e in every(large)}) == 10
    assert [e.id for e in large.test] == ["mdqa-test-0000", "mdqa-test-0001", "mdqa-test-0002"]


def test_counts_say_why_a_question_was_left_out(draw: Draw) -> None:
    rows = questions()
    rows[0]["answers"] = ["Nile"]
    rows[1]["ctxs"][0]["text"] += " word" * int(LONGEST_GOLD * LENGTH / 5)
    rows[2]["ctxs"][0]["text"] += f" The {RIVERS[2]} is old."
    rows[4]["answers"].append("market")  # in most passages
    passages = [row for row in pool() if "Wheat" not in row["text"]]
    counts = draw(rows, passages, length=LENGTH, train=9, validation=0, test=0).counts
    assert counts["train"] == {
        "considered": 12,
        "made": 9,
        "answer several times": 1,
        "stated by a template": counts["train"]["stated by a template"],
        "skipped": {
            "no answer in the gold passage": 1,
            "gold passage longer than 60% of the length": 1,
            "too few distractors to fill the length": 1,
        },
    }
    assert (counts["questions"], counts["not wanted"]) == (12, 0)
    counts = draw().counts
    considered = sum(counts[split]["considered"] for split in ("train", "validation", "test"))
    assert counts["questions"] == considered + counts["not wanted"]


def test_too_few_questions_are_an_error_that_says_how_many_there_are(draw: Draw) -> None:
    with pytest.raises(
        ValueError, match=r"7 examples of 1500 tokens .* 'train' .* but 8 are wanted"
    ):
        draw(train=8, validation=0, test=5)
    with pytest.raises(ValueError, match="'too few distractors to fill the length': 12"):
        draw(length=100_000)


def test_a_fact_is_what_a_relation_finds_in_the_question(draw: Draw) -> None:
    rows = questions()
    rows[0]["question"] = "what is {this}"
    asked = ["who wrote the song lima", "where is oslo located", "when was rome built"]
    for row, question in zip(rows[1:], asked, strict=False):
        row["question"] = question
    relations = load_relations("nq")
    found = set()
    for example in draw(rows, train=12, validation=0, test=0).train:
        (fact,) = example.facts
        (needle,) = example.needles
        assert (fact.hop, fact.answer, fact.relation) == (1, example.answers[0], needle.relation)
        matched = relations.match(example.question)
        if matched is None:
            assert fact.relation == "unknown"
            assert fact.statement is None
            assert fact.question.format(subject="x") == example.question
        else:
            relation, groups = matched
            found.add(relation.name)
            assert (fact.relation, fact.subject) == (relation.name, groups["subject"])
            assert fact.question == relation.question
            assert fact.statement == relation.statement
            assert fact.answer in fact.state()
    assert found, "no question matched a relation; ask others here"


def test_the_source_says_where_an_example_is_from(draw: Draw) -> None:
    source = draw().test[0].source
    assert source["corpus"] == "mdqa"
    assert source["file"] == "questions.jsonl"
    assert source["passages"]["file"] == "passages.jsonl"
    assert len(source["sha256"]) == len(source["passages"]["sha256"]) == 64
    assert (source["split"], source["seed"], source["distractors"]) == ("test", 5, "bm25")
    example = draw().test[0]
    assert questions()[source["row"] - 1]["question"] == example.question


# --- The test among other distractors ----------------------------------------------------------


def place(example: Example) -> int:
    return [document.gold for document in example.documents].index(True)


@pytest.mark.parametrize(("kind", "other"), [("retrieved", "random"), ("random", "retrieved")])
def test_the_same_questions_are_asked_among_other_distractors(
    draw: Draw, room: Callable[[int], Room], kind: str, other: str
) -> None:
    options: dict[str, Any] = {"distractors": kind, "test": 4, "test_depths": [0.0, 0.5, 1.0]}
    corpus = draw(**options, test_distractors=[other])
    alone = draw(**options)
    assert every(corpus) == every(alone)
    further = corpus.further
    assert corpus.counts == {**alone.counts, f"test-{other}": {"made": 4}}
    # Whatever the split asks for, a question has the same distractors of a kind.
    expected = draw(distractors=other, test=4, test_depths=[0.0, 0.5, 1.0]).test
    for test, example, same in zip(corpus.test, further, expected, strict=True):
        assert (example.id, example.question) == (test.id, test.question)
        assert (example.needles, example.cluster) == (test.needles, test.cluster)
        assert example.documents[place(example)] == test.documents[place(test)]
        assert example.documents == same.documents
        assert distractors(example) != distractors(test)
        assert room(LENGTH).is_full(example.documents)
        names = {"retrieved": "bm25", "random": "random"}
        assert test.source["distractors"] == names[kind]
        assert example.source == {
            **test.source, "split": f"test-{other}", "distractors": names[other],
        }  # fmt: skip


def test_a_depth_that_was_drawn_is_that_of_the_other_contexts(draw: Draw) -> None:
    rows = questions()
    for row in rows:  # few large distractors in one context, many small ones in the other
        row["ctxs"].append({
            "title": "Own", "text": "An own text. " * 40, "hasanswer": False, "isgold": False,
        })  # fmt: skip
    corpus = draw(rows, test=6, test_distractors=["random"])
    numbers = set()
    for test, example in zip(corpus.test, corpus.further, strict=True):
        depth = place(test) / (len(test.documents) - 1)
        assert place(example) == round(depth * (len(example.documents) - 1))
        numbers.add(len(example.documents) - len(test.documents))
    assert numbers != {0}
    assert len({place(example) for example in corpus.further}) > 1


def test_a_question_without_one_of_its_contexts_is_in_none(draw: Draw) -> None:
    rows = questions()
    for row in rows[:3]:  # full of their own distractors, where those count
        own = [{"title": "Own", "text": f"text {i} " * 60} for i in range(5)]
        row["ctxs"] += [{**each, "hasanswer": False, "isgold": False} for each in own]
    few = [row for row in pool() if row["title"] == "Field"]
    assert len(draw(rows, few, train=0, validation=0).test) == 3
    with pytest.raises(ValueError, match=r"0 examples .* distractors to fill the length': 12"):
        draw(rows, few, train=0, validation=0, test_distractors=["random"])


def test_distractors_that_all_examples_have_are_no_others(draw: Draw) -> None:
    with pytest.raises(ValueError, match="names 'random', which all examples have already"):
        draw(distractors="random", test_distractors=["random"])


def test_test_questions_that_fit_no_positions_are_counted_and_replaced(
    draw: Draw, tiny_base: models.Base
) -> None:
    rows = questions()
    rows[0]["ctxs"][0]["text"] += " word" * 140  # with nine others it is too long
    tokenizers = [models.load_tokenizer(tiny_base)]
    plain = draw(rows, test=10, train=1, validation=0)
    positions = Room(tokenizers, LENGTH, Positions(10, [1, 10]))
    corpus = draw(rows, test=10, train=1, validation=0, room=positions)
    assert plain.counts["test"]["skipped"] == {}
    assert corpus.counts["test"]["skipped"] == {"longer than the length": 1}
    asked = [example.question for example in corpus.test]
    assert len(asked) == 10
    assert rows[0]["question"] in [example.question for example in plain.test]
    assert rows[0]["question"] not in asked
    for example in corpus.test:
        positions.check_positions(example)
    # The others are what they were.
    before = {example.question: example.documents for example in plain.test}
    assert all(e.documents == before.get(e.question, e.documents) for e in corpus.test)
    with pytest.raises(ValueError, match=r"'too few documents for the positions': \d+"):
        draw(room=Room(tokenizers, LENGTH, Positions(60, [1])))


def test_the_command_writes_the_further_set_and_checks_the_positions(
    draw: Draw,
    tiny_base: models.Base,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = draw(test_distractors=["random"])
    options: dict[str, Any] = {"passages": str(tmp_path / "passages.jsonl")}
    options |= {"path": str(tmp_path / "questions.jsonl"), "test_distractors": ["random"]}
    options |= {"positions": {"documents": 5, "gold": [1, 5]}}

    def build(task: str, options: dict[str, Any]) -> None:
        monkeypatch.setattr(sys, "argv", [
            "build_corpus", "--task", task, "--length", str(LENGTH), "--seed", "5",
            "--bases", str(Path(tiny_base.path).parent / "base.json"),
            "--train", "4", "--validation", "2", "--test", "3",
            "--options", json.dumps(options), "--output", str(tmp_path / task),
        ])  # fmt: skip
        runpy.run_path(str(root / "scripts/build_corpus.py"), run_name="__main__")

    build("mdqa", options)
    assert names(tmp_path / "mdqa") == [
        "corpus.json", "test-random.jsonl", "test.jsonl", "train.jsonl", "validation.jsonl",
    ]  # fmt: skip
    assert read_examples(tmp_path / "mdqa/test.jsonl") == corpus.test
    assert read_examples(tmp_path / "mdqa/test-random.jsonl") == corpus.further
    counts = json.loads((tmp_path / "mdqa/corpus.json").read_text(encoding="utf-8"))["splits"]
    assert counts["test-random"] == {"made": 3}
    # A task that cannot choose its questions by them stops before anything is written.
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
    rows = [
        {"id": f"q{i}", "split": split, "question": "?", "answers": "Lima", "documents": ["Lima."]}
        for i, split in enumerate(splits)
    ]
    (tmp_path / "own.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = {"path": str(tmp_path / "own.jsonl"), "positions": {"documents": 2, "gold": [1]}}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        build("jsonl", options)
    said = capsys.readouterr().err.rpartition("error: ")[2]
    assert said.startswith("3 of 3 examples:\njsonl-test-0000: 1 documents, fewer than the 2")
    assert not (tmp_path / "jsonl").exists()


@pytest.mark.parametrize(
    ("length", "kind"), [(2048, "retrieved"), (2048, "random"), (32768, "random")]
)
def test_real_files(
    shared_data: Path, tmp_path: Path, room: Callable[[int], Room], length: int, kind: Any
) -> None:
    passages = shared_data / "wiki_pool/wiki_passages.jsonl.gz"
    if kind == "retrieved":  # an index over all of them takes long
        with gzip.open(passages, "rt", encoding="utf-8") as file:
            some = tmp_path / "some.jsonl"
            some.write_text("".join(islice(file, 3000)), encoding="utf-8")
            passages = some
    corpus = mdqa(
        train=2, validation=1, test=2, seed=1, room=room(length), distractors=kind,
        path=shared_data / "mdqa/nq-open-oracle.jsonl.gz", passages=passages,
    )  # fmt: skip
    for example in every(corpus):
        assert room(length).is_full(example.documents)
        (gold,) = (document for document in example.documents if document.gold)
        assert all(ngrams(gold.text).isdisjoint(ngrams(text)) for text in distractors(example))
