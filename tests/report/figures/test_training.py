"""Loss curves are means of neighbouring steps, and of seeds where there are several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from needlework.report.figures.training import loss_points, training_figure
from tests.report.figures.drawn import cut_off, drawing, told

VARIANTS = ["untuned", "real", "low"]


def curves(steps: int = 4, seeds: int = 1, scale: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "task": "t", "variant": v, "seed": s, "step": step,
         "loss": scale / step + s + i}
        for i, v in enumerate(VARIANTS[1:]) for s in range(seeds) for step in range(1, steps + 1)
    )  # fmt: skip


def test_few_steps_of_one_seed_are_drawn_as_they_are() -> None:
    points = loss_points(curves())
    assert points["step"].tolist() == [1, 2, 3, 4] * 2
    assert points["loss"].tolist() == curves()["loss"].tolist()
    assert points["seed"].tolist() == [0] * 8
    assert set(points["steps"]) == {1}


def test_many_steps_are_put_together_and_none_is_lost() -> None:
    table = curves(steps=130, seeds=2)
    points = loss_points(table)
    for (variant, seed), run in points[points["seed"].notna()].groupby(["variant", "seed"]):
        own = table[(table["variant"] == variant) & (table["seed"] == seed)]
        assert len(run) <= 60
        assert run["steps"].sum() == 130
        assert np.average(run["loss"], weights=run["steps"]) == pytest.approx(own["loss"].mean())
        assert np.average(run["step"], weights=run["steps"]) == pytest.approx(own["step"].mean())
    assert points["step"].iloc[0] == 2  # of 1, 2 and 3


def test_the_line_is_the_mean_over_seeds_the_seeds_are_thin() -> None:
    points = loss_points(curves(seeds=3))
    means = points[points["seed"].isna()]
    assert means["loss"].tolist() == pytest.approx(
        [1 / s + 1 + i for i in (0, 1) for s in (1, 2, 3, 4)]
    )
    axis = training_figure(points, VARIANTS).axes[0]
    widths = [line.get_linewidth() for line in axis.lines]
    assert widths == [0.5, 0.5, 0.5, 1.4] * 2
    thick = [line for line in axis.lines if line.get_linewidth() == 1.4]
    assert list(thick[0].get_ydata()) == means["loss"].tolist()[:4]
    marks = [text.get_text() for text in axis.figure.legends[0].get_texts()]
    assert marks == ["real", "low", "single seeds"]


def test_losses_that_span_a_decade_have_a_logarithmic_axis() -> None:
    def scale(table: pd.DataFrame) -> str:
        return str(training_figure(loss_points(table), VARIANTS).axes[0].get_yscale())

    assert scale(curves()) == "linear"
    assert scale(curves(steps=20, scale=100)) == "log"
    perfect = curves(steps=20, scale=100)
    perfect.loc[0, "loss"] = 0
    assert scale(perfect) == "linear"  # 0 has no logarithm


def test_a_line_says_where_it_begins_and_ends(tmp_path: Path) -> None:
    figure = training_figure(loss_points(curves(seeds=2, steps=20, scale=100)), VARIANTS)
    svg = drawing(figure, tmp_path)
    assert not cut_off(svg)
    assert told(training_figure(loss_points(curves(seeds=2)), VARIANTS), tmp_path) == [
        "real: loss 1.5 at step 1, 0.75 at step 4, 2 seeds",
        "low: loss 2.5 at step 1, 1.75 at step 4, 2 seeds",
    ]
    assert figure.axes[0].get_ylabel() == "loss of a step"


def test_no_training_is_said() -> None:
    figure = training_figure(loss_points(curves().iloc[:0]), VARIANTS)
    assert "No training" in figure.axes[0].texts[0].get_text()
