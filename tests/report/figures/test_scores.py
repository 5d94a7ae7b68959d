"""The figure of recall shows what is known and says what is not defined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from needlework.report.figures.scores import recall_figure, score_points, scores_figure
from needlework.report.figures.style import GROUND, styles
from tests.report.figures.drawn import cut_off, drawing, told

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
    hollow = [m for m in marks(drawn, "o") if m.get_markerfacecolor() == GROUND]
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
        "untuned", *(f"v{i}" for i in range(14)), "as many random heads", "real, the reference"
    ]  # fmt: skip
    assert not many.axes[0].texts
    few = figure(points([0.5, 1.0, 0.2]), correlations())
    assert {text.get_text() for text in few.axes[0].texts} == set(VARIANTS)


def test_a_point_says_its_score_and_recall(tmp_path: Path) -> None:
    said = told(figure(points([0.5, 1.0, 0.2]), correlations()), tmp_path)
    assert (
        "symbolic: token F1 0.40 [0.10, 0.60], n = 64; recall 0.20 [0.10, 0.30], random 0.05"
        in said
    )
    assert len(said) == 3


def tables(models: tuple[str, ...] = ("m",), seeds: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of variants.csv and of scores.csv."""
    metrics = {"t": ["f1", "exact_match"], "summhay": ["citation_f1", "citation_recall"]}
    single = pd.DataFrame(
        {"model": m, "task": t, "variant": v, "seed": s, "metric": q,
         "mean": 0.3 + 0.1 * i + 0.01 * s, "low": 0.0, "high": 1.0, "n": 64}
        for m in models for t in metrics for i, v in enumerate(VARIANTS) for q in metrics[t]
        for s in range(1 if v == "untuned" else seeds)
    )  # fmt: skip
    keys = ["model", "task", "variant", "metric"]
    means = single.groupby(keys, sort=False).agg(mean=("mean", "mean"), seeds=("seed", "size"))
    return means.reset_index().assign(low=lambda t: t["mean"] - 0.1, high=0.62, n=64), single


def test_points_are_the_means_and_the_seeds_where_there_are_several() -> None:
    means, single = tables()
    found = score_points(means, single)
    assert found["seed"].isna().sum() == len(means)
    assert found["seed"].notna().sum() == 4 * 2 * 3  # not of the untuned model
    real = found[(found["variant"] == "real") & (found["metric"] == "f1")]
    assert real["mean"].tolist() == pytest.approx([0.41, 0.4, 0.41, 0.42])
    assert len(score_points(*tables(seeds=1))) == len(means)


def test_every_variant_has_its_row_its_seeds_and_its_number(tmp_path: Path) -> None:
    drawn = scores_figure(score_points(*tables()), VARIANTS, "real", 0.95)
    axis = drawn.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == VARIANTS
    places = {line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines}
    for row, (variant, style) in enumerate(styles(VARIANTS).items()):
        mean = {"untuned": 0.3, "real": 0.41, "symbolic": 0.51}[variant]
        assert places[style.marker] == pytest.approx((mean, row))
    (ticks,) = [line for line in axis.lines if line.get_marker() == "|"]
    assert list(ticks.get_xdata()) == pytest.approx([0.4, 0.41, 0.42, 0.5, 0.51, 0.52])
    assert list(ticks.get_ydata()) == pytest.approx([1.3] * 3 + [2.3] * 3)
    (reference,) = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert list(reference.get_xdata()) == pytest.approx([0.41, 0.41])
    assert axis.get_xlabel() == "token F1, n = 64"
    assert [text.get_text() for text in axis.texts] == ["0.30", "0.41", "0.51"]
    low, high = axis.get_xlim()
    assert low < 0.2 < 0.62 < high
    svg = drawing(drawn, tmp_path)
    assert not cut_off(svg)
    said = [title.text for title in svg.iter() if title.tag.endswith("title")]
    assert said.count("real: 0.41 [0.31, 0.62], n = 64") == 4
    assert said.count("real, seed 2: 0.42") == 4
    assert len(said) == 4 * (3 + 6)


def test_models_stand_side_by_side_until_a_row_is_full() -> None:
    def titles(models: tuple[str, ...]) -> list[str]:
        drawn = scores_figure(score_points(*tables(models)), VARIANTS, "real", 0.95)
        assert drawn.get_figwidth() <= 11
        return [axis.get_title(loc="left").replace("\n", " ") for axis in drawn.axes if axis.axison]

    pair = ["a on t", "a on t", "b on t", "b on t"]
    assert titles(("a", "b")) == [*pair, *(name.replace("t", "summhay") for name in pair)]
    assert titles(("a", "b", "c"))[:6] == [*pair, "c on t", "c on t"]


def test_a_variant_that_a_model_lacks_has_an_empty_row() -> None:
    found = score_points(*tables())
    drawn = scores_figure(found[found["variant"] != "symbolic"], VARIANTS, "real", 0.95)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == VARIANTS
    assert max(line.get_ydata()[0] for line in drawn.axes[0].lines) < 2
