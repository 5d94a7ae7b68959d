"""Every figure of a study: which table it is drawn from, and by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from needlework.report import figure_heads, figure_interventions, figure_scores, figure_similarity
from needlework.report import tables as views
from needlework.report.figures import save
from needlework.report.names import figure_names, of_pair, scored_pairs
from needlework.study.runs import own_tasks, trained_variants
from needlework.study.sections import Study

_Drawing = tuple[Callable[[pd.DataFrame], Figure], pd.DataFrame]


def draw(
    folder: Path, study: Study, tables: Mapping[str, pd.DataFrame], reference: str
) -> dict[str, Path]:
    """Write the figures that `figure_names` names as `folder`/<name>.{svg,png,csv}.

    Args:
        folder: where the figures go.
        study: whose figures these are.
        tables: the statistics by name, and `heads` of `head_table.read_heads`.
        reference: the variant that the others are measured against.

    Returns:
        Name to SVG file, in the order of `figure_names`.
    """
    drawings = _all(study, tables, reference)
    if study.masking or study.patching:
        drawings |= _interventions(study, tables)
    paths = {}
    for name in figure_names(study):
        figure_of, table = drawings[name]
        save(figure_of(table), table, folder / name)
        paths[name] = folder / f"{name}.svg"
    return paths


def _all(study: Study, tables: Mapping[str, pd.DataFrame], reference: str) -> dict[str, _Drawing]:
    variants, level = trained_variants(study), study.statistics.level
    scores, similarity = tables["scores"], tables["head_similarity"]
    plain = views.plain(scores)
    drawings: dict[str, _Drawing] = {
        "scores": (partial(figure_scores.scores_figure, variants=variants, level=level), plain),
        "similarity": (
            partial(
                figure_similarity.similarity_figure,
                tasks=own_tasks(study), variants=variants,
            ),
            views.cosine_matrix(similarity),
        ),
        "recall": (
            partial(
                figure_scores.recall_figure, correlations=tables["correlations"],
                variants=variants, reference=reference, level=level,
            ),
            views.recall_points(scores, similarity, reference),
        ),
        "reliability": (
            partial(figure_similarity.reliability_figure, variants=variants),
            tables["reliability"],
        ),
    }  # fmt: skip
    maps = partial(figure_heads.heads_figure, reference=reference, count=study.probe.top)
    for model, task in scored_pairs(study):
        drawings[of_pair("heads", model, task)] = (maps, _of(tables["heads"], model, task))
    return drawings


def _interventions(study: Study, tables: Mapping[str, pd.DataFrame]) -> dict[str, _Drawing]:
    level, alpha = study.statistics.level, study.statistics.alpha
    masks = views.masking_points(tables["interventions"], tables["scores"])
    patches = views.patching_points(tables["interventions"], tables["scores"])
    lines = partial(figure_interventions.masking_figure, level=level)
    bars = partial(figure_interventions.patching_figure, alpha=alpha, level=level)
    return {"patching": (bars, patches)} | {
        of_pair("masking", model, task): (lines, _of(masks, model, task))
        for model, task in scored_pairs(study)
    }


def _of(table: pd.DataFrame, model: str, task: str) -> pd.DataFrame:
    return table[(table["model"] == model) & (table["task"] == task)]
