"""Figures of scores: every metric of every variant, and the score against the recall of heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from needlework.report.figures.style import (
    INK,
    SOFT,
    Style,
    grid,
    keys,
    legend,
    nothing,
    panels,
    say,
    styles,
    tenths,
    value,
)
from needlework.report.figures.svg import tip
from needlework.report.tables.extracts import PAIR
from needlework.report.wording import interval, metric_words

# With more variants their names would cover each other beside the points.
_NAMED = 6
_ACROSS = 4


def score_points(variants: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """What the figure of scores shows: a row per variant, and one per seed where there are several.

    Args:
        variants: rows of `variants.csv`.
        scores: rows of `scores.csv` of the same condition.

    Returns:
        model, task, metric, variant, seed (empty: the mean over seeds), seeds, mean, low, high, n.
    """
    keys = [*PAIR, "metric", "variant"]
    means = variants[[*keys, "seeds", "mean", "low", "high", "n"]]
    single = scores[[*keys, "seed", "mean", "n"]].merge(means[[*keys, "seeds"]], on=keys)
    found = pd.concat([means, single[single["seeds"] > 1]], ignore_index=True)
    return found[[*keys, "seed", "seeds", "mean", "low", "high", "n"]]


def scores_figure(
    points: pd.DataFrame, variants: Sequence[str], reference: str, level: float
) -> Figure:
    """Mean of every metric per variant with its interval; panels of one task share their range.

    Args:
        points: what `score_points` gives.
        variants: all of the study, in the order of the rows.
        reference: the variant whose mean a line marks in each panel.
        level: of the intervals, in (0, 1).
    """
    rows = _rows(points)
    across = max(len(row) for row in rows)
    height = 0.85 + (0.3 if len(variants) <= _NAMED else 0.22) * len(variants)
    width = 4.6 if across < 3 else 11 / across
    figure, axes = grid(len(rows), across, width, height)
    for row, places in zip(axes, rows, strict=True):
        for unused in row[len(places) :]:
            unused.set_axis_off()
        for axis, (model, task, metric) in zip(row, places, strict=False):
            same = points[(points["task"] == task) & (points["metric"] == metric)]
            own = same[same["model"] == model]
            _intervals(axis, own, variants, reference)
            axis.set_xlim(*tenths(same))
            axis.set_xlabel(f"{metric_words(metric)}, n = {own['n'].iloc[0]:.0f}")
            axis.yaxis.set_visible(axis is row[0])
            axis.set_title(f"{model}\non {task}")
    several = points["seed"].notna().any()
    marks = [
        Line2D([], [], color=SOFT, lw=2, marker="o", ms=5, mec=INK, mew=0.5,
               label=f"mean{' over seeds' if several else ''}, {level:.0%} interval"),
        Line2D([], [], color=SOFT, ls="--", lw=1, label=f"mean of {reference}"),
    ]  # fmt: skip
    if several:
        marks.insert(1, Line2D([], [], color=INK, ls="", marker="|", ms=7, label="single seeds"))
    legend(figure, marks)
    return figure


def _rows(points: pd.DataFrame) -> list[list[tuple[str, str, str]]]:
    """The panels (model, task, metric): a row per task, or per task and model where it is wide."""
    rows: list[list[tuple[str, str, str]]] = []
    for _, of_task in points.groupby("task", sort=False):
        found = of_task[[*PAIR, "metric"]].drop_duplicates()
        parts = (
            [found] if len(found) <= _ACROSS else [p for _, p in found.groupby(PAIR, sort=False)]
        )
        rows += [[(p.model, p.task, p.metric) for p in part.itertuples()] for part in parts]
    return rows


def _intervals(axis: Axes, part: pd.DataFrame, variants: Sequence[str], reference: str) -> None:
    look, rows = styles(variants), part.to_dict("records")
    single = [row for row in rows if pd.notna(row["seed"])]
    means = [row for row in rows if pd.isna(row["seed"])]
    for row in means:
        name, y, style = row["variant"], variants.index(row["variant"]), look[row["variant"]]
        if name == reference:
            axis.axvline(row["mean"], color=SOFT, ls="--", lw=1)
        axis.plot([row["low"], row["high"]], [y, y], color=style.colour, lw=2)
        (mark,) = axis.plot(row["mean"], y, ls="", **style.mark(7))
        tip(mark, f"{name}: {value(row['mean'], row['low'], row['high'], row['n'])}")
        axis.text(1.02, y, f"{row['mean']:.2f}", transform=axis.get_yaxis_transform(),
                  va="center", fontsize=8)  # fmt: skip
    if single:
        heights = [variants.index(row["variant"]) + 0.3 for row in single]
        (ticks,) = axis.plot([row["mean"] for row in single], heights, "|", color=INK, ms=4)
        tip(ticks, *(f"{row['variant']}, seed {row['seed']:.0f}: {row['mean']:.2f}"
                     for row in single))  # fmt: skip
    axis.set_yticks(range(len(variants)), variants)
    axis.set_ylim(len(variants) - 0.4, -0.6)
    axis.grid(axis="x")


def recall_figure(
    points: pd.DataFrame,
    correlations: pd.DataFrame,
    variants: Sequence[str],
    reference: str,
    level: float,
) -> Figure:
    """Score against the recall of the reference's heads, one point per variant.

    Args:
        points: what `tables.recall_points` gives.
        correlations: `correlations.csv`, for the title of each panel.
        variants: all of the study.
        reference: the variant whose heads are wanted; shown hollow, not in the correlation.
        level: of the intervals, in (0, 1).
    """
    pairs = list(points.groupby(PAIR, sort=False))
    if not pairs:
        return nothing("No run has both a score and head scores.")
    look = styles(variants)
    figure, axes = panels(len(pairs), 2, 5.5, 4.4)
    for axis, ((model, task), part) in zip(axes, pairs, strict=True):
        shown = part[part["recall"].notna()].sort_values("mean", ascending=False)
        if shown.empty:
            say(axis, f"{model} on {task}: after {reference} data no head has a positive score, "
                "so recall is not defined.")  # fmt: skip
            continue
        for run in shown.to_dict("records"):
            _point(axis, run, look[run["variant"]], hollow=run["variant"] == reference)
        if len(variants) <= _NAMED:
            _names(axis, shown)
        axis.set_xlim(-0.04, 1.04)
        axis.set_ylim(0, 1.02)
        axis.grid()
        axis.set_xlabel(
            f"recall of the {shown['heads_b'].max():.0f} positive heads of {reference} data, "
            f"{level:.0%} interval"
        )
        metric = metric_words(part["metric"].iloc[0])
        axis.set_ylabel(f"{metric} on the test set, n = {part['n'].iloc[0]:.0f}")
        told = correlations[(correlations["model"] == model) & (correlations["task"] == task)]
        axis.set_title(f"{model} on {task}{_correlation(told)}")
    marks = [
        Line2D([], [], color=SOFT, marker="|", ls="", ms=9, label="as many random heads"),
        Line2D([], [], ls="", label=f"{reference}, the reference",
               **look[reference].mark(6, hollow=True)),
    ]  # fmt: skip
    if len(variants) > _NAMED:
        others = {name: style for name, style in look.items() if name != reference}
        marks = keys(others, lines=False) + marks
    legend(figure, marks)
    return figure


def _point(axis: Axes, run: dict[str, Any], style: Style, *, hollow: bool) -> None:
    colour, recall, mean = style.colour, run["recall"], run["mean"]
    axis.plot([recall] * 2, [run["low"], run["high"]], color=colour, lw=1.6, alpha=0.6)
    axis.plot([run["recall_low"], run["recall_high"]], [mean] * 2, color=colour, lw=1.6, alpha=0.6)
    axis.plot(run["random"], mean, "|", color=colour, ms=9, mew=1.4)
    (mark,) = axis.plot(recall, mean, ls="", color=colour, **style.mark(8, hollow=hollow))
    heads = f"{recall:.2f}{interval(run['recall_low'], run['recall_high'])}"
    chance = "" if np.isnan(run["random"]) else f", random {run['random']:.2f}"
    tip(mark, f"{run['variant']}: {metric_words(run['metric'])} "
        f"{value(mean, run['low'], run['high'], run['n'])}; recall {heads}{chance}")  # fmt: skip


def _names(axis: Axes, shown: pd.DataFrame) -> None:
    above = 2.0
    for run in shown.itertuples():
        left = run.recall > 0.85
        drop = 6 if above - run.mean > 0.06 else -12
        axis.annotate(
            run.variant, (run.recall, run.mean), xytext=(-9 if left else 9, drop),
            textcoords="offset points", ha="right" if left else "left", fontsize=9,
        )  # fmt: skip
        above = run.mean  # two labels at the same height would hide each other


def _correlation(told: pd.DataFrame) -> str:
    chosen = told[(told["set"] == "positive") & (told["measure"] == "recall")]
    parts = [f", N = {chosen['n'].iloc[0]:.0f} variants"] if len(chosen) else [""]
    for method, sign in (("spearman", "Spearman ρ"), ("pearson", "Pearson r")):
        for row in chosen[chosen["method"] == method].itertuples():
            if np.isnan(row.r):
                parts.append(f"{sign} undefined")
            else:
                parts.append(f"{sign} {row.r:.2f}{interval(row.low, row.high)}, p = {row.p:.2f}")
    return "\n".join(parts)
