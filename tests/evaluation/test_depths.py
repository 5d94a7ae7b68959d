"""Scores by depth: every row is in one bin, and the intervals are those of the bootstrap."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.evaluation.depths import DEPTH_COLUMNS, depth_table
from needlework.statistics import PairedBootstrap

_BINS = ["0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0"]
Answered = tuple[float | None, bool]


def _write(path: Path, answered: Sequence[Answered], said: str = "Lima") -> Path:
    """Rows of (depth, whether the answer is right); two of them in each cluster."""
    rows = [
        {
            "id": f"{i}", "cluster": f"c{i // 2}", "question": "?", "answers": ["Lima"],
            "prediction": said if right else "Oslo", "stopped_by": "end", "prompt_tokens": 9,
            "documents": 3, "gold": [1], "depth": depth,
        }
        for i, (depth, right) in enumerate(answered)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _table(*paths: Path) -> pd.DataFrame:
    return depth_table(paths, resamples=200, level=0.6, seed=3)


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 1, exclude_max=True), st.booleans()), min_size=1)
)
def test_every_row_is_in_the_bin_of_its_depth(
    tmp_path_factory: pytest.TempPathFactory, answered: list[Answered]
) -> None:
    folder = tmp_path_factory.mktemp("depths")
    table = _table(_write(folder / "m/musique/real/seed1/plain.jsonl", answered))
    assert list(table.columns) == DEPTH_COLUMNS
    assert set(table["metric"]) == {"f1"}
    assert table["n"].sum() == len(answered)
    for _, line in table.iterrows():
        if line["bin"] == "none":
            inside = [right for depth, right in answered if depth is None]
        else:
            low, high = map(float, line["bin"].split("-"))
            inside = [
                right for depth, right in answered if depth is not None and low <= depth < high
            ]
        assert line["n"] == len(inside)
        assert line["mean"] == pytest.approx(np.mean(inside))


def test_an_interval_is_that_of_the_clusters_of_the_bin(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    answered = [(float(depth), bool(rng.random() < depth)) for depth in rng.random(60)]
    table = _table(_write(tmp_path / "m/musique/real/seed1/plain.jsonl", answered))
    assert list(table["bin"]) == _BINS
    line = table.set_index("bin").loc["0.4-0.6"]
    inside = [i for i, (depth, _) in enumerate(answered) if 0.4 <= depth < 0.6]
    clusters = [f"c{i // 2}" for i in inside]
    values = [[float(answered[i][1])] for i in inside]
    expected = PairedBootstrap(values, clusters, resamples=200, seed=3).interval(0, 0.6)
    assert (line["mean"], line["low"], line["high"]) == expected
    assert (line["n"], line["n_clusters"]) == (len(inside), len(set(clusters)))
    assert line["low"] < line["mean"] < line["high"]


def test_runs_that_share_resamples_have_the_rows_they_have_alone(tmp_path: Path) -> None:
    """Models cut a prompt differently, so that their bins hold other items."""
    rng = np.random.default_rng(1)
    paths = []
    for model, shift in (("m", 0.0), ("n", 0.15)):
        for variant in ("untuned", "real"):
            answered = [(i / 40 * 0.85 + shift, bool(rng.random() < 0.5)) for i in range(40)]
            folder = tmp_path / model / "mdqa" / variant / "seed0"
            names = ("plain", "position1of3")
            paths += [_write(folder / f"{name}.jsonl", answered) for name in names]
    alone = pd.concat([_table(path) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(_table(*paths), alone, check_exact=True)


def test_a_condition_that_fixes_the_place_is_one_bin(tmp_path: Path) -> None:
    answered: list[Answered] = [(0.1, True), (0.3, False), (0.5, True), (None, True)]
    folder = tmp_path / "m/musique/real/seed1"
    names = ["plain", "position5of20", "random-position1of10", "closed_book", "length4096"]
    table = _table(*(_write(folder / f"{name}.jsonl", answered) for name in names))
    placed = table[table["bin"] == "all"].set_index("condition")
    assert list(placed.index) == ["position5of20", "random-position1of10"]
    assert list(placed["position"]) == [5, 1]
    assert list(placed["documents"]) == [20, 10]
    assert list(placed["n"]) == [4, 4]
    others = table[table["bin"] != "all"]
    assert set(others["condition"]) == {"plain", "closed_book", "length4096"}
    assert others[["position", "documents"]].isna().all(axis=None)
    assert list(others[others["condition"] == "plain"]["bin"]) == [*_BINS[:3], "none"]


def test_the_metrics_are_the_main_one_and_that_of_liu(tmp_path: Path) -> None:
    paths = [
        _write(tmp_path / f"m/{task}/{variant}/seed{seed}/plain.jsonl", [(0.5, True)], "in Lima")
        for task, variant, seed in [("mdqa", "real", 1), ("musique", "untuned", 0)]
    ]
    table = _table(*paths)
    assert list(zip(table["task"], table["metric"], table["mean"].round(6), strict=True)) == [
        ("mdqa", "f1", 0.666667), ("mdqa", "best_subspan_em", 1.0), ("musique", "f1", 0.666667),
    ]  # fmt: skip
    assert list(zip(table["variant"], table["seed"], strict=True)) == [
        ("real", 1), ("real", 1), ("untuned", 0),
    ]  # fmt: skip


def test_the_command_writes_the_table(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[Answered] = [(0.1, True), (0.15, False), (0.9, True)]
    path = _write(tmp_path / "m/musique/real/seed1/plain.jsonl", answered)
    placed = _write(tmp_path / "m/musique/real/seed1/position2of3.jsonl", answered)
    monkeypatch.setattr(sys, "argv", [
        "compute_depths", "--predictions", str(path), str(placed), "--resamples", "200",
        "--level", "0.9", "--seed", "3", "--output", str(tmp_path / "depths.csv"),
    ])  # fmt: skip
    runpy.run_path(str(root / "scripts/compute_depths.py"), run_name="__main__")
    lines = (tmp_path / "depths.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(DEPTH_COLUMNS)
    assert [line.split(",")[6:10] for line in lines[1:]] == [
        ["0.0-0.2", "", "", "0.5"], ["0.8-1.0", "", "", "1"], ["all", "3", "2", "0.666667"],
    ]  # fmt: skip
