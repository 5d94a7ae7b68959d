"""The same table gives the same bytes, and every variant has a style of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from needlework.report import figures
from needlework.report.figure_scores import scores_figure


def test_same_table_same_bytes(tmp_path: Path) -> None:
    variants = ["untuned", "real"]
    table = pd.DataFrame(
        {"model": m, "task": "t", "variant": v, "seed": s, "metric": metric, "mean": 0.5,
         "low": 0.4, "high": 0.6, "n": 9}
        for m in ("one", "two") for metric in ("f1", "exact_match") for v in variants
        for s in range(3)
    )  # fmt: skip
    for name in ("a", "b"):
        figures.save(scores_figure(table, variants, 0.95), table, tmp_path / name / "scores")
    for kind in ("svg", "png", "csv"):
        a, b = ((tmp_path / name / f"scores.{kind}").read_bytes() for name in ("a", "b"))
        assert a == b


def test_a_dot_in_a_name_is_no_file_ending(tmp_path: Path) -> None:
    figures.save(figures.nothing("why"), pd.DataFrame({"x": [1]}), tmp_path / "heads-llama-3.1-8b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"heads-llama-3.1-8b.{kind}" for kind in ("csv", "png", "svg")
    ]


def test_every_variant_of_the_largest_study_has_its_own_style() -> None:
    variants = ["untuned", *(f"v{i}" for i in range(30))]
    styles = figures.styles(variants)
    assert list(styles) == variants
    assert len(set(styles.values())) == 31


def test_panels_are_filled_row_by_row() -> None:
    figure, axes = figures.panels(5, 4, 2.0, 1.0)
    assert len(axes) == 5
    assert tuple(figure.get_size_inches()) == (8.0, 2.0)
    assert [axis.axison for axis in figure.axes] == [True] * 5 + [False] * 3
    figure, _ = figures.panels(2, 4, 2.0, 1.0)
    assert tuple(figure.get_size_inches()) == (4.0, 1.0)
