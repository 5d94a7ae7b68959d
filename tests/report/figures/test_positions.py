"""Places and lengths are read from the tables as they are, and every point says its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from needlework.report.figures.positions import length_points, places_figure, position_points
from needlework.report.figures.style import styles
from tests.report.figures.drawn import cut_off, drawing, told

VARIANTS = ["untuned", "real", "low"]


def variants(*conditions: str, task: str = "mdqa", **given: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "task": task, "variant": v, "condition": c, "metric": metric,
         "mean": 0.2 + 0.1 * i + 0.01 * j, "low": 0.1 + 0.1 * i, "high": 0.4 + 0.1 * i, "n": 800}
        | given
        for j, c in enumerate(conditions) for i, v in enumerate(VARIANTS)
        for metric in ("best_subspan_em", "f1")
    )  # fmt: skip


def depths(task: str = "mdqa", seeds: int = 1) -> pd.DataFrame:
    bins = [("plain", f"{i / 5:.1f}-{(i + 1) / 5:.1f}", None, None) for i in range(5)]
    placed = [("position1of20", "all", 20, 1), ("position10of20", "all", 20, 10),
              ("random-position1of20", "all", 20, 1)]  # fmt: skip
    other = [("plain", "none", None, None), ("length128", "0.0-0.2", None, None)]
    return pd.DataFrame(
        {"model": "m", "task": task, "variant": v, "seed": s, "condition": c, "metric": metric,
         "bin": b, "documents": d, "position": p, "mean": 0.3 + 0.1 * i + 0.02 * j + 0.01 * s,
         "low": 0.2 + 0.1 * i - 0.01 * s, "high": 0.6 + 0.1 * i, "n": 100 + j, "n_clusters": 9}
        for i, v in enumerate(VARIANTS) for s in range(1 if v == "untuned" else seeds)
        for j, (c, b, d, p) in enumerate([*bins, *placed, *other])
        for metric in ("best_subspan_em", "f1")
    )  # fmt: skip


def test_bins_and_places_are_views_in_the_metric_that_decides() -> None:
    found = position_points(depths(), variants("plain"))
    assert set(found["metric"]) == {"best_subspan_em"}
    one = found[found["variant"] == "real"]
    assert [tuple(row) for row in one[["view", "place"]].to_numpy()] == [
        *(("depth", place) for place in (0.1, 0.3, 0.5, 0.7, 0.9)),
        ("20 documents", 1), ("20 documents", 10), ("20 documents, random", 1),
    ]  # fmt: skip
    assert one["mean"].tolist() == pytest.approx([0.4 + 0.02 * j for j in range(8)])
    assert one["n"].tolist() == [100 + j for j in range(8)]


def test_seeds_are_put_together_with_the_widest_interval() -> None:
    found = position_points(depths(seeds=3), variants("plain"))
    first = found[found["variant"] == "real"].iloc[0]
    assert first["mean"] == pytest.approx(0.41)
    assert (first["low"], first["high"]) == pytest.approx((0.28, 0.7))


def test_panels_of_one_model_and_task_stand_together() -> None:
    both = pd.concat([depths(), depths("musique")])
    tasks = pd.concat([variants("plain"), variants("plain", task="musique")])
    order = position_points(both, tasks)[["task", "view"]].drop_duplicates()
    assert order["task"].tolist() == ["mdqa"] * 3 + ["musique"] * 3


def test_the_plain_test_is_the_studys_own_length() -> None:
    table = variants("plain", "length512", "length128", "random", "random-length128", "closed_book")
    found = length_points(table, 1024)
    one = found[found["variant"] == "low"]
    assert [tuple(row) for row in one[["view", "place"]].to_numpy()[:5]] == [
        ("length", 128), ("length, random", 128), ("length", 512), ("length", 1024),
        ("length, random", 1024),
    ]  # fmt: skip
    assert one["view"].iloc[5] == "closed_book"
    assert np.isnan(one["place"].iloc[5])
    by_condition = table[(table["variant"] == "low") & (table["metric"] == "best_subspan_em")]
    means = by_condition.set_index("condition")["mean"]
    names = ["length128", "random-length128", "length512", "plain", "random", "closed_book"]
    assert one["mean"].tolist() == means[names].tolist()


def test_conditions_that_are_no_length_are_no_points() -> None:
    assert length_points(variants("plain", "position1of20", "random"), 1024).empty
    told_so = places_figure(length_points(variants("plain"), 1024), VARIANTS, 0.95)
    assert told_so.axes[0].texts[0].get_text() == "No answer has a place that is known."


def test_questions_without_a_needle_alone_make_a_figure_that_says_so() -> None:
    table = depths()
    points = position_points(table[table["bin"] == "none"], variants("plain", "closed_book"))
    assert points.empty
    assert places_figure(points, VARIANTS, 0.95).axes[0].texts


def test_every_point_and_line_says_what_the_table_says(tmp_path: Path) -> None:
    points = position_points(depths(), variants("plain", "closed_book"))
    figure = places_figure(points, VARIANTS, 0.95)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "m\non mdqa", "m\non mdqa", "m\non mdqa, random distractors"
    ]  # fmt: skip
    line = figure.axes[0].lines[1]
    real = points[(points["variant"] == "real") & (points["view"] == "depth")]
    assert list(line.get_xdata()) == real["place"].tolist()
    assert list(line.get_ydata()) == real["mean"].tolist()
    assert line.get_color() == styles(VARIANTS)["real"].colour
    assert figure.axes[0].get_ylabel() == "best subspan EM, n = 100 to 104"
    assert figure.axes[1].get_xlabel() == "place of gold among 20 documents"
    ends = figure.axes[0].get_ylim()
    assert ends[0] < points["low"].min() < points["high"].max() < ends[1]
    said = told(figure, tmp_path)
    assert said[:2] == [
        "untuned, depth 0.0 to 0.2: 0.30 [0.20, 0.60], n = 100",
        "untuned, depth 0.2 to 0.4: 0.32 [0.20, 0.60], n = 101",
    ]
    assert "real, place 10: 0.52 [0.30, 0.70], n = 106" in said
    assert said.count("low, without documents: 0.41 [0.30, 0.60], n = 800") == 3
    assert len(said) == 3 * 8 + 3 * 3


def test_nothing_is_cut_off_beside_long_names(tmp_path: Path) -> None:
    points = length_points(variants("plain", "random-length16384", "closed_book"), 32768)
    points["model"] = "mistral-7b-instruct-v0.1"
    figure = places_figure(points, VARIANTS, 0.95)
    assert not cut_off(drawing(figure, tmp_path))
