"""The figure of recall shows what is known and says what is not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from needlework.report.figure_scores import recall_figure, scores_figure

VARIANTS = ["untuned", "real", "symbolic"]
CORRELATIONS = ["model", "task", "metric", "set", "measure", "method", "r", "low", "high", "p", "n"]


def points(recalls: list[float], names: list[str] = VARIANTS) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "task": "t", "variant": v, "metric": "f1", "mean": 0.2 + 0.1 * i,
         "low": 0.1, "high": 0.6, "n": 64, "recall": x, "recall_low": x - 0.1,
         "recall_high": x + 0.1, "random": 0.05, "heads_a": 9, "heads_b": 12, "shared": 3}
        for i, (v, x) in enumerate(zip(names, recalls, strict=True))
    )  # fmt: skip


def correlations(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [("m", "t", "f1", of, "recall", method, r, -0.5, 0.9, 0.21, 4) for of, method, r in rows],
        columns=CORRELATIONS,
    )


def figure(table: pd.DataFrame, told: pd.DataFrame, variants: list[str] = VARIANTS) -> Figure:
    return recall_figure(table, told, variants=variants, reference="real", level=0.95)


def marks(drawn: Figure, marker: str) -> list[Any]:
    return [line for line in drawn.axes[0].lines if line.get_marker() == marker]


def test_the_title_tells_of_positive_heads_by_both_methods() -> None:
    told = correlations(
        ("above", "spearman", 0.1), ("positive", "spearman", 0.8), ("positive", "pearson", 0.7)
    )
    assert figure(points([0.5, 1.0, 0.2]), told).axes[0].get_title(loc="left").split("\n") == [
        "m on t, N = 4 variants",
        "Spearman ρ 0.80 [-0.50, 0.90], p = 0.21",
        "Pearson r 0.70 [-0.50, 0.90], p = 0.21",
    ]


def test_an_undefined_correlation_is_named() -> None:
    drawn = figure(points([0.5, 1.0, 0.2]), correlations(("positive", "spearman", np.nan)))
    assert "Spearman ρ undefined" in drawn.axes[0].get_title(loc="left")


def test_the_reference_is_hollow_and_chance_is_marked() -> None:
    drawn = figure(points([0.5, 1.0, 0.2]), correlations())
    hollow = [m for m in marks(drawn, "o") if m.get_markerfacecolor() == "white"]
    assert [m.get_xdata()[0] for m in hollow] == [1.0]
    assert [m.get_xdata()[0] for m in marks(drawn, "|")] == [0.05] * 3
    assert "12 positive heads of real data" in drawn.axes[0].get_xlabel()
    assert "n = 64" in drawn.axes[0].get_ylabel()


def test_recall_that_is_not_defined_is_said_not_drawn() -> None:
    drawn = figure(points([np.nan] * 3), correlations())
    assert not drawn.axes[0].lines
    assert "no head has a positive score" in drawn.axes[0].texts[0].get_text()


def test_many_variants_have_a_legend_few_have_names_beside_them() -> None:
    names = ["untuned", "real", *(f"v{i}" for i in range(14))]
    many = figure(points([1.0] * 16, names), correlations(), names)
    assert [text.get_text() for text in many.legends[0].get_texts()] == [
        *names, "as many random heads"
    ]  # fmt: skip
    assert not many.axes[0].texts
    few = figure(points([0.5, 1.0, 0.2]), correlations())
    assert {text.get_text() for text in few.axes[0].texts} == set(VARIANTS)


def test_scores_of_seeds_stand_apart_and_every_variant_has_its_row() -> None:
    table = pd.DataFrame(
        {"model": "m", "task": "t", "variant": v, "seed": s, "metric": "f1", "mean": 0.5,
         "low": 0.4, "high": 0.6, "n": 64}
        for v in ("real", "symbolic") for s in range(3)
    )  # fmt: skip
    axis = scores_figure(table, VARIANTS, 0.95).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == VARIANTS
    heights = [line.get_ydata()[0] for line in axis.lines if len(line.get_xdata()) == 1]
    assert len(set(heights)) == 6
    assert all(0.5 < y < 2.5 for y in heights)
    assert axis.get_xlabel() == "token F1, n = 64"
