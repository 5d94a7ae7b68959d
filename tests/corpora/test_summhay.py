"""SummHay: who is cited, who is shown, where the insight is, at every length."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.alignment import THRESHOLD, align, sentences
from needlework.corpora.corpus import Corpus
from needlework.corpora.summhay import MOST_GOLD, summhay
from needlework.examples import Example, citation, read_examples, write_examples
from needlework.rendering.room import Room

_INSIGHTS = [
    "The mill of {} closed for good because harbour taxes rose seven times.",
    "The orchards near {} feed four hundred families since frost spares them.",
    "The library in {} lends violins, drums and harps to every schoolchild.",
]
_ARTICLES = 24  # of a topic
_LISTED = 12  # of them, those that mention an insight


def _insight(topic: str, n: int) -> str:
    return _INSIGHTS[n].format(topic)


def _article(topic: str, number: int) -> str:
    # Each article has its own filler, so that an excerpt is known by its words.
    filler = [
        f"Day {k} of report {number} passed in quiet {topic} weather with nothing to tell."
        for k in range(12)
    ]
    for n in range(3):
        if number % 12 in range(3 * n, 3 * n + 6):
            said = _insight(topic, n)
            if number % 2:  # said in almost the same words
                said = said.replace("The ", "Our ")
            filler.insert(2 + 3 * n, said)
    return " ".join(filler[:6]) + "\n\n" + " ".join(filler[6:])


def _topic(name: str) -> dict[str, Any]:
    return {
        "topic_id": f"id-{name}",
        "topic": f"All about {name}",
        "topic_metadata": {"passed": "over"},
        "subtopics": [
            {
                "subtopic_id": f"{name}-s{part}",
                "subtopic_name": f"closures {part}",
                "subtopic": "What closed, and why",
                "query": f"What closed in {name}?",
                "insights": [
                    {
                        "insight_id": f"{name}-{n}",
                        "insight_name": f"closure {n}",
                        "insight": _insight(name, n),
                    }
                    for n in numbers
                ],
            }
            for part, numbers in enumerate([(0, 1), (2,)])
        ],
        "documents": [
            {
                "document_id": f"d{i}",
                "document_text": _article(name, i),
                "insights_included": [
                    f"{name}-{n}" for n in range(3) if i % 12 in range(3 * n, 3 * n + 6)
                ],
            }
            for i in range(_ARTICLES)
        ],
    }


def _write(folder: Path, *topics: dict[str, Any]) -> Path:
    for topic in topics:
        (folder / f"{topic['topic']}.json").write_text(json.dumps(topic), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path, *map(_topic, ["Ayr", "Bath", "Cork", "Deal"]))


def _words(texts: list[str], add_special_tokens: bool) -> dict[str, list[list[str]]]:
    """A tokenizer to count with: a token is a word."""
    assert not add_special_tokens
    return {"input_ids": [text.split() for text in texts]}


def _room(length: int) -> Room:
    return Room([_words], length)  # type: ignore[list-item]


def _made(path: Path, length: int = 1_100, **options: Any) -> Corpus:
    wanted = {"train": 12, "validation": 4, "test": 5, "seed": 3} | options
    return summhay(room=_room(length), path=path, **wanted)


def _all(corpus: Corpus) -> list[Example]:
    return [*corpus.train, *corpus.validation, *corpus.test]


def _documents(path: Path) -> dict[str, dict[str, Any]]:
    topics = [json.loads(file.read_text(encoding="utf-8")) for file in path.glob("*.json")]
    return {f"{t['topic_id']}/{d['document_id']}": d for t in topics for d in t["documents"]}


# --- What is asked and cited -------------------------------------------------------------------


def test_gold_are_the_articles_that_are_listed_for_the_insight(folder: Path) -> None:
    listed = _documents(folder)
    for example in _all(_made(folder)):
        (fact,) = example.facts
        key = example.source["question"]
        golds = [d.id for d in example.documents if d.gold]
        assert 1 <= len(golds) <= MOST_GOLD
        for document in example.documents:
            assert document.gold == (key in listed[document.id]["insights_included"])
            assert document.text == listed[document.id]["document_text"]
        assert example.cites == golds
        assert example.answers == [citation(example.documents, golds)]
        assert fact.answer in example.question
        assert fact.state() == fact.answer
        assert (fact.hop, fact.relation) == (1, "insight")
        assert (example.style, example.task, example.cluster) == (
            "articles",
            "summhay",
            golds[0].split("/")[0],
        )


def test_needles_are_the_insights_in_the_articles(folder: Path) -> None:
    kinds: Counter[str] = Counter()
    for example in _all(_made(folder)):
        (fact,) = example.facts
        assert {n.document for n in example.needles} == {d.id for d in example.documents if d.gold}
        for needle in example.needles:
            assert (needle.role, needle.hop) == ("insight", 1)
            assert needle.relation in {"closures 0", "closures 1"}
            shown = example.needle_text(needle)
            verbatim = shown == fact.answer
            kinds["verbatim" if verbatim else "other words"] += 1
            assert verbatim or shown.startswith("Our ")
    assert min(kinds["verbatim"], kinds["other words"]) > 3


def test_no_article_is_gold_twice_for_one_question(folder: Path) -> None:
    corpus = _made(folder, length=2_000, train=0, validation=0, test=0)
    at_most = {split: corpus.counts[split]["not wanted"] for split in corpus.counts}
    corpus = _made(folder, length=2_000, **at_most)
    used = Counter(
        (e.source["question"], d.id) for e in _all(corpus) for d in e.documents if d.gold
    )
    assert set(used.values()) == {1}
    assert len(used) == 4 * 3 * _LISTED  # and each of them once
    numbers = Counter(len(example.cites) for example in _all(corpus))
    assert set(numbers) == {1, 2, 3, 4}


def test_the_query_asks_for_all_its_insights(folder: Path) -> None:
    listed = _documents(folder)
    of_article: Counter[int] = Counter()
    for example in _all(_made(folder, 900, ask="query")):
        assert "What closed in" in example.question
        topic = example.cluster.removeprefix("id-")
        numbers = (0, 1) if example.source["question"].endswith("s0") else (2,)
        for document in example.documents:
            included = listed[document.id]["insights_included"]
            said = [n for n in numbers if f"{topic}-{n}" in included]
            assert document.gold == bool(said)
            windows = [
                align([_insight(topic, n)], [document.text])[0][0]
                for n in said
            ]  # fmt: skip
            needles = [n for n in example.needles if n.document == document.id]
            assert [(n.start, n.end) for n in needles] == [(w.start, w.end) for w in windows]
            of_article[len(needles)] += 1
        # One fact for each article that is cited, in their order, or one for all.
        stated = [fact.answer for fact in example.facts]
        if numbers == (2,):
            assert stated == [_insight(topic, 2)]
            continue
        assert len(stated) == len(example.cites)
        for answer, name in zip(stated, example.cites, strict=True):
            (window,) = align([answer], [listed[name]["document_text"]])[0]
            assert window.score >= THRESHOLD
    assert of_article[1] > 3
    assert of_article[2] > 3


def test_an_insight_in_other_words_leaves_a_gold_article_without_a_needle(folder: Path) -> None:
    topics = {path: json.loads(path.read_text()) for path in folder.glob("*.json")}
    for path, topic in topics.items():
        for document in topic["documents"]:
            if document["document_id"] in {"d1", "d3"}:
                document["document_text"] = "Nothing here is said in such a way. " * 15
        path.write_text(json.dumps(topic))
    whole = _made(folder, train=0, validation=0, test=0).counts
    corpus = _made(folder, **{split: whole[split]["not wanted"] for split in whole})
    bare = [
        document
        for example in _all(corpus)
        for document in example.documents
        if document.gold and document.id not in {n.document for n in example.needles}
    ]
    assert {d.id.split("/")[1] for d in bare} == {"d1", "d3"}
    assert len(bare) == sum(c["gold articles without a needle"] for c in corpus.counts.values())
    mentions = corpus.counts["test"]["mentions"]
    # d1 is listed for the first insight, d3 for the first and the second.
    assert mentions == {"listed": 36, "listed, in almost the insight's words": 33}
    # Where they would be cut as well, nobody could say that the excerpt mentions the insight.
    short = _made(folder, length=400, train=0, validation=0, test=0).counts
    assert short["test"]["mentions"]["left out: in other words, and to be cut"] == 3


def test_an_article_that_reads_like_a_mention_is_no_distractor(folder: Path) -> None:
    for path in folder.glob("*.json"):
        topic = json.loads(path.read_text())
        topic["documents"][0]["insights_included"] = []  # d0 still says the first insight
        path.write_text(json.dumps(topic))
    corpus = _made(folder, train=0, validation=0, test=0)
    corpus = _made(folder, **{split: corpus.counts[split]["not wanted"] for split in corpus.counts})
    asked_first = [e for e in _all(corpus) if e.source["question"].endswith("-0")]
    assert asked_first
    assert not any(d.id.endswith("/d0") for e in asked_first for d in e.documents)
    assert any(d.id.endswith("/d0") for e in _all(corpus) for d in e.documents)
    key = "not listed, but reads like one: no distractor"
    assert sum(count["mentions"][key] for count in corpus.counts.values()) == 4


# --- Splits ------------------------------------------------------------------------------------


def test_a_topic_is_in_one_split_as_gold_and_as_distractor(folder: Path) -> None:
    corpus = _made(folder)
    topics = [
        {document.id.split("/")[0] for example in examples for document in example.documents}
        for examples in (corpus.train, corpus.validation, corpus.test)
    ]
    assert [len(found) for found in topics] == [2, 1, 1]
    assert len(set.union(*topics)) == 4
    assert {c["topics"] for c in corpus.counts.values()} == {1, 2}


def test_another_seed_deals_topics_otherwise(folder: Path) -> None:
    tests = {_made(folder, seed=seed, train=0, validation=0).test[0].cluster for seed in range(8)}
    assert len(tests) > 1


def test_a_smaller_split_is_the_beginning_of_a_larger_one(folder: Path) -> None:
    large, small = _made(folder), _made(folder, train=5, validation=1, test=2)
    assert small.train == large.train[:5]
    assert small.test == large.test[:2]


def test_questions_take_turns(folder: Path) -> None:
    corpus = _made(folder)
    assert len({example.source["question"] for example in corpus.train[:6]}) == 6
    assert len({example.source["question"] for example in corpus.test[:3]}) == 3


def test_counts_add_up(folder: Path) -> None:
    for count in _made(folder).counts.values():
        assert count["considered"] == count["made"] + count["not wanted"] + sum(
            count["skipped"].values()
        )


def test_test_depths_are_taken_in_turns(folder: Path) -> None:
    corpus = _made(folder, test_depths=[0, 1])
    for i, example in enumerate(corpus.test):
        golds = [document.gold for document in example.documents]
        assert golds == sorted(golds, reverse=i % 2 == 0)
    free = _made(folder)
    assert free.train == corpus.train
    for a, b in zip(free.test, corpus.test, strict=True):
        assert sorted(a.cites) == sorted(b.cites)
        assert {d.id for d in a.documents} == {d.id for d in b.documents}


# --- Lengths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [256, 400, 700, 1_100, 1_500])
def test_every_length_is_filled_with_four_articles_or_more(folder: Path, length: int) -> None:
    room = _room(length)
    corpus = _made(folder, length=length)
    for example in _all(corpus):
        assert room.is_full(example.documents)
        largest = max((d for d in example.documents if not d.gold), key=room.size)
        assert not room.is_full([d for d in example.documents if d is not largest])
        golds = [room.size(document) for document in example.documents if document.gold]
        assert sum(golds) <= (length - 128) / 2
        shown = sum(sorted(map(room.size, example.documents))[:-1])
        assert len(example.documents) > 4 or shown <= length - 128


@pytest.mark.parametrize("length", [256, 400])
def test_excerpts_are_whole_sentences_with_the_insight_in_them(folder: Path, length: int) -> None:
    texts = {key: d["document_text"] for key, d in _documents(folder).items()}
    room, limit = _room(length), (length - 128) // 4
    excerpts, first = set(), set()
    for example in _all(_made(folder, length=length)):
        (fact,) = example.facts
        for document in example.documents:
            whole = texts[document.id]
            start = whole.index(document.text)
            spans = sentences(whole)
            assert start in {a for a, _ in spans}
            assert start + len(document.text) in {b for _, b in spans}
            assert len(document.text) < len(whole)
            assert room.size(document) <= limit
            excerpts.add((document.id, document.text, document.gold))
        for needle in example.needles:
            (window,) = align([fact.answer], [texts[needle.document]])[0]
            assert window.score >= THRESHOLD
            first.add(needle.start == 0)
            assert example.needle_text(needle) == texts[needle.document][window.start : window.end]
        assert {n.document for n in example.needles} == set(example.cites)
    # Excerpts are from anywhere: one article is cut in several ways.
    assert len({text for key, text, gold in excerpts if not gold}) > len(texts)
    assert first == {True, False}


def test_the_number_of_articles_can_be_chosen(folder: Path) -> None:
    for number, length in ((2, 900), (5, 900), (9, 500)):
        for example in _all(_made(folder, length=length, documents=number)):
            assert len(example.documents) == number
            assert len(example.cites) <= number // 2


def test_other_topics_help_out_when_one_is_used_up(folder: Path) -> None:
    """A topic has 12 articles of about 170 words that do not mention the insight."""
    corpus = _made(folder, length=3_000, validation=0, test=0)
    for example in corpus.train:
        topics = Counter(document.id.split("/")[0] for document in example.documents)
        assert len(topics) == 2
        assert topics[example.cluster] == _ARTICLES - _LISTED + len(example.cites)
        last = 3 - len(example.cites) + sum(topics.values()) - topics[example.cluster]
        ends = [document.id.split("/")[0] for document in example.documents[-last:]]
        assert set(ends) != set(topics) - {example.cluster}  # they are not all at the end
    assert corpus.counts["test"]["not wanted"] == 0
    skipped = corpus.counts["test"]["skipped"]
    assert skipped.keys() == {"too few distractors to fill the length"}


def test_the_record_is_whole_and_the_same_again(folder: Path, tmp_path: Path) -> None:
    corpus = _made(folder)
    write_examples(tmp_path / "examples.jsonl", corpus.train)
    assert read_examples(tmp_path / "examples.jsonl") == corpus.train
    assert _made(folder) == corpus
    source = corpus.train[0].source
    assert {"corpus", "file", "sha256", "question", "split", "seed"} <= source.keys()


# --- What is refused ---------------------------------------------------------------------------


def test_too_few_examples_are_an_error_that_says_how_many(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"summhay holds \d+ examples for the split 'train'") as e:
        _made(folder, train=500)
    assert "500 are wanted (2 of 4 topics, 6 questions" in str(e.value)


def test_fewer_than_three_topics_are_an_error(tmp_path: Path) -> None:
    _write(tmp_path, _topic("Ayr"), _topic("Bath"))
    with pytest.raises(ValueError, match=r"has 2 topic files .* at least 3"):
        _made(tmp_path)


def test_a_topic_given_twice_is_an_error(folder: Path) -> None:
    (folder / "again.json").write_text((folder / "All about Ayr.json").read_text())
    with pytest.raises(ValueError, match=r"All about Ayr\.json, again\.json"):
        _made(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"documents": [{"document_id": "x", "document_text": "Y."}]}, "insights_included"),
        ({"subtopics": None}, "NoneType"),
        (
            {"documents": [{"document_id": "x", "document_text": "Y.", "insights_included": [1]}]},
            r"'id-Ayr/x' includes the insights \[1\]",
        ),
        ({"documents": [_topic("Ayr")["documents"][0]] * 2}, "two insights or two documents"),
    ],
)
def test_files_of_another_form_are_refused(
    folder: Path, change: dict[str, Any], reason: str
) -> None:
    path = folder / "All about Ayr.json"
    path.write_text(json.dumps(_topic("Ayr") | change))
    with pytest.raises(ValueError, match=reason) as caught:
        _made(folder)
    assert str(path) in str(caught.value)
    path.write_text("{")
    with pytest.raises(ValueError, match="expected a topic of SummHay"):
        _made(folder)


# --- The real topics ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [256, 4_096])
def test_the_real_topics(shared_data: Path, length: int) -> None:
    corpus = _made(shared_data / "summhay", length=length, train=60, validation=20, test=20)
    counts = corpus.counts
    assert [counts[split]["topics"] for split in counts] == [2, 1, 1]
    assert sum(counts[split]["questions"] for split in counts) == 65 + 72 + 79 + 66
    assert sum(counts[split]["mentions"]["listed"] for split in counts) == 2_721
    for example in _all(corpus):
        golds = {document.id for document in example.documents if document.gold}
        assert golds == set(example.cites)
        with_needle = {needle.document for needle in example.needles}
        assert with_needle <= golds
        assert with_needle == golds or length > 256
