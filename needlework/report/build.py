"""From the results folder of a study to its figures and its page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from needlework.atomic import write_text
from needlework.examples import Example, read_examples
from needlework.heads.scores import read_mean_scores
from needlework.provenance import versions
from needlework.report import figures
from needlework.report.findings import find
from needlework.report.page import render_page
from needlework.report.stages import stage_table
from needlework.study.sections import Study, runs

# The head measure on the figure's axis: Zhao et al. compare the sets of all positive heads.
MEASURE = "recall_positive"


def build_report(
    results: Path, study: Study, *, reference: str, benchmarks: Sequence[Path]
) -> None:
    """Write `results`/figures and `results`/report.html.

    Args:
        results: the study's folder, in the layout of docs/formats.md.
        study: the study whose runs are reported; files of other runs are not looked at.
        reference: the variant that the others are measured against.
        benchmarks: Snakemake's benchmark files, in the order of the stages.
    """
    tables = {
        name: pd.read_csv(results / "statistics" / f"{name}.csv")
        for name in ("scores", "comparisons", "correlations", "head_similarity")
    }
    heads = _heads(results, study)
    drawn = _draw(results / "figures", tables, heads, reference, study.statistics.level)
    page = render_page(
        study=study.model_dump(),
        reference=reference,
        findings=find(
            tables["scores"],
            tables["comparisons"],
            tables["head_similarity"],
            tables["correlations"],
            reference=reference,
            alpha=study.statistics.alpha,
        ),
        comparisons=tables["comparisons"],
        correlations=tables["correlations"],
        figures=drawn,
        examples=_examples(results, study),
        datasets=[
            {"task": task} | _json(results / "datasets" / task / variant / "dataset.json")
            for task in study.tasks.chosen()
            for variant in study.variants
        ],
        generations=[
            {"task": task} | _json(path)
            for task in study.tasks.chosen()
            for kind in ("rewrites", "documents")
            if (path := results / "generations" / task / f"{kind}.json").is_file()
        ],
        stages=stage_table(benchmarks, results / "benchmarks"),
        versions=versions(),
    )
    write_text(results / "report.html", page)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _heads(results: Path, study: Study) -> pd.DataFrame:
    """Mean score of every head, averaged over seeds: model, task, variant, layer, head, score."""
    rows = []
    for run in runs(study):
        folder = results / "heads" / run.model / run.task / run.variant / f"seed{run.seed}"
        for (layer, head), score in np.ndenumerate(read_mean_scores(folder / "validation.json")):
            rows.append((run.model, run.task, run.variant, layer, head, score))
    columns = ["model", "task", "variant", "layer", "head", "score"]
    table = pd.DataFrame(rows, columns=columns)
    return table.groupby(columns[:-1], sort=False)["score"].mean().reset_index()


def _draw(
    folder: Path,
    tables: dict[str, pd.DataFrame],
    heads: pd.DataFrame,
    reference: str,
    level: float,
) -> dict[str, Path]:
    scores = tables["scores"]
    first = scores.groupby(["model", "task"], sort=False)["metric"].transform("first")
    decisive = scores[scores["metric"] == first]
    keys = ["model", "task", "variant", "seed"]
    points = tables["head_similarity"].merge(
        decisive[[*keys, "metric", "mean", "low", "high"]], on=keys
    )
    drawn = {
        "scores": (figures.scores_figure(scores, level), scores),
        "heads": (figures.heads_figure(heads), heads),
        "recall": (
            figures.recall_figure(points, tables["correlations"], MEASURE, reference),
            points[[*keys, MEASURE, "metric", "mean", "low", "high"]],
        ),
    }
    for name, (figure, table) in drawn.items():
        figures.save(figure, table, folder / name)
    return {name: folder / f"{name}.svg" for name in drawn}


def _examples(results: Path, study: Study) -> dict[tuple[str, str], Example]:
    """The first training example of every variant: the same question where variants share it."""
    return {
        (task, variant): read_examples(results / "datasets" / task / variant / "train.jsonl")[0]
        for task in study.tasks.chosen()
        for variant in study.variants
    }
