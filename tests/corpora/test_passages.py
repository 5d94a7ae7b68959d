"""A pool of passages is read whole, and copies of a text in another spelling are recognised."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.corpora.passages import ngrams, read_passages
from needlework.examples import Document
from needlework.text import padded

ROWS = [
    {"pid": 7, "id": 9, "title": "Lima", "text": "Lima is the capital of Peru."},
    {"id": "b", "title": "Oslo", "text": "Oslo is the capital of Norway."},
    {"title": "Rome", "text": "Rome is the capital of Italy."},
]


def write(path: Path, rows: list[object]) -> Path:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.jsonl.gz"])
def test_passages_are_read_in_order(tmp_path: Path, name: str) -> None:
    pool = read_passages(write(tmp_path / name, list(ROWS)))
    documents = [pool.document(i) for i in range(len(pool))]
    assert [d.id for d in documents] == ["7", "b", "3"]
    assert [d.title for d in documents] == ["Lima", "Oslo", "Rome"]
    assert [d.text for d in documents] == [row["text"] for row in ROWS]
    assert not any(d.gold for d in documents)
    assert pool.texts()[0] == "Lima Lima is the capital of Peru."
    assert pool.document(1) is pool.document(1), "contexts share one document"


def test_the_table_of_dpr_is_read(tmp_path: Path) -> None:
    path = tmp_path / "psgs.tsv.gz"
    table = 'id\ttext\ttitle\n1\t"Aaron said ""no"" twice."\tAaron\n2\tIt was\tBaal\n'
    path.write_bytes(gzip.compress(table.encode()))
    pool = read_passages(path)
    assert [pool.document(i) for i in range(len(pool))] == [
        Document(id="1", title="Aaron", text='Aaron said "no" twice.', gold=False),
        Document(id="2", title="Baal", text="It was", gold=False),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"title": "a"}, "'text' is None"),
        ({"text": "a", "title": 3}, "'title' is 3"),
        ({"title": "a", "text": " "}, "the text is empty"),
        (["a"], "expected a JSON object"),
        ({"pid": 7, "title": "a", "text": "b"}, "a second passage has the id '7'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, reason: str) -> None:
    path = write(tmp_path / "pool.jsonl", [*ROWS, row])
    with pytest.raises(ValueError, match=r"pool\.jsonl, line 4") as raised:
        read_passages(path)
    assert reason in str(raised.value)


def test_what_is_no_json_and_an_empty_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text('{"title": "a", "text": "b"}\n\n{"title', encoding="utf-8")
    with pytest.raises(ValueError, match=r"pool.jsonl, line 3: not JSON"):
        read_passages(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no passage"):
        read_passages(path)


def test_words_are_whole_words_of_title_and_text(tmp_path: Path) -> None:
    pool = read_passages(write(tmp_path / "pool.jsonl", list(ROWS)))
    assert pool.words(0) == padded("Lima\nLima is the capital of Peru.")
    assert " capital of peru " in pool.words(0)
    assert " per " not in pool.words(0)


def test_another_spelling_shares_ngrams() -> None:
    text = "The first Nobel Prize in Physics was awarded in 1901 to Wilhelm Conrad Röntgen."
    other = "first ''Nobel Prize'' in physics, was awarded in 1901 to Wilhelm Conrad R."
    assert ngrams(text) & ngrams(other)
    assert not ngrams(text) & ngrams("The first Nobel Prize in Physics was won by Röntgen in 1901.")


@given(st.lists(st.sampled_from("bcdefgh"), max_size=20), st.integers(1, 9))
def test_ngrams_are_the_runs_of_n_words(words: list[str], n: int) -> None:
    found = ngrams(" ".join(words), n)
    runs = {tuple(words[i : i + n]) for i in range(len(words)) if i + n <= len(words)}
    if len(words) < n:
        runs = {tuple(words)} if words else set()
    assert {tuple(run.split()) for run in found} == runs


def test_the_real_pool(shared_data: Path) -> None:
    pool = read_passages(shared_data / "wiki_pool/wiki_passages.jsonl.gz")
    assert len(pool) == 39_048


@pytest.mark.parametrize(("key", "text"), [("ctxs", "text"), ("paragraphs", "paragraph_text")])
def test_the_passages_beside_questions_are_a_pool_each_text_once(
    tmp_path: Path, key: str, text: str
) -> None:
    rows = [
        {"question": "?", key: [{"title": "A", text: "One."}, {"title": "B", text: "Two."}]},
        {"question": "?", key: [{"title": "A", text: "One."}, {"title": "C", text: " "}]},
        {"question": "?", key: [{"title": "C", text: "One."}]},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    pool = read_passages(path)
    assert pool.texts() == ["A One.", "B Two.", "C One."]
    assert [pool.document(i).id for i in range(3)] == ["1.0", "1.1", "3.0"]


def test_a_passage_beside_a_question_without_a_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"ctxs": [{"title": "A", "text": 3}]}), encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: 'text' is 3"):
        read_passages(path)
