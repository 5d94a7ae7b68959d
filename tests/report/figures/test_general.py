"""General abilities: differences from the untuned model, with what counts as none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes

from needlework.report.figures.general import general_figure, general_points
from needlework.report.figures.style import GROUND
from tests.report.figures.drawn import cut_off, drawing, told

VARIANTS = ["untuned", "real", "low"]


def general(seeds: int = 1, models: tuple[str, ...] = ("m",), **given: Any) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for model in models:
        for benchmark, n in (("mmlu", 1000), ("gsm8k", 1319)):
            where = {"model": model, "benchmark": benchmark, "metric": "exact_match", "n": n}
            mean = {"mean": 0.5, "low": 0.4, "high": 0.6}  # not what is drawn
            rows.append(where | mean | {"task": "t", "variant": "untuned", "seed": 0})
            for task in ("t", "u"):
                for i, variant in enumerate(VARIANTS[1:]):
                    for seed in range(seeds):
                        change = -0.01 * i + 0.001 * seed
                        rows.append(where | mean | {
                            "task": task, "variant": variant, "seed": seed, "difference": change,
                            "difference_low": change - 0.01, "difference_high": change + 0.01,
                            "p": 0.3, "p_adjusted": 0.4, "margin": 0.02, "p_equivalence": 0.01,
                            "p_equivalence_adjusted": 0.01 + 0.02 * seed,
                        } | given)  # fmt: skip
    return pd.DataFrame(rows)


def markers(axis: Axes, variant: int) -> list[Any]:
    return [line for line in axis.lines if line.get_marker() == "os"[variant]]


def test_one_seed_is_one_row_and_the_untuned_model_none() -> None:
    points = general_points(general())
    assert len(points) == 2 * 2 * 2
    assert set(points["variant"]) == {"real", "low"}
    assert points["seed"].isna().all()
    low = points[points["variant"] == "low"]
    assert low[["difference", "low", "high"]].iloc[0].tolist() == pytest.approx([-0.01, -0.02, 0.0])


def test_over_seeds_the_widest_interval_and_the_weakest_proof() -> None:
    points = general_points(general(seeds=3))
    means = points[points["seed"].isna()]
    assert len(points) == 8 + 8 * 3
    first = means.iloc[0]
    assert first["difference"] == pytest.approx(0.001)
    assert (first["low"], first["high"]) == pytest.approx((-0.01, 0.012))
    assert first["p_equivalence_adjusted"] == pytest.approx(0.05)


def test_marks_are_filled_only_where_equivalence_is_shown(tmp_path: Path) -> None:
    for p, filled in ((0.049, True), (0.05, False)):
        table = general_points(general(p_equivalence_adjusted=p))
        axis = general_figure(table, VARIANTS, 0.05, 0.95).axes[0]
        faces = {line.get_markerfacecolor() for line in markers(axis, 0)}
        assert (faces != {GROUND}) == filled


def test_a_star_stands_where_a_difference_is_shown() -> None:
    for p, count in ((0.049, 4), (0.05, 0)):
        axis = general_figure(general_points(general(p_adjusted=p)), VARIANTS, 0.05, 0.95).axes[0]
        assert len([line for line in axis.lines if line.get_marker() == (6, 2, 0)]) == count


def test_rows_are_tasks_by_variants_and_panels_models_by_benchmarks(tmp_path: Path) -> None:
    points = general_points(general(models=("one", "two"), seeds=2))
    figure = general_figure(points, VARIANTS, 0.05, 0.95)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "mmlu\none", "gsm8k\none", "mmlu\ntwo", "gsm8k\ntwo"
    ]  # fmt: skip
    names = ["real · t", "low · t", "real · u", "low · u"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names
    assert [line.get_ydata()[0] for line in markers(figure.axes[0], 1)] == [1, 3]
    assert figure.axes[1].get_xlabel() == "change of exact match,\nn = 1319"
    (margin,) = figure.axes[0].patches
    assert (margin.get_x(), margin.get_width()) == pytest.approx((-0.02, 0.04))
    said = told(figure, tmp_path)
    assert "within ±0.02: counts as none" in said
    assert "low, seed 1: -0.009" in said
    change = "low on u, gsm8k: -0.010 [-0.020, +0.001], n = 1319"
    assert [text for text in said if text.startswith(change)] == [
        f"{change}; adjusted p 0.4, of equivalence 0.03"
    ] * 2
    assert not cut_off(drawing(general_figure(points, VARIANTS, 0.05, 0.95), tmp_path))


def test_a_study_that_asked_only_the_untuned_model_says_so() -> None:
    table = general()
    points = general_points(table[table["variant"] == "untuned"])
    assert (
        "No general ability"
        in general_figure(points, VARIANTS, 0.05, 0.95).axes[0].texts[0].get_text()
    )
