"""One's own questions: taken as they are, or refused with a reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.corpus import Corpus
from needlework.corpora.jsonl import jsonl
from needlework.examples import read_examples, write_examples
from needlework.rendering.room import Room


def _row(number: int, **change: Any) -> dict[str, Any]:
    return {
        "documents": [
            f"The weather of town {number} is mild.",
            {"title": f"Town {number}", "text": f"The mayor of town {number} is Ann Lee{number}."},
            "Nobody knows why.",
        ],
        "question": f"Who is the mayor of town {number}?",
        "answers": [f"Ann Lee{number}"],
    } | change


def _words(texts: list[str], add_special_tokens: bool) -> dict[str, Any]:
    return {"input_ids": [text.split() for text in texts]}


def _made(path: Path, rows: list[Any], length: int = 1_000, **options: Any) -> Corpus:
    path = path / "own.jsonl" if path.is_dir() else path
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    wanted = {"train": 0, "validation": 0, "test": 0, "seed": 1} | options
    return jsonl(room=Room([_words], length), path=path, **wanted)  # type: ignore[list-item]


def _one(path: Path, **change: Any) -> Any:
    (example,) = _made(path, [_row(7, **change)], test=1).test
    return example


def test_a_row_is_an_example_as_it_is(tmp_path: Path) -> None:
    example = _one(tmp_path)
    assert (example.id, example.task, example.variant) == ("jsonl-test-0000", "jsonl", "real")
    assert [document.text for document in example.documents] == [
        "The weather of town 7 is mild.", "The mayor of town 7 is Ann Lee7.", "Nobody knows why.",
    ]  # fmt: skip
    assert [document.title for document in example.documents] == ["", "Town 7", ""]
    assert [document.gold for document in example.documents] == [False, True, False]
    (needle,) = example.needles
    assert example.needle_text(needle) == "Ann Lee7"
    assert (needle.role, needle.hop) == ("answer", 1)
    assert example.facts == []
    assert example.source["row"] == 1
    assert (example.source["id"], example.cluster) == ("1", "1")
    write_examples(tmp_path / "examples.jsonl", [example])
    assert read_examples(tmp_path / "examples.jsonl") == [example]


def test_one_text_is_the_answer(tmp_path: Path) -> None:
    assert _one(tmp_path, answers="Ann Lee7").answers == ["Ann Lee7"]


def test_the_first_answer_that_is_there_is_the_needle(tmp_path: Path) -> None:
    example = _one(tmp_path, answers=["Mayor Lee7", "Ann Lee7", "Lee7"])
    assert example.answers[0] == "Mayor Lee7"
    assert example.needle_text(example.needles[0]) == "Ann Lee7"


def test_answers_are_found_as_whole_words(tmp_path: Path) -> None:
    documents = ["McLima and Limatown are near Lima's port.", "It never rains."]
    example = _one(tmp_path, documents=documents, answers=["Lima"])
    (needle,) = example.needles
    assert (needle.start, needle.end) == (29, 33)


def test_marks_tell_which_documents_are_searched(tmp_path: Path) -> None:
    documents = [
        {"text": "The mayor is Ann Lee.", "gold": True},
        {"text": "Ann Lee was born in Ayr.", "gold": True},
        {"text": "It rains.", "gold": False},
    ]
    with pytest.raises(ValueError, match="'Ann Lee' stands 2 times in the gold documents"):
        _one(tmp_path, documents=documents, answers="Ann Lee")
    with pytest.raises(ValueError, match="the distractor '1/2' contains the answer 'rains'"):
        _one(tmp_path, documents=[*documents[:2], "It rains."], answers=["Ayr", "rains"])
    needles = [
        {"document": 0, "start": 13, "end": 20, "role": "bridge"},
        {"document": 1, "start": 20, "end": 23, "hop": 2, "relation": "birthplace"},
    ]
    example = _one(tmp_path, documents=documents, answers="Ayr", needles=needles)
    assert [example.needle_text(needle) for needle in example.needles] == ["Ann Lee", "Ayr"]
    assert [(n.role, n.hop, n.relation) for n in example.needles] == [
        ("bridge", 1, None), ("answer", 2, "birthplace"),
    ]  # fmt: skip
    assert [document.gold for document in example.documents] == [True, True, False]


def test_needles_mark_their_documents(tmp_path: Path) -> None:
    needles = [{"document": 1, "start": 4, "end": 9, "role": "insight"}]
    example = _one(tmp_path, answers="yes", needles=needles)
    assert [document.gold for document in example.documents] == [False, True, False]


def test_marked_rows_need_no_needle(tmp_path: Path) -> None:
    documents = [{"text": "It rains.", "gold": True}, "It snows."]
    assert _one(tmp_path, documents=documents, answers="wet", needles=[]).needles == []


def test_facts_are_taken_over(tmp_path: Path) -> None:
    fact = {
        "hop": 1, "relation": "mayor", "subject": "town 7", "answer": "Ann Lee7",
        "question": "Who is the mayor of {subject}?", "statement": None,
    }  # fmt: skip
    (found,) = _one(tmp_path, facts=[fact]).facts
    assert (found.subject, found.answer) == ("town 7", "Ann Lee7")


# --- Splits, lengths, depths -------------------------------------------------------------------


def test_clusters_are_dealt_to_splits(tmp_path: Path) -> None:
    rows = [_row(i, cluster=f"c{i % 20}") for i in range(40)]
    corpus = _made(tmp_path, rows, train=24, validation=6, test=10)
    splits = [{example.cluster for example in examples} for examples in corpus[:3]]
    assert [len(found) for found in splits] == [12, 3, 5]
    assert len(set.union(*splits)) == 20
    smaller = _made(tmp_path, rows, train=5, validation=1, test=2)
    assert smaller.train == corpus.train[:5]
    rows_of = [example.source["row"] for example in corpus.train]
    assert rows_of != sorted(rows_of)


def test_rows_may_name_their_split(tmp_path: Path) -> None:
    splits = ["test", "train", "train", "validation", "test"]
    rows = [_row(i, split=split, id=f"r{i}") for i, split in enumerate(splits)]
    corpus = _made(tmp_path, rows, train=2, validation=1, test=2)
    assert {example.source["id"] for example in corpus.train} == {"r1", "r2"}
    assert {example.source["id"] for example in corpus.test} == {"r0", "r4"}
    assert corpus.validation[0].source["split"] == "validation"


def test_lengths_skip_and_count_but_never_add(tmp_path: Path) -> None:
    long = [{"text": "word " * 300 + "Ann Lee1.", "gold": True}, "It rains."]
    rows = [_row(0, split="test"), _row(1, split="test", documents=long)]
    kept = _made(tmp_path, rows, length=200, test=1)
    assert kept.counts["test"] == {
        "considered": 2, "made": 1, "not wanted": 0,
        "skipped": {"gold documents longer than the length": 1},
    }  # fmt: skip
    assert len(kept.test[0].documents) == 3
    full = _made(tmp_path, rows, length=290 + 128, test=0, fill=True).counts["test"]
    assert full["skipped"] == {
        "gold documents longer than the length": 1,
        "documents do not fill the length": 1,
    }
    assert _made(tmp_path, rows[:1], length=10, test=0).counts["test"]["skipped"]


def test_test_depths_move_gold_documents(tmp_path: Path) -> None:
    rows = [_row(i, split="test" if i < 4 else "train") for i in range(5)]
    corpus = _made(tmp_path, rows, train=1, test=4, test_depths=[0.0, 1.0])
    where = [[document.gold for document in e.documents].index(True) for e in corpus.test]
    assert where == [0, 2, 0, 2]
    assert corpus.train[0].documents[1].gold


def test_gzipped_files_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(json.dumps(_row(0)) + "\n\n" + json.dumps(_row(1)) + "\n")
    room = Room([_words], 500)  # type: ignore[list-item]
    corpus = jsonl(train=0, validation=1, test=1, seed=1, room=room, path=path)
    assert {e.source["row"] for e in (*corpus.validation, *corpus.test)} == {1, 3}


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answers": ["Bob"]}, r"none of the answers \['Bob'\] stands in the documents as it is"),
        ({"answers": []}, r"answers is \[\], takes a text or a list of texts"),
        ({"answers": [3]}, r"answers is \[3\]"),
        ({"documents": ["Ann Lee7.", "Ann Lee7!"]}, "stands 2 times in the documents; say which"),
        ({"documents": ["Ann Lee7, Ann Lee7."]}, "stands 2 times"),
        ({"documents": [{"text": "Ann Lee7.", "gold": True}, "Ann Lee7!"]}, "the distractor"),
        ({"documents": ["Ann Lee7.", "ann lee7!"]}, "the distractor '2/1' contains the answer"),
        ({"documents": []}, "none of the answers"),
        ({"documents": "Ann Lee7"}, "documents is 'Ann Lee7', takes a list"),
        ({"documents": [{"txt": "Ann Lee7"}]}, "unknown key 'txt'; did you mean 'text'"),
        ({"documents": [{"title": "Ann Lee7"}]}, "document 0 lacks text"),
        ({"documents": [5]}, "document 0 is 5, takes an object with text, title, gold"),
        ({"question": None}, "question: Input should be a valid string"),
        ({"quesiton": "?"}, "unknown key 'quesiton'; did you mean 'question'"),
        ({"split": "dev"}, "the split is 'dev', takes one of train, validation, test"),
        ({"needles": [{"document": 3, "start": 0, "end": 1}]}, "document 3; takes the index"),
        ({"needles": [{"document": 1, "start": 0}]}, "a needle lacks end"),
        ({"needles": [{"document": 1, "start": 0, "end": 3}]}, "'The' contains none of"),
        ({"needles": [{"document": 1, "start": 0, "end": 999}]}, "outside the document"),
        ({"needles": []}, "no document is gold; mark those"),
        ({"facts": [{"hop": 1}]}, "relation: Field required"),
        ({"id": "1"}, "two rows have the id '1'"),
    ],
)  # fmt: skip
def test_rows_of_another_form_are_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        _made(tmp_path, [_row(0), _row(7, **change)])
    assert "own.jsonl" in str(caught.value)
    assert "row 2: " in str(caught.value) or "two rows" in str(caught.value)


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 1: the row is 4, takes an object"):
        _made(tmp_path, [4])
    (tmp_path / "own.jsonl").write_text("{", encoding="utf-8")
    room = Room([_words], 500)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"own\.jsonl, row 1: not JSON: Expecting property name"):
        jsonl(train=0, validation=0, test=1, seed=1, room=room, path=tmp_path / "own.jsonl")


def test_splits_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 2: no `split`, but other rows name theirs"):
        _made(tmp_path, [_row(0, split="test"), _row(1)])
    rows = [_row(i, split=split, cluster="c") for i, split in enumerate(["test", "train"])]
    with pytest.raises(ValueError, match="row 2: the cluster 'c' is in the splits 'test' and"):
        _made(tmp_path, rows)


def test_too_few_rows_are_an_error_that_says_how_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 3 rows for the split 'test', but 4 are wanted"):
        _made(tmp_path, [_row(i, split="test") for i in range(3)], test=4)
