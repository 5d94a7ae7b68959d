"""From the results folder of a study to its figures, the tables of the report, and its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from needlework import stored
from needlework.atomic import write_text
from needlework.examples import Example, iter_examples
from needlework.provenance import versions
from needlework.report.figures.draw import draw
from needlework.report.findings.findings import find
from needlework.report.names import scored_pairs
from needlework.report.page.elements import Row, records
from needlework.report.page.explorer_data import explorer_data
from needlework.report.page.page import Contents, render_page
from needlework.report.page.viewer_data import viewer_data
from needlework.report.publication.published import published
from needlework.report.tables.extracts import decisive, intervention_rows, plain
from needlework.report.tables.head_table import read_heads
from needlework.report.tables.report_tables import report_tables
from needlework.report.tables.stages import stage_table
from needlework.report.tables.view_table import unread, view_tables
from needlework.study.runs import own_tasks, trained_variants
from needlework.study.sections import Study

_STATISTICS = (
    "scores", "variants", "comparisons", "correlations", "depths", "head_similarity",
    "head_differences", "reliability", "training", "training_curves",
)  # fmt: skip
_MANY = 500  # comparisons of the plain test
_ON_THE_PAGE = ("comparisons", "correlations", "depths", "general", "training")


def build_report(
    results: Path, study: Study, *, reference: str, benchmarks: Sequence[Path]
) -> None:
    """Write `results`/figures, `results`/tables and `results`/report.html.

    The figures are those that `names.figure_names` names. Reads, below `results`: the tables of
    statistics (interventions.csv where the study masks or patches, general.csv where it asks for
    general abilities), the head scores of every run, the test examples with their answers and
    where heads looked, every corpus.json, dataset.json and first training example, and what a
    language model wrote, where one did.

    Args:
        results: the study's folder, in the layout of docs/formats.md.
        study: the study whose runs are reported; files of other runs are not looked at.
        reference: the variant that the others are measured against.
        benchmarks: Snakemake's benchmark files, in the order of the stages.
    """
    more = ["interventions"] if study.masking or study.patching else []
    more += ["general"] if study.general else []
    statistics = {
        name: _read(results / "statistics" / f"{name}.csv") for name in (*_STATISTICS, *more)
    }
    heads = read_heads(results, study)
    made = report_tables(results, study, statistics, heads.probes, reference=reference)
    made["stages"] = stage_table(benchmarks, results / "benchmarks")
    made = {name: _written(results / "tables" / f"{name}.csv", t) for name, t in made.items()}
    for name, text in published(made["main"], statistics, study, reference=reference).items():
        write_text(results / "tables" / name, text)
    drawn = statistics | {"heads": heads.table, "main": made["main"]}
    page = render_page(
        Contents(
            study=study.model_dump(mode="json"),
            variants=trained_variants(study),
            reference=reference,
            findings=find(
                made["main"], statistics, reference=reference, alpha=study.statistics.alpha,
                controls=study.controls,
            ),
            rows=_rows(statistics, made),
            views=view_tables(statistics["variants"]),
            notes=heads.notes,
            unread=unread(statistics["scores"]),
            figures=draw(results / "figures", study, drawn, reference),
            examples=_examples(results, study),
            datasets=list(_datasets(results, study)),
            explorer=(
                explorer_data(heads.table, statistics, reference=reference)
                if scored_pairs(study) else None
            ),
            viewer=viewer_data(results, study),
            versions=versions(),
        )
    )  # fmt: skip
    write_text(results / "report.html", page)


def _read(path: Path) -> pd.DataFrame:
    """The table of a file; its index is the number of the row, from 0."""
    # Only an empty cell is missing: a name may be "NA".
    return pd.read_csv(stored.check(path), keep_default_na=False, na_values=[""])


def _written(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table as the file has it once it is written: the page shows what files say."""
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return _read(path)


def _rows(
    statistics: Mapping[str, pd.DataFrame], made: Mapping[str, pd.DataFrame]
) -> dict[str, list[Row]]:
    """The rows of the tables that the page prints, by file; of `interventions` each seed's.

    Of the largest it prints what decides: the plain test, and of depths and of comparisons that
    were not planned, or are many, the first metric of the task. The files have the rest.
    """
    scores, comparisons = statistics["scores"], plain(statistics["comparisons"])
    planned = (comparisons["contrast"] != "other") & (len(comparisons) <= _MANY)
    first = comparisons.index.isin(decisive(comparisons, scores).index)
    printed = dict(statistics) | {
        "comparisons": comparisons[planned | first],
        "depths": decisive(plain(statistics["depths"]), scores),
    }
    files = {f"statistics/{name}.csv": printed[name] for name in _ON_THE_PAGE
             if name in printed}  # fmt: skip
    files |= {f"tables/{name}.csv": table for name, table in made.items()}
    rows = {file: records(table, file) for file, table in files.items()}
    if "interventions" in statistics:
        each = intervention_rows(statistics["interventions"], statistics["scores"])
        rows["interventions"] = records(each, "statistics/interventions.csv")
    return rows


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = stored.read_json(path)
    return content


def _examples(results: Path, study: Study) -> dict[tuple[str, str], Example]:
    """The first training example of every variant: the same question where variants share it."""
    return {
        (task, variant): next(iter_examples(results / "datasets" / task / variant / "train.jsonl"))
        for task in own_tasks(study)
        for variant in study.variants
    }


def _datasets(results: Path, study: Study) -> Iterator[dict[str, Any]]:
    for task in own_tasks(study):
        for variant in study.variants:
            path = results / "datasets" / task / variant / "dataset.json"
            yield {"task": task} | _json(path)
