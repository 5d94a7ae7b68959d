"""Every row that went missing is counted, with its reason, and rows in less rows out is what is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.report.tables.counts import COUNT_COLUMNS, count_table
from needlework.report.tables.head_table import read_heads
from needlework.study.runs import scored_runs
from needlework.study.sections import Study

TASK = "factbook_lookup"
RUN = {"model": "tiny", "task": TASK, "seed": 0}


def study() -> Study:
    sizes = {"train": 4, "validation": 3, "test": 2}
    return Study.model_validate(
        {
            "name": "made", "length": 256, "models": {"tiny": {"source": "tiny-random-llama"}},
            "tasks": {TASK: sizes}, "variants": ["real", "low_low"], "probe": {"top": 2},
            "controls": {"few": {"variant": "low_low", "examples": 2}},
        }
    )  # fmt: skip


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    counts = {
        "train": {"considered": 20, "made": 6, "not wanted": 10, "skipped": {"too long": 4}},
        "validation": {"considered": 3, "made": 3, "skipped": {}},
        "test": {"considered": 2, "made": 2, "not wanted": 0, "skipped": {}},
    }
    write(tmp_path / "corpora" / TASK / "corpus.json", {"splits": counts})
    rewrites = {
        "asked": 6, "kept": 5, "failed": 1, "refused_replies": {"lost the answer": 7},
    }  # fmt: skip
    write(tmp_path / "generations" / TASK / "rewrites.json", rewrites)
    documents = {"asked": 9, "kept": 6, "failed": {"repeats itself": 2, "request failed: x": 1}}
    write(tmp_path / "generations" / TASK / "documents.json", documents)
    for variant, made in (("real", 4), ("low_low", 3)):
        split = {
            "considered": 5, "wanted": 4, "made": made,
            "skipped": {"short": [f"e{i}" for i in range(5 - made)]},
        }  # fmt: skip
        write(tmp_path / "datasets" / TASK / variant / "dataset.json", {"splits": {"train": split}})
    for run in scored_runs(study()):
        folder = tmp_path / "heads" / run.model / run.task / run.variant / f"seed{run.seed}"
        folder.mkdir(parents=True)
        write_scores(folder / "validation.json", probe())
    return tmp_path


def probe() -> HeadScores:
    """Three instances of which two count, and one that could not be scored."""
    metadata = {"probe": {"kind": "copy", "role": "answer", "instances": "correct"}}
    layers = [Layer(attention="full", heads=2, kv_heads=2, unseen={})]
    instances = [
        Instance(id=f"p{i}", cluster=f"c{i}", generated="x", correct=i > 0) for i in range(3)
    ]
    return HeadScores(
        metadata, layers, instances, {"copy/answer": np.ones((3, 1, 2))}, {"no room": ["p9"]}
    )


def counted(results: Path) -> pd.DataFrame:
    return count_table(results, study(), tables(), read_heads(results, study()).probes)


def tables() -> dict[str, pd.DataFrame]:
    scores = [
        RUN | {"variant": "real", "condition": condition, "metric": metric, "n": 2, "cut": cut,
               "unparseable": 0}
        for condition, cut in (("plain", 1), ("closed_book", 0)) for metric in ("f1", "exact_match")
    ]  # fmt: skip
    training = [
        RUN | {"variant": variant, "examples": examples}
        for variant, examples in (("real", 4), ("low_low", 3), ("few", 2))
    ]
    general = [RUN | {"variant": "real", "benchmark": "gsm8k", "n": 38, "left_out": 2}]
    return {
        "scores": pd.DataFrame(scores), "training": pd.DataFrame(training),
        "general": pd.DataFrame(general),
    }  # fmt: skip


def rows(table: pd.DataFrame, stage: str, **where: Any) -> list[list[Any]]:
    """what, rows in, rows out, dropped and reason of a stage; None where there is none."""
    chosen = table[table["stage"] == stage]
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    shown = chosen[["what", "rows_in", "rows_out", "dropped", "reason"]].astype(object)
    return shown.where(shown.notna(), None).to_numpy().tolist()


def test_every_stage_is_counted_with_its_reasons(results: Path) -> None:
    table = counted(results)
    assert list(table.columns) == COUNT_COLUMNS
    assert rows(table, "build_corpus") == [
        ["train questions", 20, 6, 14, None],
        ["train questions", None, None, 4, "too long"],
        ["train questions", None, None, 10, "not wanted"],
        ["validation questions", 3, 3, 0, None],
        ["test questions", 2, 2, 0, None],
    ]
    assert rows(table, "rewrite_facts") == [
        ["rewrites", 6, 5, 1, None],
        ["rewrites", None, None, 1, "every reply was refused"],
        ["replies asked again", None, None, 7, "lost the answer"],
    ]
    assert rows(table, "write_documents") == [
        ["documents", 9, 6, 3, None],
        ["documents", None, None, 2, "repeats itself"],
        ["documents", None, None, 1, "request failed: x"],
    ]
    assert rows(table, "build_dataset", variant="low_low") == [
        ["train examples", 5, 3, 2, None],
        ["train examples", None, None, 2, "short"],
        ["train examples wanted", 4, 3, 1, None],
        ["train examples wanted", None, None, 1, "fewer could be made than were wanted"],
    ]
    assert rows(table, "train_adapter", variant="low_low") == [["training examples", 3, 3, 0, None]]
    assert rows(table, "train_adapter", variant="few") == [
        ["training examples", 3, 2, 1, None],
        ["training examples", None, None, 1, "the control takes fewer"],
    ]
    assert rows(table, "score_heads", variant="untuned") == [
        ["probe examples", 4, 3, 1, None],
        ["probe examples", None, None, 1, "no room"],
        ["probe examples that count", 3, 2, 1, None],
        ["probe examples that count", None, None, 1, "do not count in the probe"],
    ]
    assert rows(table, "predict_answers") == [
        ["answers (plain)", 2, 2, 0, None],
        ["answers (plain)", None, None, 1, "cut at the longest length, scored all the same"],
    ]
    assert rows(table, "predict_views") == [["answers (closed_book)", 2, 2, 0, None]]
    assert rows(table, "evaluate_general") == [
        ["questions of gsm8k", 40, 38, 2, None],
        ["questions of gsm8k", None, None, 2, "in the training data"],
    ]


def test_what_is_dropped_is_the_difference_and_the_sum_over_reasons(results: Path) -> None:
    table = counted(results)
    keys = ["stage", "model", "task", "variant", "seed", "what"]
    whole = table[table["reason"].isna()]
    assert not whole.duplicated(keys).any()
    assert (whole["dropped"] == whole["rows_in"] - whole["rows_out"]).all()
    parts = table[table["reason"].notna()]
    assert parts["rows_in"].isna().all()
    summed = parts.groupby(keys, dropna=False)["dropped"].sum().reset_index()
    both = whole.merge(summed, on=keys, suffixes=("", "_summed"))
    lost = both[~both["what"].str.startswith("answers")]  # these are scored all the same
    assert len(lost) > 8
    assert (lost["dropped"] == lost["dropped_summed"]).all()


def test_a_study_that_asked_no_language_model_has_no_counts_of_it(results: Path) -> None:
    for name in ("rewrites", "documents"):
        (results / "generations" / TASK / f"{name}.json").unlink()
    table = counted(results)
    assert not {"rewrite_facts", "write_documents"} & set(table["stage"])


def test_questions_left_over_by_all_splits_are_counted(results: Path) -> None:
    path = results / "corpora" / TASK / "corpus.json"
    counts = json.loads(path.read_text(encoding="utf-8"))["splits"]
    more = {"questions": 100, "not wanted": 71, "test-random": {"made": 2}}
    write(path, {"splits": counts | more})
    found = rows(counted(results), "build_corpus")
    assert found[-3:] == [
        ["test-random questions", 2, 2, 0, None],
        ["questions", 100, 29, 71, None],
        ["questions", None, None, 71, "not wanted"],
    ]
