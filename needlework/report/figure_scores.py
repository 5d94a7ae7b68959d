"""Figures of scores: every metric of every run, and the score against the recall of heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from needlework.report.figures import SOFT, Style, grid, legend, nothing, panels, say, styles
from needlework.report.tables import PAIR
from needlework.report.wording import interval, metric_words

# With more variants their names would cover each other beside the points.
_NAMED = 6


def scores_figure(scores: pd.DataFrame, variants: Sequence[str], level: float) -> Figure:
    """Mean of every metric per run with its interval; one row of panels per model and task.

    Args:
        scores: model, task, variant, seed, metric, mean, low, high, n.
        variants: all of the study, in the order of the rows.
        level: of the intervals, in (0, 1).
    """
    pairs = list(scores.groupby(PAIR, sort=False))
    most = max(part["metric"].nunique() for _, part in pairs)
    height = 0.9 + (0.42 if len(variants) <= _NAMED else 0.26) * len(variants)
    width = 4.4 if most < 3 else 11 / most
    figure, axes = grid(len(pairs), most, width, height)
    for row, ((model, task), part) in zip(axes, pairs, strict=True):
        metrics = list(part["metric"].unique())
        for unused in row[len(metrics) :]:
            unused.set_axis_off()
        for axis, metric in zip(row, metrics, strict=False):
            runs = part[part["metric"] == metric]
            _intervals(axis, runs, variants)
            n = runs["n"].iloc[0]
            axis.set_xlabel(f"{metric_words(metric)}, n = {n}")
            axis.tick_params(labelleft=axis is row[0])
        row[0].set_title(f"{model} on {task}, {level:.0%} intervals")
    return figure


def _intervals(axis: Axes, part: pd.DataFrame, variants: Sequence[str]) -> None:
    look = styles(variants)
    for position, variant in enumerate(variants):
        runs = part[part["variant"] == variant]
        spread = np.linspace(-0.22, 0.22, len(runs)) if len(runs) != 1 else [0.0]
        for offset, run in zip(spread, runs.itertuples(), strict=True):
            y, colour = position + offset, look[variant].colour
            axis.plot([run.low, run.high], [y, y], color=colour, lw=2, alpha=0.6)
            size = 7 if len(runs) == 1 else 4
            axis.plot(run.mean, y, look[variant].marker, color=colour, ms=size)
            if len(runs) == 1:
                axis.annotate(
                    f"{run.mean:.2f}", (run.mean, y), xytext=(0, 6), textcoords="offset points",
                    ha="center", fontsize=8, color=colour,
                )  # fmt: skip
    axis.set_yticks(range(len(variants)), variants)
    axis.set_ylim(len(variants) - 0.5, -0.8)
    axis.set_xlim(0, 1)
    axis.grid(axis="x", color="#dddddd", lw=0.8)


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
        for run in shown.itertuples():
            _point(axis, run, look[run.variant], hollow=run.variant == reference)
        if len(variants) <= _NAMED:
            _names(axis, shown, look)
        axis.set_xlim(-0.04, 1.04)
        axis.set_ylim(0, 1.02)
        axis.grid(color="#e6e6e6", lw=0.8)
        axis.set_xlabel(
            f"recall of the {shown['heads_b'].max():.0f} positive heads of {reference} data, "
            f"{level:.0%} interval"
        )
        metric = metric_words(part["metric"].iloc[0])
        axis.set_ylabel(f"{metric} on the test set, n = {part['n'].iloc[0]:.0f}")
        told = correlations[(correlations["model"] == model) & (correlations["task"] == task)]
        axis.set_title(f"{model} on {task}{_correlation(told)}")
    marks = [Line2D([], [], color=SOFT, marker="|", ls="", ms=9, label="as many random heads")]
    if len(variants) > _NAMED:
        marks = [
            Line2D([], [], color=colour, marker=marker, ls="", mew=1.6,
                   mfc="white" if variant == reference else colour, label=variant)
            for variant, (colour, marker) in look.items()
        ] + marks  # fmt: skip
    legend(figure, marks, 1.75)
    return figure


def _point(axis: Axes, run: pd.Series, style: Style, *, hollow: bool) -> None:
    colour = style.colour
    axis.plot([run.recall] * 2, [run.low, run.high], color=colour, lw=1.6, alpha=0.45)
    axis.plot([run.recall_low, run.recall_high], [run.mean] * 2, color=colour, lw=1.6, alpha=0.45)
    axis.plot(run.random, run.mean, "|", color=colour, ms=9, mew=1.4, alpha=0.8)
    face = "white" if hollow else colour
    axis.plot(run.recall, run.mean, style.marker, ms=8, color=colour, mfc=face, mew=1.6)


def _names(axis: Axes, shown: pd.DataFrame, look: dict[str, Style]) -> None:
    above = 2.0
    for run in shown.itertuples():
        left = run.recall > 0.85
        drop = 6 if above - run.mean > 0.06 else -12
        axis.annotate(
            run.variant, (run.recall, run.mean), xytext=(-9 if left else 9, drop),
            textcoords="offset points", ha="right" if left else "left", fontsize=9,
            color=look[run.variant].colour,
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
