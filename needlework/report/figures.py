"""The figures of a report, each from the table of numbers that is written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from needlework.atomic import atomic_path, write_text
from needlework.report.findings import metric_words

# Okabe and Ito's palette: distinct to colour-blind readers. Gray is the untuned model.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
_UNTUNED = "#7a7a7a"

matplotlib.use("svg")
plt.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "svg.hashsalt": "needlework",  # the same figure gives the same bytes
    }
)


def colours(variants: Sequence[str]) -> dict[str, str]:
    """One colour per variant, the same in every figure of a study."""
    trained = [variant for variant in variants if variant != "untuned"]
    named = {v: _COLOURS[i % len(_COLOURS)] for i, v in enumerate(trained)}
    return {"untuned": _UNTUNED} | named


def save(figure: Figure, table: pd.DataFrame, path: Path) -> None:
    """Write `path`.svg, `path`.png and the numbers behind them, `path`.csv."""
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        with atomic_path(path.with_suffix(f".{kind}")) as temporary:
            figure.savefig(temporary, dpi=160, metadata=metadata)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False, float_format="%.6g"))
    plt.close(figure)


def _facets(table: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    return [(key, part) for key, part in table.groupby(["model", "task"], sort=False)]


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    return plt.subplots(
        rows, columns, squeeze=False, figsize=(width * columns, max(1.6, height) * rows)
    )


def scores_figure(scores: pd.DataFrame, level: float) -> Figure:
    """Mean of every metric per run with its interval; one row of panels per model and task."""
    facets = _facets(scores)
    variants = list(scores["variant"].unique())
    most = max(part["metric"].nunique() for _, part in facets)
    figure, axes = _grid(len(facets), most, 4.2, 0.9 + 0.42 * len(variants))
    for row, (key, part) in enumerate(facets):
        metrics = list(part["metric"].unique())
        for unused in axes[row, len(metrics) :]:
            unused.set_axis_off()
        for column, metric in enumerate(metrics):
            axis = axes[row, column]
            _intervals(axis, part[part["metric"] == metric], variants)
            axis.set_xlabel(f"{metric_words(metric)}, {level:.0%} interval")
            if column == 0:
                axis.set_title(f"{key[0]} on {key[1]}", loc="left", fontsize=10)
            else:
                axis.tick_params(labelleft=False)
    return figure


def _intervals(axis: Axes, part: pd.DataFrame, variants: Sequence[str]) -> None:
    palette = colours(variants)
    for position, variant in enumerate(variants):
        runs = part[part["variant"] == variant]
        for offset, run in zip(_spread(len(runs)), runs.itertuples(), strict=True):
            y = position + offset
            axis.plot([run.low, run.high], [y, y], color=palette[variant], lw=2.5, alpha=0.6)
            axis.plot(run.mean, y, "o", color=palette[variant], ms=7)
            if len(runs) == 1:
                label = f"{run.mean:.2f}"
                axis.annotate(
                    label, (run.mean, y), xytext=(0, 7), textcoords="offset points",
                    ha="center", fontsize=8, color=palette[variant],
                )  # fmt: skip
    axis.set_yticks(range(len(variants)), variants)
    axis.set_ylim(len(variants) - 0.5, -0.7)
    axis.set_xlim(0, 1)
    axis.grid(axis="x", color="#dddddd", lw=0.8)
    axis.set_axisbelow(True)


def _spread(count: int) -> list[float]:
    return [0.0] if count == 1 else list(np.linspace(-0.2, 0.2, count))


def heads_figure(heads: pd.DataFrame, level_of_wu: float = 0.1) -> Figure:
    """Mean retrieval score of every head, a map of layers by heads per variant.

    Args:
        heads: rows of model, task, variant, layer, head, score (averaged over seeds).
        level_of_wu: heads above this score are framed (Wu et al. call them retrieval heads).
    """
    facets = _facets(heads)
    variants = list(heads["variant"].unique())
    layers = int(heads["layer"].max()) + 1
    figure, axes = _grid(len(facets), len(variants), 1.9, 1.0 + 0.115 * layers)
    for row, (key, part) in enumerate(facets):
        highest = max(float(part["score"].max()), level_of_wu)
        for column, variant in enumerate(variants):
            axis = axes[row, column]
            chosen = part[part["variant"] == variant]
            grid = chosen.pivot(index="layer", columns="head", values="score").to_numpy()
            image = axis.imshow(
                grid, vmin=0, vmax=highest, cmap="magma_r", aspect="auto", interpolation="nearest"
            )
            for layer, head in np.argwhere(grid >= level_of_wu):
                axis.add_patch(
                    Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, ec="#0072B2", lw=0.7)
                )
            axis.set_title(variant, fontsize=10)
            axis.set_xlabel("head")
            axis.spines[:].set_visible(False)
            if column == 0:
                axis.set_ylabel(f"layer\n{key[0]}, {key[1]}")
            else:
                axis.tick_params(labelleft=False)
        figure.colorbar(image, ax=axes[row], label="mean retrieval score", shrink=0.8)
    return figure


def recall_figure(
    points: pd.DataFrame, correlations: pd.DataFrame, measure: str, reference: str
) -> Figure:
    """Score against the recall of the reference's heads, one point per variant.

    Args:
        points: rows of model, task, variant, `measure`, mean, low, high.
        correlations: the table that gives rho, p and N of each panel.
        measure: column of `points` on the horizontal axis.
        reference: the variant whose heads are wanted; shown hollow, not in the correlation.
    """
    facets = _facets(points)
    palette = colours(list(points["variant"].unique()))
    figure, axes = _grid(1, len(facets), 5.6, 4.2)
    for axis, (key, part) in zip(axes[0], facets, strict=True):
        above = 2.0
        for run in part.sort_values("mean", ascending=False).itertuples():
            x, colour = getattr(run, measure), palette[run.variant]
            axis.plot([x, x], [run.low, run.high], color=colour, lw=2, alpha=0.5)
            face = "white" if run.variant == reference else colour
            axis.plot(x, run.mean, "o", ms=9, color=colour, mfc=face, mew=1.8)
            left = x > 0.75
            drop = 6 if above - run.mean > 0.06 else -12
            axis.annotate(
                run.variant, (x, run.mean), xytext=(-9 if left else 9, drop),
                textcoords="offset points", ha="right" if left else "left", color=colour,
            )  # fmt: skip
            above = run.mean  # two labels at the same height would hide each other
        axis.set_xlim(-0.05, 1.08)
        axis.set_ylim(0, 1.02)
        axis.grid(color="#e6e6e6", lw=0.8)
        axis.set_axisbelow(True)
        axis.set_xlabel(f"recall of the {reference}-data retrieval heads")
        axis.set_ylabel(f"{metric_words(part['metric'].iloc[0])} on the real test set")
        axis.set_title(f"{key[0]} on {key[1]}: {_correlation(correlations, key, measure)}",
                       loc="left", fontsize=10)  # fmt: skip
    return figure


def _correlation(correlations: pd.DataFrame, key: tuple[str, str], measure: str) -> str:
    match = (
        (correlations["model"] == key[0])
        & (correlations["task"] == key[1])
        & (correlations["measure"] == measure)
    )
    if not match.any():
        return ""
    row = correlations[match].iloc[0]
    if np.isnan(row["rho"]):
        return f"ρ undefined, N = {int(row['n'])}"
    return f"ρ = {row['rho']:.2f}, p = {row['p']:.2f}, N = {int(row['n'])}"
