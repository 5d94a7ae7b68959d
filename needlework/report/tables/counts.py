"""Rows in, rows out, and why: every count of what a study dropped or failed at, from its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from needlework import stored
from needlework.layout import Run
from needlework.report.tables.extracts import PAIR, decisive
from needlework.report.tables.head_table import Probed
from needlework.study.runs import own_tasks, recipe
from needlework.study.sections import Study

COUNT_COLUMNS = [
    "stage", "model", "task", "variant", "seed", "what", "rows_in", "rows_out", "dropped", "reason",
]  # fmt: skip
_Row = dict[str, Any]


def count_table(
    results: Path, study: Study, tables: Mapping[str, pd.DataFrame], probes: Sequence[Probed]
) -> pd.DataFrame:
    """`tables/counts.csv`: what came into every stage, what came out, and what did not, by reason.

    A file, or a part of it, has one row without a reason, whose `dropped` is `rows_in` less
    `rows_out`, 0 too. Rows with a reason follow: they say how many it was the reason for, and have
    neither `rows_in` nor `rows_out`. Answers are all scored, whatever could not be read in them.

    Args:
        results: the study's folder; corpora, generations and datasets are read.
        study: the study whose files are counted.
        tables: `scores` and `training`, and `general` where a study has it.
        probes: of `read_heads`.

    Returns:
        The columns `COUNT_COLUMNS`; model, variant and seed are empty where they play no part.
    """
    rows = [
        *_corpora(results, study),
        *_generations(results, study),
        *_datasets(results, study),
        *_trainings(results, study, tables["training"]),
        *_probes(probes),
        *_answers(tables["scores"]),
        *(_benchmarks(tables["general"]) if "general" in tables else ()),
    ]
    return pd.DataFrame(rows, columns=COUNT_COLUMNS).astype(
        dict.fromkeys(("seed", "rows_in", "rows_out", "dropped"), "Int64")
    )


def _counted(
    where: _Row, what: str, rows_in: int, rows_out: int, reasons: Mapping[str, int]
) -> Iterator[_Row]:
    part = where | {"what": what}
    yield part | {"rows_in": rows_in, "rows_out": rows_out, "dropped": rows_in - rows_out}
    for reason, number in reasons.items():
        if number:
            yield part | {"dropped": number, "reason": reason}


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = stored.read_json(path)
    return content


def _corpora(results: Path, study: Study) -> Iterator[_Row]:
    for task in study.tasks.chosen():
        counts = _json(results / "corpora" / task / "corpus.json")["splits"]
        where = {"stage": "build_corpus", "task": task}
        for split, count in counts.items():
            if not isinstance(count, dict):
                continue
            reasons = dict(count.get("skipped", {})) | {"not wanted": count.get("not wanted", 0)}
            made = count["made"]
            yield from _counted(
                where, f"{split} questions", made + sum(reasons.values()), made, reasons
            )
        if "not wanted" in counts:
            left = {"not wanted": counts["not wanted"]}
            yield from _counted(
                where, "questions", counts["questions"],
                counts["questions"] - counts["not wanted"], left,
            )  # fmt: skip


def _generations(results: Path, study: Study) -> Iterator[_Row]:
    stages = {"rewrites": "rewrite_facts", "documents": "write_documents"}
    for task in own_tasks(study):
        for kind, stage in stages.items():
            path = results / "generations" / task / f"{kind}.json"
            if not path.is_file():  # no language model was asked
                continue
            record = _json(path)
            where = {"stage": stage, "task": task}
            failed = record["failed"]
            if kind == "rewrites":
                failed = {"every reply was refused": failed}
            yield from _counted(where, kind, record["asked"], record["kept"], failed)
            refused = record.get("refused_replies", {})
            for reason, number in refused.items():
                yield where | {"what": "replies asked again", "dropped": number, "reason": reason}


def _datasets(results: Path, study: Study) -> Iterator[_Row]:
    for task in own_tasks(study):
        for variant in study.variants:
            record = _json(results / "datasets" / task / variant / "dataset.json")
            where = {"stage": "build_dataset", "task": task, "variant": variant}
            for split, count in record["splits"].items():
                reasons = {reason: len(ids) for reason, ids in count["skipped"].items()}
                made, wanted = count["made"], count["wanted"]
                tried = made + sum(reasons.values())
                yield from _counted(where, f"{split} examples", tried, made, reasons)
                short = {"fewer could be made than were wanted": wanted - made}
                yield from _counted(where, f"{split} examples wanted", wanted, made, short)


def _trainings(results: Path, study: Study, training: pd.DataFrame) -> Iterator[_Row]:
    for row in training.to_dict("records"):
        run = Run(*(row[name] for name in Run._fields))
        made = recipe(study, run.variant)
        record = _json(results / "datasets" / run.task / made.data / "dataset.json")
        there, trained = record["splits"]["train"]["made"], row["examples"]
        yield from _counted(
            {"stage": "train_adapter"} | run._asdict(), "training examples", there, trained,
            {"the control takes fewer" if made.examples else "not trained on": there - trained},
        )  # fmt: skip


def _probes(probes: Sequence[Probed]) -> Iterator[_Row]:
    for run, scored, counting, failed in probes:
        where = {"stage": "score_heads"} | run._asdict()
        yield from _counted(where, "probe examples", scored + sum(failed.values()), scored, failed)
        left = {"do not count in the probe": scored - counting}
        yield from _counted(where, "probe examples that count", scored, counting, left)


def _answers(scores: pd.DataFrame) -> Iterator[_Row]:
    once = decisive(scores, scores)
    for row in once.to_dict("records"):
        stage = "predict_answers" if row["condition"] == "plain" else "predict_views"
        where = {"stage": stage} | {name: row[name] for name in (*PAIR, "variant", "seed")}
        reasons = {
            "nothing that the metric reads, scored all the same": row["unparseable"],
            "cut at the longest length, scored all the same": row["cut"],
        }
        what = f"answers ({row['condition']})"
        yield from _counted(where, what, row["n"], row["n"], reasons)


def _benchmarks(general: pd.DataFrame) -> Iterator[_Row]:
    once = general.drop_duplicates([*Run._fields, "benchmark"])
    for row in once.to_dict("records"):
        where = {"stage": "evaluate_general"} | {name: row[name] for name in Run._fields}
        left = {"in the training data": row["left_out"]}
        asked = row["n"] + row["left_out"]
        yield from _counted(where, f"questions of {row['benchmark']}", asked, row["n"], left)
