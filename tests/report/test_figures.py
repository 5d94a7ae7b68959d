"""Figures are drawn from any table a study can give, and the same table gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from needlework.report import figures


def scores(variants: list[str], seeds: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": m, "task": "t", "variant": v, "seed": s, "metric": metric, "mean": 0.5,
         "low": 0.4, "high": 0.6}
        for m in ("one", "two") for metric in ("f1", "exact_match") for v in variants
        for s in range(seeds)
    )  # fmt: skip


def test_same_table_same_bytes(tmp_path: Path) -> None:
    table = scores(["untuned", "real"], 3)
    for name in ("a", "b"):
        figures.save(figures.scores_figure(table, 0.95), table, tmp_path / name / "scores")
    for kind in ("svg", "png", "csv"):
        a, b = ((tmp_path / name / f"scores.{kind}").read_bytes() for name in ("a", "b"))
        assert a == b


def test_one_colour_per_variant_whatever_the_others() -> None:
    assert len(set(figures.colours(["untuned", "a", "b", "c"]).values())) == 4


def test_heads_that_never_copy_are_drawn(tmp_path: Path) -> None:
    table = pd.DataFrame(
        [
            ("m", "t", variant, layer, head, 0.0)
            for variant in ("untuned", "real")
            for layer, head in np.ndindex(3, 2)
        ],
        columns=["model", "task", "variant", "layer", "head", "score"],
    )  # fmt: skip
    figures.save(figures.heads_figure(table), table, tmp_path / "heads")
    assert (tmp_path / "heads.png").stat().st_size > 0


def test_recall_figure_names_an_undefined_correlation(tmp_path: Path) -> None:
    points = pd.DataFrame(
        {"model": "m", "task": "t", "variant": v, "seed": 0, "recall_positive": x,
         "metric": "f1", "mean": 0.2, "low": 0.1, "high": 0.3}
        for v, x in (("untuned", np.nan), ("real", 1.0), ("symbolic", 0.2))
    )  # fmt: skip
    correlations = pd.DataFrame(
        [("m", "t", "f1", "recall_positive", np.nan, np.nan, 1)],
        columns=["model", "task", "metric", "measure", "rho", "p", "n"],
    )
    figure = figures.recall_figure(points, correlations, "recall_positive", "real")
    assert "ρ undefined, N = 1" in figure.axes[0].get_title(loc="left")
