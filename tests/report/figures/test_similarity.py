"""Matrices are in the study's order; agreement is drawn over sizes, predictions dashed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from needlework.report.figures.similarity import (
    reliability_figure,
    reliability_points,
    similarity_figure,
)
from tests.report.figures.drawn import cut_off, drawing, told

VARIANTS = ["untuned", "real"]


def matrix(values: dict[tuple[str, str, str, str], float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "task_a": key[0], "variant_a": key[1], "task_b": key[2],
         "variant_b": key[3], "value": value, "low": 0.0, "high": 1.0, "random": 0.25}
        for key, value in values.items()
    )  # fmt: skip


def test_rows_are_tasks_by_variants_in_the_order_of_the_study() -> None:
    drawn = similarity_figure(
        matrix({("u", "real", "t", "untuned"): 0.3, ("t", "untuned", "u", "real"): 0.3}),
        ["t", "u"], VARIANTS,
    )  # fmt: skip
    axis = drawn.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "untuned · t", "real · t", "untuned · u", "real · u"
    ]  # fmt: skip
    shown = axis.collections[0].get_array().filled(-1)
    assert shown[0, 3] == shown[3, 0] == 0.3
    assert (shown == -1).sum() == 14
    printed = [text.get_text() for text in axis.texts]
    assert printed.count("0.30") == 2
    assert printed.count("–") == 14
    labels = [float(label.get_position()[1]) for label in axis.get_yticklabels()]
    assert labels == [0.5, 1.5, 2.5, 3.5]
    assert axis.get_ylim() == (4, 0)  # the first row on top


def test_one_task_needs_no_name_in_the_labels_and_chance_is_in_the_colour_bar() -> None:
    drawn = similarity_figure(matrix({("t", "real", "t", "untuned"): 0.3}), ["t"], VARIANTS)
    assert [label.get_text() for label in drawn.axes[0].get_xticklabels()] == VARIANTS
    assert [list(line.get_ydata()) for line in drawn.axes[1].lines][-1] == [0.25, 0.25]


def test_no_value_is_printed_where_they_would_not_be_legible() -> None:
    names = [f"v{i}" for i in range(13)]
    drawn = similarity_figure(matrix({("t", "v0", "t", "v1"): 0.5}), ["t"], names)
    assert not drawn.axes[0].texts


def test_every_cell_says_whose_it_is(tmp_path: Path) -> None:
    table = matrix({("t", "real", "t", "untuned"): 0.3, ("t", "untuned", "t", "untuned"): 1.0})
    figure = similarity_figure(table, ["t"], VARIANTS)
    svg = drawing(figure, tmp_path)
    assert not cut_off(svg)
    assert [title.text for title in svg.iter() if title.tag.endswith("title")] == [
        "untuned, untuned: 1.00 [0.00, 1.00]", "untuned, real: not compared",
        "real, untuned: 0.30 [0.00, 1.00]", "real, real: not compared", "chance: 0.25",
    ]  # fmt: skip


def reliability(**given: Any) -> pd.DataFrame:
    rows = [
        {"examples": size, "value": value, "low": value - 0.1, "high": value + 0.1,
         "predicted": size > 8}
        for size, value in ((2, 0.4), (4, 0.6), (8, 0.8), (16, 0.95))
    ]  # fmt: skip
    where = {"model": "m", "task": "t", "variant": "real", "seed": 0, "measure": "cosine"}
    return pd.DataFrame([where | row | given for row in rows])


def dashed(axis: Axes) -> list[list[float]]:
    return [list(line.get_xdata()) for line in axis.lines if line.get_linestyle() == "--"]


def test_what_was_measured_is_a_line_what_is_predicted_goes_on_dashed() -> None:
    axis = reliability_figure(reliability_points(reliability()), VARIANTS).axes[0]
    measured = [line for line in axis.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in measured] == [[2, 4, 8]]
    assert dashed(axis) == [[8, 16]]
    dotted = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert [list(line.get_ydata()) for line in dotted] == [[0.9, 0.9]]
    assert axis.get_xlabel() == "probe examples"
    assert list(axis.get_xticks()) == [2, 4, 8, 16]


def test_measures_without_a_number_say_so() -> None:
    table = pd.concat([reliability(), reliability(measure="spearman", value=np.nan)])
    drawn = reliability_figure(reliability_points(table), VARIANTS)
    assert [len(axis.texts) for axis in drawn.axes] == [0, 1, 1]


def test_a_probe_that_cannot_be_halved_is_no_point() -> None:
    points = reliability_points(reliability(examples=0, value=np.nan))
    assert points.empty
    drawn = reliability_figure(points, VARIANTS)
    assert "No probe has examples enough" in drawn.axes[0].texts[0].get_text()


def test_seeds_of_a_probe_are_put_together(tmp_path: Path) -> None:
    table = pd.concat([reliability(), reliability(seed=1).assign(low=0.0, value=1.0)])
    points = reliability_points(table)
    assert points["value"].tolist() == [0.7, 0.8, 0.9, 0.975]
    assert points["low"].tolist() == [0.0] * 4
    said = told(reliability_figure(points, VARIANTS), tmp_path)
    assert said == [
        "real, 2 examples: 0.70 [0.00, 0.50]",
        "real, 4 examples: 0.80 [0.00, 0.70]",
        "real, 8 examples: 0.90 [0.00, 0.90]",
        "real, 16 examples: 0.97 [0.00, 1.05], predicted",
    ]
