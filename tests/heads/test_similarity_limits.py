"""The limits of head similarity: against a plain bootstrap, in simulation, in any order."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial import distance

from tests.heads.compared import KEYS, drawn, probe_file, row_of, table_of

pytestmark = pytest.mark.filterwarnings("error")

Floats = NDArray[np.float64]


def _plain_cosines(probes: list[tuple[Floats, list[str]]], *, together: bool) -> list[float]:
    """Cosine of two probes in 2,000 resamples of their clusters, drawn together or apart."""
    draw, found = random.Random(1), []
    for _ in range(2_000):
        chosen: list[str] | None = None
        means = []
        for scores, clusters in probes:
            labels = sorted(set(clusters))
            if chosen is None or not together:
                chosen = draw.choices(labels, k=len(labels))
            picked = [i for label in chosen for i, own in enumerate(clusters) if own == label]
            means.append(scores[picked].mean(axis=0).ravel())
        found.append(1 - distance.cosine(*means))
    return found


@pytest.mark.parametrize("together", [True, False])
def test_limits_are_those_of_a_plain_cluster_bootstrap(tmp_path: Path, together: bool) -> None:
    clusters = ["a", "a", "a", "b", "c", "c", "d", "e", "e", "e", "e", "f"]
    easy = np.array([0.1, 0.1, 0.1, 0.9, 0.5, 0.5, 1.0, 0.2, 0.2, 0.2, 0.2, 0.7])
    real, low = (drawn(seed, 12) * easy[:, None, None] for seed in (1, 2))
    real, low = real.round(6), (0.5 * real + 0.5 * low).round(6)
    table = table_of(
        [
            probe_file(tmp_path, "m/t/real/seed0", real, clusters=clusters),
            probe_file(
                tmp_path, "m/t/low/seed0", low, clusters=clusters, ids="e" if together else "f"
            ),
        ],
        resamples=4_000,
        level=0.9,
    )
    row = row_of(table, "scores", "cosine")
    plain = _plain_cosines([(low, clusters), (real, clusters)], together=together)
    width = 1.645 * np.std(plain, ddof=1)
    assert row.low == pytest.approx(row.value - width, abs=0.07 * width)
    assert row.high == pytest.approx(min(row.value + width, 1), abs=0.07 * width)


def test_limits_are_of_the_measure_that_the_file_names(tmp_path: Path) -> None:
    real, low = drawn(1, 6), drawn(2, 6)
    mass, copied = (
        table_of(
            [
                probe_file(tmp_path / kind, "m/t/real/seed0", scores[0], kind=kind),
                probe_file(tmp_path / kind, "m/t/low/seed0", scores[1], kind=kind),
            ]
        )
        for kind, scores in [("mass", (real, low)), ("copy", (1 - real, 1 - low))]
    )
    pd.testing.assert_frame_equal(mass, copied)  # the mass in these files is 1 - copy


def test_rounding_decides_no_tie_of_a_resample(tmp_path: Path) -> None:
    # 0.1 + 0.2 is not 0.3: with whole numbers, of which sums are exact, ties must be the same.
    tenths, whole = (
        table_of(
            [
                probe_file(tmp_path / str(unit), f"m/t/{variant}/seed0", steps * unit)
                for variant, steps in [("real", first), ("low", second)]
            ],
            top_count=10,
        )
        for unit in (0.1, 1.0)
        for first, second in [np.random.default_rng(5).integers(0, 4, (2, 6, 4, 8))]
    )
    for key in [("top", "recall"), ("positive", "jaccard"), ("scores", "spearman")]:
        assert row_of(tenths, *key) == pytest.approx(row_of(whole, *key), abs=1e-7, nan_ok=True), (
            key
        )


def test_limits_are_possible(tmp_path: Path) -> None:
    table = table_of(
        [
            probe_file(tmp_path, f"m/t/{variant}/seed0", drawn(k, 3))
            for k, variant in enumerate(["real", "low", "high", "symbolic"])
        ],
        level=0.999,
    )
    shares = table[table["set"] != "scores"]
    assert shares["low"].min() == 0
    assert shares["high"].max() == 1
    assert table["low"].min() >= -1
    assert table["high"].max() <= 1


def test_the_same_numbers_in_another_process(tmp_path: Path, root: Path) -> None:
    # Sets of strings have another order there.
    for k, variant in enumerate(["real", "low"]):
        probe_file(tmp_path, f"m/t/{variant}/seed0", drawn(k, 8))
    code = (
        "import sys; from pathlib import Path; "
        "from needlework.heads.similarity import similarity_table as table; "
        "from needlework.heads.run_scores import read_run; "
        "runs = [read_run(path) for path in sorted(Path(sys.argv[1]).rglob('*.json'))]; "
        "print(table(runs, reference='real', top_count=2, resamples=50, seed=0).to_csv())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1


def test_runs_with_the_same_instances_share_the_draws(tmp_path: Path) -> None:
    scores = drawn(3, 8)
    real, same, other = (
        probe_file(tmp_path, run, scores, ids=ids)
        for run, ids in [("m/t/real/seed0", "e"), ("m/t/low/seed0", "e"), ("m/u/low/seed0", "f")]
    )
    table = table_of([real, same, other])
    # The same scores on the same instances are the same in every resample; on others they are not.
    shared = row_of(table, "scores", "cosine", task_a="t", variant_a="low")
    assert (shared.value, shared.low, shared.high) == pytest.approx((1, 1, 1), abs=1e-6)
    apart = row_of(table, "scores", "cosine", task_a="u", variant_b="real")
    assert apart.value == pytest.approx(1)
    assert apart.low < 0.99


def test_numbers_do_not_depend_on_the_order_or_on_other_runs(tmp_path: Path) -> None:
    # 1,024 heads, so that resamples come in blocks, of another size with more runs.
    paths = [
        probe_file(tmp_path, f"m/t/{variant}/seed0", drawn(k, 5, 32, 32))
        for k, variant in enumerate(["real", "low", "high", "symbolic"])
    ]
    all_runs = table_of(paths, resamples=1_000, top_count=20)
    turned = table_of(paths[::-1], resamples=1_000, top_count=20)
    two = table_of([paths[0], paths[2]], resamples=1_000, top_count=20)
    where = {"variant_a": "high", "variant_b": "real"}
    for key in KEYS:
        rows = [row_of(table, *key, **where) for table in (all_runs, turned, two)]
        assert rows[0][9:] == pytest.approx(rows[1][9:], nan_ok=True, abs=1e-12)
        assert rows[0][9:] == pytest.approx(rows[2][9:], nan_ok=True, abs=1e-12)
        assert rows[0].low <= rows[0].value < rows[0].high
    pd.testing.assert_frame_equal(all_runs, table_of(paths, resamples=1_000, top_count=20))
    assert not all_runs["low"].equals(table_of(paths, resamples=1_000, top_count=20, seed=1)["low"])


@pytest.mark.slow
def test_the_interval_covers_what_a_probe_of_this_size_gives(tmp_path: Path) -> None:
    draws = np.random.default_rng(4)
    bend = draws.normal(size=(3, 10, 20))
    chance = [1 / (1 + np.exp(5 - 2.2 * (0.8 * bend[0] + 0.6 * own))) for own in bend[1:]]
    tables = []
    for trial in range(200):
        easy = draws.normal(size=(20, 1, 1))
        paths = []
        for variant, p in zip(["real", "low"], chance, strict=True):
            odds = p / (1 - p) * np.exp(easy)
            scores = draws.binomial(3, odds / (1 + odds)) / 3
            paths.append(probe_file(tmp_path / str(trial), f"m/t/{variant}/seed0", scores.round(6)))
        tables.append(table_of(paths, resamples=300, top_count=20))
    rows = pd.concat(tables)
    rows["target"] = rows.groupby(["set", "measure"])["value"].transform("mean")
    inside = (rows["low"] <= rows["target"]) & (rows["target"] <= rows["high"])
    covered = inside.groupby([rows["set"], rows["measure"]]).mean()
    assert covered.min() > 0.82, covered
    assert 0.89 < covered.mean() < 0.98, covered
