"""The tables of a study for a paper, in the layout of Zhao et al. (arXiv 2410.22316)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from needlework.report.findings.cases import is_synthetic
from needlework.report.names import scored_pairs
from needlework.report.publication.heads import heads_tables
from needlework.report.publication.interventions import intervention_tables
from needlework.report.publication.typeset import (
    DAGGER,
    Cell,
    Table,
    between,
    markdown,
    number,
    tex,
)
from needlework.report.tables.extracts import PAIR, decisive, interventions_over_seeds
from needlework.report.wording import metric_words
from needlework.study.sections import Study
from needlework.study.values import UNTUNED

# Rows of Table 1: concept expression and context diversity of a variant.
_GRID = {
    "high_high": ("High", "High"),
    "high_low": ("High", "Low"),
    "low_high": ("Low", "High"),
    "low_low": ("Low", "Low"),
    "symbolic": ("Symbolic", "Symbolic"),
}
_SIMPLIFIED = "Simplified"  # Zhao et al. call the low concept of SummHay so
_LAST = {"real": "Real (Full)", "real_limited": "Real (Limited)", UNTUNED: "Not fine-tuned"}


def published(
    main: pd.DataFrame, tables: Mapping[str, pd.DataFrame], study: Study, *, reference: str
) -> dict[str, str]:
    """The tables of a paper by file name, as LaTeX for booktabs and as Markdown.

    Args:
        main: `main_table.main_table`.
        tables: `variants`, `correlations`, and `interventions` where the study has some.
        study: the study.
        reference: the variant that the others are measured against.
    """
    made = {"main": [_scores(main, study)]}
    if study.masking or study.patching:
        over_seeds = interventions_over_seeds(tables["interventions"], tables["variants"])
        made["interventions"] = intervention_tables(over_seeds, study)
    if scored_pairs(study):
        made["heads"] = heads_tables(main, tables["correlations"], study, reference)
    files: dict[str, str] = {}
    for name, content in made.items():
        files |= {f"{name}.tex": tex(content), f"{name}.md": markdown(content)}
    return files


def _scores(main: pd.DataFrame, study: Study) -> Table:
    rows = decisive(main, main)
    columns = list(rows[["task", "model"]].drop_duplicates().itertuples(index=False, name=None))
    columns.sort(key=lambda column: list(study.tasks.chosen()).index(column[0]))
    cells: dict[tuple[str, str, str], Cell] = {}
    for (model, task), part in rows.groupby(PAIR, sort=False):
        cells |= {(v, str(task), str(model)): cell for v, cell in _column(part, study).items()}
    groups = [
        [
            [*map(Cell, names), *(cells.get((variant, *column), Cell("–")) for column in columns)]
            for variant, names in group.items()
        ]
        for group in _variants(rows)
    ]
    tasks = dict.fromkeys(task for task, _ in columns)
    spans = [(task, sum(own == task for own, _ in columns)) for task in tasks]
    heads = [[("", 1), ("", 1), *spans], [("Concept", 1), ("Context", 1)]]
    heads[1] += [(model, 1) for _, model in columns]
    return Table(_caption(rows, study), "tab:scores", heads, 2, [g for g in groups if g])


def _variants(rows: pd.DataFrame) -> list[dict[str, tuple[str, str]]]:
    """The variants of each group of rows, with their names in the two columns on the left."""
    present = list(rows["variant"].unique())
    low = _SIMPLIFIED if set(rows["task"]) == {"summhay"} else "Low"
    grid = {
        variant: (low if concept == "Low" else concept, context)
        for variant, (concept, context) in _GRID.items()
    }
    others = [v for v in present if v not in _GRID and v not in _LAST]
    return [
        {variant: names for variant, names in grid.items() if variant in present},
        {variant: (variant, "") for variant in others},
        {variant: (name, "") for variant, name in _LAST.items() if variant in present},
    ]


def _mixed(rows: pd.DataFrame) -> bool:
    """Whether the rows of the low concept are of SummHay and of another task."""
    return "summhay" in set(rows["task"]) and rows["task"].nunique() > 1


def _column(rows: pd.DataFrame, study: Study) -> dict[str, Cell]:
    """The cells of one model and task: the best synthetic data bold, those it beats with a dagger.

    The dagger is that of Zhao et al.: the bold one is above the cell, significantly.
    """
    synthetic = rows[[is_synthetic(name, study.controls) for name in rows["variant"]]]
    best = synthetic["variant"][synthetic["mean"].idxmax()] if len(synthetic) else None
    beaten = (synthetic["best_p_adjusted"] < study.statistics.alpha) & (
        synthetic["best_difference"] < 0
    )
    daggers = set(synthetic["variant"][beaten])
    return {
        row["variant"]: Cell(
            number(row["mean"]),
            bold=row["variant"] == best,
            marks=DAGGER if row["variant"] in daggers else "",
            beside=between(row["low"], row["high"]),
        )
        for row in rows.to_dict("records")
    }


def _caption(rows: pd.DataFrame, study: Study) -> str:
    statistics = study.statistics
    sizes = rows.drop_duplicates("task")
    tests = "; ".join(
        f"{row['task']}: {metric_words(row['metric'])}, n = {row['n']:.0f} in "
        f"{row['n_clusters']:.0f} clusters"
        for row in sizes.to_dict("records")
    )
    seeds = len(study.training_seeds)
    trained = f"Mean over {seeds} training seeds." if seeds > 1 else "One training seed."
    simplified = f" Of summhay the concept Low is {_SIMPLIFIED}." if _mixed(rows) else ""
    return (
        f"Scores on the real test by training data ({tests}). Brackets: "
        f"{100 * statistics.level:.0f} % intervals, bootstrap over clusters of examples "
        f"({statistics.resamples:,} resamples). {trained} Bold: the best "
        f"synthetic data of the column. {DAGGER}: a model trained on the bold data outperforms the "
        "one trained on the indicated data (paired bootstrap and sign flips, two-sided, p < "
        f"{statistics.alpha:g} after Holm over the planned comparisons).{simplified}"
    )
