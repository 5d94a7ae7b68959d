"""Every figure of a study: which table it is drawn from, and by what.

A figure's table is made when it is drawn, and only then: a study has no table of what it left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from needlework.report.figures.general import general_figure, general_points
from needlework.report.figures.heads import head_points, heads_figure
from needlework.report.figures.interventions import masking_figure, patching_figure
from needlework.report.figures.positions import length_points, places_figure, position_points
from needlework.report.figures.scores import recall_figure, score_points, scores_figure
from needlework.report.figures.similarity import (
    reliability_figure,
    reliability_points,
    similarity_figure,
)
from needlework.report.figures.style import save
from needlework.report.figures.training import loss_points, training_figure
from needlework.report.names import figure_names, of_pair, scored_pairs
from needlework.report.tables.extracts import (
    cosine_matrix,
    masking_points,
    patching_points,
    plain,
    recall_points,
)
from needlework.study.runs import own_tasks, trained_variants
from needlework.study.sections import Study

Tables = Mapping[str, pd.DataFrame]
_Drawing = tuple[Callable[[pd.DataFrame], Figure], Callable[[], pd.DataFrame]]


def draw(folder: Path, study: Study, tables: Tables, reference: str) -> dict[str, Path]:
    """Write the figures that `figure_names` names as `folder`/<name>.{svg,png,csv}.

    Args:
        folder: where the figures go.
        study: whose figures these are.
        tables: the statistics by name, and `heads` of `head_table.read_heads`.
        reference: the variant that the others are measured against.

    Returns:
        Name to SVG file, in the order of `figure_names`.
    """
    drawings = _answers(study, tables, reference) | _heads(study, tables, reference)
    drawings |= _changes(study, tables)
    paths = {}
    for name in figure_names(study):
        figure_of, table_of = drawings[name]
        table = table_of()
        save(figure_of(table), table, folder / name)
        paths[name] = folder / f"{name}.svg"
    return paths


def _answers(study: Study, tables: Tables, reference: str) -> dict[str, _Drawing]:
    names, level = trained_variants(study), study.statistics.level
    variants, scores = tables["variants"], tables["scores"]
    places = partial(places_figure, variants=names, level=level)
    return {
        "scores": (
            partial(
                scores_figure, variants=names, reference=reference, level=level
            ),
            lambda: score_points(plain(variants), plain(scores)),
        ),
        "positions": (places, lambda: position_points(tables["depths"], variants)),
        "lengths": (places, lambda: length_points(variants, study.length)),
    }  # fmt: skip


def _heads(study: Study, tables: Tables, reference: str) -> dict[str, _Drawing]:
    names, statistics = trained_variants(study), study.statistics
    similarity = tables["head_similarity"]
    maps = partial(
        heads_figure,
        reference=reference, count=study.probe.top, alpha=statistics.alpha,
    )  # fmt: skip
    points = head_points(tables["heads"], tables["head_differences"])
    return {
        "similarity": (
            partial(similarity_figure, tasks=own_tasks(study), variants=names),
            lambda: cosine_matrix(similarity),
        ),
        "recall": (
            partial(
                recall_figure, correlations=tables["correlations"],
                variants=names, reference=reference, level=statistics.level,
            ),
            lambda: recall_points(tables["variants"], similarity, reference),
        ),
        "reliability": (
            partial(reliability_figure, variants=names),
            lambda: reliability_points(tables["reliability"]),
        ),
    } | {
        of_pair("heads", *pair): (maps, partial(_of, points, *pair))
        for pair in scored_pairs(study)
    }  # fmt: skip


def _changes(study: Study, tables: Tables) -> dict[str, _Drawing]:
    names, level, alpha = (
        trained_variants(study), study.statistics.level, study.statistics.alpha
    )  # fmt: skip
    lines = partial(masking_figure, level=level)

    def masks(model: str, task: str) -> pd.DataFrame:
        return _of(masking_points(tables["interventions"], tables["scores"]), model, task)

    return {
        "patching": (
            partial(patching_figure, alpha=alpha, level=level),
            lambda: patching_points(tables["interventions"], tables["scores"]),
        ),
        "general": (
            partial(general_figure, variants=names, alpha=alpha, level=level),
            lambda: general_points(tables["general"]),
        ),
        "training": (
            partial(training_figure, variants=names),
            lambda: loss_points(tables["training_curves"]),
        ),
    } | {of_pair("masking", *pair): (lines, partial(masks, *pair)) for pair in scored_pairs(study)}


def _of(table: pd.DataFrame, model: str, task: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["task"] == task)]
