"""The table of head similarity: by hand, where there is no number, and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import distance

from needlework.heads.score_file import Layer
from tests.heads.compared import KEYS, drawn, probe_file, row_of, table_of

pytestmark = pytest.mark.filterwarnings("error")

Floats = NDArray[np.float64]

_COLUMNS = [
    "model", "task_a", "variant_a", "seed_a", "task_b", "variant_b", "seed_b", "set", "measure",
    "value", "low", "high", "random", "random_layer",
    "heads_a", "heads_b", "shared", "n_a", "n_b",
]  # fmt: skip


# --- Values ------------------------------------------------------------------------------------


def test_a_pair_by_hand(tmp_path: Path) -> None:
    real = np.array([[0.4, 0.2, 0.05], [0.0, 0.0, 0.3]])
    symbolic = np.array([[0.5, 0.0, 0.02], [0.3, 0.04, 0.0]])
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", [real * 2, real * 0]),
            probe_file(tmp_path, "m/t/symbolic/seed1", [symbolic * 2, symbolic * 0]),
        ]
    )
    assert list(table.columns) == _COLUMNS
    assert list(zip(table["set"], table["measure"], strict=True)) == KEYS
    row = row_of(table, "positive", "recall")
    assert row[:7] == ("m", "t", "symbolic", 1, "t", "real", 0)
    # Positive: {00, 02, 10, 11} of the variant, {00, 01, 02, 12} of real data; 00 and 02 shared.
    assert (row.heads_a, row.heads_b, row.shared, row.n_a, row.n_b) == (4, 4, 2, 2, 2)
    assert row.value == 2 / 4
    # Random sets share 4 * 4 / 6 heads; within layers 2 * 3 / 3 + 2 * 1 / 3.
    assert row.random == pytest.approx(4 * 4 / 6 / 4)
    assert row.random_layer == pytest.approx((2 + 2 / 3) / 4)
    # Above 0.1: {00, 10} and {00, 01, 12}.
    assert row_of(table, "above", "recall").value == pytest.approx(1 / 3)
    assert row_of(table, "above", "precision").value == 1 / 2
    assert row_of(table, "above", "jaccard").value == 1 / 4
    # Of two and three heads, two can be shared with chance 3 / 15, one with 9 / 15.
    expected = 3 / 15 * 2 / 3 + 9 / 15 * 1 / 4
    assert row_of(table, "above", "jaccard").random == pytest.approx(expected)
    # Top 2: {00, 10} and {00, 12}.
    assert row_of(table, "top", "jaccard").value == pytest.approx(1 / 3)
    row = row_of(table, "scores", "cosine")
    assert row.value == pytest.approx(1 - distance.cosine(real.ravel(), symbolic.ravel()))
    assert row.random == pytest.approx(
        0.95 * 0.86 / 6 / np.linalg.norm(real) / np.linalg.norm(symbolic)
    )
    assert math.isnan(row.heads_a)
    assert math.isnan(row.shared)


def test_b_is_the_reference_or_the_earlier(tmp_path: Path) -> None:
    runs = ["t/untuned/seed0", "t/low/seed0", "t/real/seed0", "u/real/seed0", "u/low/seed1"]
    table = table_of([probe_file(tmp_path, f"m/{run}", drawn(0, 3)) for run in runs])
    pairs = [
        (f"{r.task_a}/{r.variant_a}/seed{r.seed_a}", f"{r.task_b}/{r.variant_b}/seed{r.seed_b}")
        for r in table[table["measure"] == "cosine"].itertuples()
    ]
    assert pairs == [
        ("t/low/seed0", "t/untuned/seed0"),
        ("t/untuned/seed0", "t/real/seed0"),
        ("t/untuned/seed0", "u/real/seed0"),
        ("u/low/seed1", "t/untuned/seed0"),
        ("t/low/seed0", "t/real/seed0"),
        ("t/low/seed0", "u/real/seed0"),
        ("u/low/seed1", "t/low/seed0"),
        ("u/real/seed0", "t/real/seed0"),
        ("u/low/seed1", "t/real/seed0"),
        ("u/low/seed1", "u/real/seed0"),
    ]


def test_models_are_kept_apart(tmp_path: Path) -> None:
    paths = [
        probe_file(tmp_path, f"{model}/t/{variant}/seed0", drawn(k, 3, layers=2 + k))
        for k, model in enumerate(["m", "n"])
        for variant in ("real", "low")
    ]
    table = table_of(paths)
    assert list(table["model"]) == ["m"] * len(KEYS) + ["n"] * len(KEYS)


def test_one_run_has_no_pair(tmp_path: Path) -> None:
    table = table_of([probe_file(tmp_path, "m/t/real/seed0", drawn(0, 3))])
    assert list(table.columns) == _COLUMNS
    assert table.empty


def test_the_measure_and_the_instances_are_those_that_the_file_names(tmp_path: Path) -> None:
    real, low = drawn(1, 4), drawn(2, 4)
    settings: dict[str, Any] = {"kind": "mass", "instances": "correct"}
    table = table_of(
        [
            probe_file(
                tmp_path, "m/t/real/seed0", real, correct=[True, True, False, True], **settings
            ),
            probe_file(
                tmp_path, "m/t/low/seed0", low, correct=[True, False, False, True], **settings
            ),
        ]
    )
    row = row_of(table, "scores", "cosine")
    assert (row.n_a, row.n_b) == (2, 3)
    means = 1 - low[[0, 3]].mean(axis=0), 1 - real[[0, 1, 3]].mean(axis=0)
    assert row.value == pytest.approx(1 - distance.cosine(means[0].ravel(), means[1].ravel()))


def test_places_without_a_head_do_not_exist(tmp_path: Path) -> None:
    layers = [
        Layer(attention="full", heads=3, kv_heads=1),
        Layer(attention="none", heads=0, kv_heads=0),
        Layer(attention="sliding", heads=2, kv_heads=1, window=8),
    ]
    real = [[0.4, 0.2, 0.0], [np.nan] * 3, [0.0, 0.3, np.nan]]
    low = [[0.4, 0.0, 0.0], [np.nan] * 3, [0.2, 0.3, np.nan]]
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", [real] * 2, layers=layers),
            probe_file(tmp_path, "m/t/low/seed0", [low] * 2, layers=layers),
        ]
    )
    row = row_of(table, "positive", "recall")
    assert (row.heads_a, row.heads_b, row.shared) == (3, 3, 2)
    assert row.random == pytest.approx(3 / 5)  # of five heads, not of nine places
    assert row.random_layer == pytest.approx((1 * 2 / 3 + 2 * 1 / 2) / 3)
    assert row_of(table, "scores", "pearson").value == pytest.approx(
        np.corrcoef([0.4, 0.2, 0, 0, 0.3], [0.4, 0, 0, 0.2, 0.3])[0, 1]
    )


# --- Where there is no number ------------------------------------------------------------------


def test_an_empty_set_has_no_value_and_no_limits(tmp_path: Path) -> None:
    none, some = np.zeros((4, 2, 3)), np.zeros((4, 2, 3))
    some[0, 0] = 0.36  # a mean of 0.09: above 0.1 in some resamples
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", some),
            probe_file(tmp_path, "m/t/untuned/seed0", none),
        ]
    )
    row = row_of(table, "positive", "recall")
    assert (row.value, row.low, row.high, row.heads_a, row.heads_b) == (0, 0, 0, 0, 3)
    for key in [("positive", "precision"), ("above", "recall"), ("scores", "cosine")]:
        row = row_of(table, *key)
        assert all(map(math.isnan, (row.value, row.low, row.high))), key


def test_no_instance_that_counts_gives_no_number(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"instances": "correct"}
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", drawn(0, 3), **settings),
            probe_file(tmp_path, "m/t/low/seed0", drawn(1, 3), correct=[False] * 3, **settings),
        ]
    )
    assert set(table["n_a"]) == {0}
    assert set(table["n_b"]) == {3}
    numbers = ["value", "low", "high", "random", "random_layer", "heads_a", "shared"]
    assert table[numbers].isna().all(axis=None)
    assert row_of(table, "positive", "recall").heads_b > 0


def test_a_probe_without_instances_gives_no_number(tmp_path: Path) -> None:
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", drawn(0, 3)),
            probe_file(tmp_path, "m/t/low/seed0", np.zeros((0, 4, 8))),
        ]
    )
    assert table["value"].isna().all()
    assert set(table["n_a"]) == {0}


def test_resamples_without_an_instance_that_counts_are_left_out(tmp_path: Path) -> None:
    # Two of six count, so that a tenth of the resamples has none of them.
    settings: dict[str, Any] = {"instances": "correct", "correct": [True] * 2 + [False] * 4}
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", drawn(0, 6), **settings),
            probe_file(tmp_path, "m/t/low/seed0", drawn(1, 6), **settings),
        ],
        resamples=500,
    )
    row = row_of(table, "scores", "cosine")
    assert row.low < row.value < row.high


@pytest.mark.parametrize("narrow", ["real", "low"])
def test_one_cluster_has_no_limits(tmp_path: Path, narrow: str) -> None:
    paths = [
        probe_file(
            tmp_path,
            f"m/t/{variant}/seed0",
            drawn(k, 3),
            clusters=list("aab"),
            correct=[True, True, variant != narrow],
            instances="correct",
        )
        for k, variant in enumerate(["real", "low"])
    ]
    table = table_of(paths)
    assert table["value"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)


# --- What cannot be compared -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "mass"}, r"kind \('copy', 'mass'\)"),
        ({"instances": "correct"}, r"instances \('all', 'correct'\)"),
        (
            {"answers": "gold", "kind": "mass"},
            r"answers \('own', 'gold'\), kind \('copy', 'mass'\)",
        ),
        ({"mass_rows": "question"}, r"mass_rows \(None, 'question'\)"),
    ],
)
def test_probes_with_other_settings_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    paths = [
        probe_file(tmp_path, "m/t/real/seed0", drawn(0, 3)),
        probe_file(tmp_path, "m/t/low/seed0", drawn(1, 3), **settings),
    ]
    with pytest.raises(ValueError, match=f"{paths[0]} and {paths[1]} differ in {message}"):
        table_of(paths)


def test_the_batch_of_a_probe_changes_no_score(tmp_path: Path) -> None:
    paths = [
        probe_file(tmp_path, "m/t/real/seed0", drawn(0, 3), batch=1),
        probe_file(tmp_path, "m/t/low/seed0", drawn(1, 3), batch=8),
    ]
    assert len(table_of(paths)) == len(KEYS)


def test_runs_with_other_heads_are_refused(tmp_path: Path) -> None:
    uneven = [Layer(attention="full", heads=heads, kv_heads=1) for heads in (2, 1)]
    turned = uneven[::-1]
    first, second = np.ones((2, 2, 2)), np.ones((2, 2, 2))
    first[:, 1, 1] = second[:, 0, 1] = np.nan
    paths = [
        probe_file(tmp_path, "m/t/real/seed0", first, layers=uneven),
        probe_file(tmp_path, "m/t/low/seed0", second, layers=turned),
        probe_file(tmp_path, "m/t/high/seed0", np.ones((2, 2, 2))),
    ]
    with pytest.raises(ValueError, match=f"{paths[0]} has 3 heads and {paths[1]} has 3, or not in"):
        table_of(paths[:2])
    with pytest.raises(ValueError, match=f"{paths[0]} has 3 heads and {paths[2]} has 4"):
        table_of([paths[0], paths[2]])


def test_other_refusals(tmp_path: Path) -> None:
    path = probe_file(tmp_path, "m/t/symbolic/seed0", drawn(0, 3))
    with pytest.raises(ValueError, match=r"no probe of the variant 'real' for m, only of \['symb"):
        table_of([path])
    with pytest.raises(ValueError, match="are of one run"):
        table_of([path, path], reference="symbolic")
    with pytest.raises(ValueError, match="level is 95"):
        table_of([path], reference="symbolic", level=95)
    with pytest.raises(ValueError, match="resamples is 1;"):
        table_of([path], reference="symbolic", resamples=1)
