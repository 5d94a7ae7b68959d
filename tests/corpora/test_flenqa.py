"""FLenQA rows as examples, and its prompts as published."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.corpus import dealt
from needlework.corpora.flenqa import DATASETS, flenqa
from needlework.examples import read_examples, write_examples
from needlework.rendering.room import Room
from needlework.rendering.styles import styles

_FACTS = ["Ann's room is blue.", "The blue room has a lamp."]


def _row(number: int, **change: Any) -> dict[str, Any]:
    dataset = list(DATASETS)[number % 3]
    ruletaker = dataset == "Simplified RuleTaker"
    return {
        "global_sample_id": 100 + number,
        "sample_id": number,
        "label": "True" if number % 2 else "False",
        "dataset": dataset,
        "facts": None if ruletaker else _FACTS,
        "statement": _FACTS if ruletaker else None,
        "rule": "If someone is big and kind then they are round." if ruletaker else None,
        "assertion/question": "Ann's room has a lamp",
        "mixin": f"Some padding {number}. {_FACTS[1]} More of it.\n{_FACTS[0]} The end.",
        "padding_type": "books",
        "dispersion": "random",
        "ctx_size": 250,
    } | change


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return _write(tmp_path / "flenqa.jsonl", [_row(i) for i in range(12)])


def test_a_row_is_one_gold_document_and_is_shown_as_it_is(path: Path, tmp_path: Path) -> None:
    corpus = flenqa(test=12, seed=1, path=path)
    assert (corpus.train, corpus.validation) == ([], [])
    assert [example.id for example in corpus.test[:2]] == ["flenqa-test-0000", "flenqa-test-0001"]
    for example in corpus.test:
        row = _row(example.source["sample_id"])
        (document,) = example.documents
        assert (document.text, document.title, document.gold) == (row["mixin"], "", True)
        assert example.question == row["assertion/question"]
        assert example.answers == [row["label"]]
        assert example.cluster == str(row["global_sample_id"])
        assert example.style == f"flenqa-{DATASETS[row['dataset']]}"
        assert [example.needle_text(needle) for needle in example.needles] == _FACTS
        assert [(n.role, n.hop) for n in example.needles] == [("bridge", 1), ("bridge", 2)]
        for key in ("dataset", "ctx_size", "padding_type", "dispersion", "global_sample_id"):
            assert example.source[key] == row[key]
        assert example.source["facts"] == _FACTS
        fields = {"rule": row["rule"]} if row["rule"] else None
        assert example.source.get("fields") == fields
    write_examples(tmp_path / "examples.jsonl", corpus.test)
    assert read_examples(tmp_path / "examples.jsonl") == corpus.test


def test_the_chain_of_thought_has_prompts_of_its_own(path: Path) -> None:
    styles = {example.style for example in flenqa(test=12, seed=1, path=path, cot=True).test}
    assert styles == {"flenqa-ruletaker-cot", "flenqa-pir-cot", "flenqa-monorel-cot"}


def test_facts_that_are_not_in_the_text_are_counted(tmp_path: Path) -> None:
    path = _write(tmp_path / "f.jsonl", [_row(1), _row(2, mixin=f"Only this. {_FACTS[1]}")])
    corpus = flenqa(test=2, seed=1, path=path)
    assert corpus.counts["test"] == {
        "considered": 2, "made": 2, "not wanted": 0, "skipped": {},
        "facts found": 3, "facts not found": 1,
    }  # fmt: skip
    (cut,) = (example for example in corpus.test if example.source["sample_id"] == 2)
    assert [needle.hop for needle in cut.needles] == [2]


def test_other_editions_of_the_rows(tmp_path: Path) -> None:
    rows = [_row(1, label=False), _row(3, statement=_FACTS[0], rule=["If a.", "If b."])]
    (tmp_path / "list.json").write_text(json.dumps(rows), encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "FLenQA.zip", "w") as archive:
        archive.writestr("flenqa.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for name in ("list.json", "FLenQA.zip"):
        one, two = sorted(
            flenqa(test=2, seed=1, path=tmp_path / name).test, key=lambda e: e.source["sample_id"]
        )
        assert one.answers == ["False"]
        assert len(two.needles) == 1  # one statement, not its characters
        assert two.source["fields"]["rule"] == "['If a.', 'If b.']"  # what an f-string shows


def test_the_base_figure_leaves_rows_out_and_counts_them(tmp_path: Path) -> None:
    rows = [_row(1), _row(2, padding_type="identity"), _row(3, dispersion="first")]
    path = _write(tmp_path / "f.jsonl", rows)
    assert flenqa(test=3, seed=1, path=path, base_only=False).counts["test"]["skipped"] == {}
    assert flenqa(test=1, seed=1, path=path).counts["test"]["skipped"] == {
        "not padded": 1, "facts not dispersed at random": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="holds 1 rows for the split 'test', but 2 are wanted"):
        flenqa(test=2, seed=1, path=path)


def test_rows_longer_than_the_length_are_counted(tmp_path: Path) -> None:
    def words(texts: list[str], add_special_tokens: bool) -> dict[str, Any]:
        return {"input_ids": [text.split() for text in texts]}

    path = _write(tmp_path / "f.jsonl", [_row(1), _row(2, mixin="word " * 60)])
    corpus = flenqa(test=1, seed=1, path=path, room=Room([words], 60))  # type: ignore[list-item]
    assert corpus.test[0].source["sample_id"] == 1
    assert corpus.counts["test"]["skipped"] == {"longer than the length": 1}


def test_splits_keep_the_versions_of_a_sample_together(tmp_path: Path) -> None:
    rows = [_row(i, ctx_size=size, global_sample_id=i) for i in range(20) for size in (250, 500)]
    path = _write(tmp_path / "f.jsonl", rows)
    corpus = flenqa(train=20, validation=4, test=8, seed=1, path=path)
    splits = [{e.cluster for e in examples} for examples in corpus[:3]]
    assert sum(map(len, splits)) == len(set.union(*splits))
    assert [count["considered"] for count in corpus.counts.values()] == [24, 6, 10]
    smaller = flenqa(train=3, validation=1, test=2, seed=1, path=path)
    assert smaller.train == corpus.train[:3]
    assert smaller.test == corpus.test[:2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (json.dumps(_row(1, label="maybe")), "row 1: the label is 'maybe', takes 'True'"),
        (json.dumps(_row(1, dataset="Pir")), "row 1: the dataset is 'Pir', takes one of"),
        ('{"mixin": "x"}', "row 1 lacks keys of FLenQA: .*'assertion/question'"),
        ("[]", "row 1 lacks keys"),
        ("{", "expected JSON lines or a JSON list"),
    ],
)  # fmt: skip
def test_rows_of_another_form_are_refused(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(_row(0)) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as caught:
        flenqa(test=1, seed=1, path=path)
    assert str(path) in str(caught.value)


# --- Prompts -----------------------------------------------------------------------------------

_PUBLISHED = {
    "flenqa-ruletaker": (
        'Answer whether the statement Q can be derived from the rule and the facts. Answer with '
        'either "True" or "False".\nRule: R\nFacts: T\nAnswer with either "True or "False".\n'
    ),
    "flenqa-ruletaker-cot": (
        "Answer whether the statement Q can be derived from the rule and the facts.\n"
        'Show your steps then answer with either "True" or "False".\nRule: R\nFacts: T\n'
        'Answer with either "True or "False". Let\'s work this out in a step by step way to be '
        "sure we have the right answer.\n"
    ),
    "flenqa-pir": "T\nTrue/False Question: Q\nAnswer only True or False.\n",
    "flenqa-pir-cot": (
        "Show your steps then answer with ’true’ or ’false’.\nT\nTrue/False Question: Q\n"
        "Let’s work this out in a step by step way to\nbe sure we have the right answer.\n"
    ),
    "flenqa-monorel": (
        "Here are some facts. Answer the exact following question based on the text: Q Answer the "
        "question as it appears exactly.\nT\nQ\nAnswer only True or False.\n"
    ),
    "flenqa-monorel-cot": (
        "Here are some facts. Answer the exact following question based on the text: Q Answer the "
        "question as it appears exactly.\nShow your steps then answer with ’true’ or ’false’.\n"
        "T\nQ\nLet’s work this out in a step by step way to be sure we have the right answer. Show "
        "your work and finally answer with ’true’ or ’false’. The final step should include the "
        "exact text of the question and the answer.\n"
    ),
}  # fmt: skip


def test_prompts_are_as_published() -> None:
    shown = {
        name: style.before.format(question="Q", rule="R") + "T" + style.after.format(question="Q")
        for name, style in styles().items()
        if name.startswith("flenqa")
    }
    assert shown == _PUBLISHED


# --- Dealing clusters to splits ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("clusters", "sizes"),
    [(1, (0, 0, 1)), (2, (0, 1, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (20, (12, 3, 5))],
)
def test_clusters_are_dealt_by_share(clusters: int, sizes: tuple[int, int, int]) -> None:
    names = [f"c{i}" for i in range(clusters)]
    split_of = dealt([*names, *names], 5, "task")
    assert set(split_of) == set(names)
    splits = list(split_of.values())
    assert tuple(splits.count(split) for split in ("train", "validation", "test")) == sizes
    assert dealt(reversed(names), 5, "task") == split_of
    if clusters == 20:
        assert dealt(names, 6, "task") != split_of
        assert dealt(names, 5, "another") != split_of
