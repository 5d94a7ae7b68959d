"""From the results folder of a study to its figures and its page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from needlework.atomic import write_text
from needlework.examples import Example, read_examples
from needlework.provenance import versions
from needlework.report.draw import draw
from needlework.report.findings import find
from needlework.report.head_table import read_heads
from needlework.report.page import render_page
from needlework.report.stages import stage_table
from needlework.study.runs import own_tasks
from needlework.study.sections import Study

_TABLES = (
    "scores", "comparisons", "correlations", "head_similarity", "reliability", "training",
)  # fmt: skip


def build_report(
    results: Path, study: Study, *, reference: str, benchmarks: Sequence[Path]
) -> None:
    """Write `results`/figures, those that `names.figure_names` names, and `results`/report.html.

    Reads, below `results`: the tables of statistics (interventions.csv where the study masks or
    patches), the head scores of every run, every variant's dataset.json and first training example,
    and what a language model wrote, where one did.

    Args:
        results: the study's folder, in the layout of docs/formats.md.
        study: the study whose runs are reported; files of other runs are not looked at.
        reference: the variant that the others are measured against.
        benchmarks: Snakemake's benchmark files, in the order of the stages.
    """
    more = ["interventions"] if study.masking or study.patching else []
    more += ["general"] if study.general else []
    tables = {name: _table(results, name) for name in (*_TABLES, *more)}
    heads = read_heads(results, study)
    page = render_page(
        study=study.model_dump(),
        reference=reference,
        findings=find(
            tables, reference=reference, alpha=study.statistics.alpha, controls=study.controls
        ),
        tables=tables,
        notes=heads.notes,
        figures=draw(results / "figures", study, tables | {"heads": heads.table}, reference),
        examples=_examples(results, study),
        datasets=[
            {"task": task} | _json(results / "datasets" / task / variant / "dataset.json")
            for task in own_tasks(study)
            for variant in study.variants
        ],
        generations=[
            {"task": task} | _json(path)
            for task in own_tasks(study)
            for kind in ("rewrites", "documents")
            if (path := results / "generations" / task / f"{kind}.json").is_file()
        ],
        stages=stage_table(benchmarks, results / "benchmarks"),
        versions=versions(),
    )
    write_text(results / "report.html", page)


def _table(results: Path, name: str) -> pd.DataFrame:
    # Only an empty cell is missing: a name may be "NA".
    path = results / "statistics" / f"{name}.csv"
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _examples(results: Path, study: Study) -> dict[tuple[str, str], Example]:
    """The first training example of every variant: the same question where variants share it."""
    return {
        (task, variant): read_examples(results / "datasets" / task / variant / "train.jsonl")[0]
        for task in own_tasks(study)
        for variant in study.variants
    }
