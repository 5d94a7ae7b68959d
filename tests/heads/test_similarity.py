"""The table of head similarity: by hand, against a plain bootstrap, in simulation, and refusals."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial import distance

from needlework.heads.run_scores import read_run
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.heads.similarity import similarity_table

pytestmark = pytest.mark.filterwarnings("error")

Floats = NDArray[np.float64]

_COLUMNS = [
    "model", "task_a", "variant_a", "seed_a", "task_b", "variant_b", "seed_b", "set", "measure",
    "value", "low", "high", "random", "random_layer",
    "heads_a", "heads_b", "shared", "n_a", "n_b",
]  # fmt: skip
_KEYS = [
    *itertools.product(["positive", "above", "top"], ["recall", "precision", "jaccard"]),
    *itertools.product(["scores"], ["cosine", "spearman", "pearson"]),
]


def _probe(
    root: Path,
    run: str,
    scores: Any,
    *,
    clusters: list[str] | None = None,
    correct: list[bool] | None = None,
    layers: list[Layer] | None = None,
    ids: str = "e",
    **settings: Any,
) -> Path:
    """A probe file with the scores (instances, layers, heads)."""
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    right, labels = correct or [True] * n, clusters or [f"c{i}" for i in range(n)]
    instances = [
        Instance(id=f"{ids}{i}", cluster=labels[i], generated="", correct=right[i])
        for i in range(n)
    ]
    full = [Layer(attention="full", heads=scores.shape[2], kv_heads=1)] * scores.shape[1]
    probe = {"kind": "copy", "role": "answer", "instances": "all", "answers": "own"} | settings
    path = root / run / "validation.json"
    path.parent.mkdir(parents=True)
    measures = {"copy/answer": scores, "mass/answer": 1 - scores}
    write_scores(path, HeadScores({"probe": probe}, layers or full, instances, measures, {}))
    return path


def _table(paths: list[Path], **options: Any) -> pd.DataFrame:
    defaults: dict[str, Any] = {"reference": "real", "top_count": 2, "resamples": 50, "seed": 0}
    return similarity_table([read_run(path) for path in paths], **defaults | options)


def _row(table: pd.DataFrame, name: str, measure: str, **where: Any) -> Any:
    for column, value in ({"set": name, "measure": measure} | where).items():
        table = table[table[column] == value]
    (row,) = table.itertuples(index=False)
    return row


def _drawn(seed: int, n: int, layers: int = 4, heads: int = 8) -> Floats:
    """Scores in steps of a fifth, most of them 0; heads of some layers copy more."""
    draws = np.random.default_rng(seed)
    chance = draws.random((layers, heads)) ** 4 * np.linspace(0.2, 1, layers)[:, None]
    return draws.binomial(5, chance, (n, layers, heads)) / 5


# --- Values ------------------------------------------------------------------------------------


def test_a_pair_by_hand(tmp_path: Path) -> None:
    real = np.array([[0.4, 0.2, 0.05], [0.0, 0.0, 0.3]])
    symbolic = np.array([[0.5, 0.0, 0.02], [0.3, 0.04, 0.0]])
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", [real * 2, real * 0]),
            _probe(tmp_path, "m/t/symbolic/seed1", [symbolic * 2, symbolic * 0]),
        ]
    )
    assert list(table.columns) == _COLUMNS
    assert list(zip(table["set"], table["measure"], strict=True)) == _KEYS
    row = _row(table, "positive", "recall")
    assert row[:7] == ("m", "t", "symbolic", 1, "t", "real", 0)
    # Positive: {00, 02, 10, 11} of the variant, {00, 01, 02, 12} of real data; 00 and 02 shared.
    assert (row.heads_a, row.heads_b, row.shared, row.n_a, row.n_b) == (4, 4, 2, 2, 2)
    assert row.value == 2 / 4
    # Random sets share 4 * 4 / 6 heads; within layers 2 * 3 / 3 + 2 * 1 / 3.
    assert row.random == pytest.approx(4 * 4 / 6 / 4)
    assert row.random_layer == pytest.approx((2 + 2 / 3) / 4)
    # Above 0.1: {00, 10} and {00, 01, 12}.
    assert _row(table, "above", "recall").value == pytest.approx(1 / 3)
    assert _row(table, "above", "precision").value == 1 / 2
    assert _row(table, "above", "jaccard").value == 1 / 4
    # Of two and three heads, two can be shared with chance 3 / 15, one with 9 / 15.
    expected = 3 / 15 * 2 / 3 + 9 / 15 * 1 / 4
    assert _row(table, "above", "jaccard").random == pytest.approx(expected)
    # Top 2: {00, 10} and {00, 12}.
    assert _row(table, "top", "jaccard").value == pytest.approx(1 / 3)
    row = _row(table, "scores", "cosine")
    assert row.value == pytest.approx(1 - distance.cosine(real.ravel(), symbolic.ravel()))
    assert row.random == pytest.approx(
        0.95 * 0.86 / 6 / np.linalg.norm(real) / np.linalg.norm(symbolic)
    )
    assert math.isnan(row.heads_a)
    assert math.isnan(row.shared)


def test_b_is_the_reference_or_the_earlier(tmp_path: Path) -> None:
    runs = ["t/untuned/seed0", "t/low/seed0", "t/real/seed0", "u/real/seed0", "u/low/seed1"]
    table = _table([_probe(tmp_path, f"m/{run}", _drawn(0, 3)) for run in runs])
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
        _probe(tmp_path, f"{model}/t/{variant}/seed0", _drawn(k, 3, layers=2 + k))
        for k, model in enumerate(["m", "n"])
        for variant in ("real", "low")
    ]
    table = _table(paths)
    assert list(table["model"]) == ["m"] * len(_KEYS) + ["n"] * len(_KEYS)


def test_one_run_has_no_pair(tmp_path: Path) -> None:
    table = _table([_probe(tmp_path, "m/t/real/seed0", _drawn(0, 3))])
    assert list(table.columns) == _COLUMNS
    assert table.empty


def test_the_measure_and_the_instances_are_those_that_the_file_names(tmp_path: Path) -> None:
    real, low = _drawn(1, 4), _drawn(2, 4)
    settings: dict[str, Any] = {"kind": "mass", "instances": "correct"}
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", real, correct=[True, True, False, True], **settings),
            _probe(tmp_path, "m/t/low/seed0", low, correct=[True, False, False, True], **settings),
        ]
    )
    row = _row(table, "scores", "cosine")
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
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", [real] * 2, layers=layers),
            _probe(tmp_path, "m/t/low/seed0", [low] * 2, layers=layers),
        ]
    )
    row = _row(table, "positive", "recall")
    assert (row.heads_a, row.heads_b, row.shared) == (3, 3, 2)
    assert row.random == pytest.approx(3 / 5)  # of five heads, not of nine places
    assert row.random_layer == pytest.approx((1 * 2 / 3 + 2 * 1 / 2) / 3)
    assert _row(table, "scores", "pearson").value == pytest.approx(
        np.corrcoef([0.4, 0.2, 0, 0, 0.3], [0.4, 0, 0, 0.2, 0.3])[0, 1]
    )


# --- Limits ------------------------------------------------------------------------------------


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
    real, low = (_drawn(seed, 12) * easy[:, None, None] for seed in (1, 2))
    real, low = real.round(6), (0.5 * real + 0.5 * low).round(6)
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", real, clusters=clusters),
            _probe(tmp_path, "m/t/low/seed0", low, clusters=clusters, ids="e" if together else "f"),
        ],
        resamples=4_000,
        level=0.9,
    )
    row = _row(table, "scores", "cosine")
    plain = _plain_cosines([(low, clusters), (real, clusters)], together=together)
    width = 1.645 * np.std(plain, ddof=1)
    assert row.low == pytest.approx(row.value - width, abs=0.07 * width)
    assert row.high == pytest.approx(min(row.value + width, 1), abs=0.07 * width)


def test_limits_are_of_the_measure_that_the_file_names(tmp_path: Path) -> None:
    real, low = _drawn(1, 6), _drawn(2, 6)
    mass, copied = (
        _table(
            [
                _probe(tmp_path / kind, "m/t/real/seed0", scores[0], kind=kind),
                _probe(tmp_path / kind, "m/t/low/seed0", scores[1], kind=kind),
            ]
        )
        for kind, scores in [("mass", (real, low)), ("copy", (1 - real, 1 - low))]
    )
    pd.testing.assert_frame_equal(mass, copied)  # the mass in these files is 1 - copy


def test_rounding_decides_no_tie_of_a_resample(tmp_path: Path) -> None:
    # 0.1 + 0.2 is not 0.3: with whole numbers, of which sums are exact, ties must be the same.
    tenths, whole = (
        _table(
            [
                _probe(tmp_path / str(unit), f"m/t/{variant}/seed0", steps * unit)
                for variant, steps in [("real", first), ("low", second)]
            ],
            top_count=10,
        )
        for unit in (0.1, 1.0)
        for first, second in [np.random.default_rng(5).integers(0, 4, (2, 6, 4, 8))]
    )
    for key in [("top", "recall"), ("positive", "jaccard"), ("scores", "spearman")]:
        assert _row(tenths, *key) == pytest.approx(_row(whole, *key), abs=1e-7, nan_ok=True), key


def test_limits_are_possible(tmp_path: Path) -> None:
    table = _table(
        [
            _probe(tmp_path, f"m/t/{variant}/seed0", _drawn(k, 3))
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
        _probe(tmp_path, f"m/t/{variant}/seed0", _drawn(k, 8))
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
    scores = _drawn(3, 8)
    real, same, other = (
        _probe(tmp_path, run, scores, ids=ids)
        for run, ids in [("m/t/real/seed0", "e"), ("m/t/low/seed0", "e"), ("m/u/low/seed0", "f")]
    )
    table = _table([real, same, other])
    # The same scores on the same instances are the same in every resample; on others they are not.
    shared = _row(table, "scores", "cosine", task_a="t", variant_a="low")
    assert (shared.value, shared.low, shared.high) == pytest.approx((1, 1, 1), abs=1e-6)
    apart = _row(table, "scores", "cosine", task_a="u", variant_b="real")
    assert apart.value == pytest.approx(1)
    assert apart.low < 0.99


def test_numbers_do_not_depend_on_the_order_or_on_other_runs(tmp_path: Path) -> None:
    # 1,024 heads, so that resamples come in blocks, of another size with more runs.
    paths = [
        _probe(tmp_path, f"m/t/{variant}/seed0", _drawn(k, 5, 32, 32))
        for k, variant in enumerate(["real", "low", "high", "symbolic"])
    ]
    all_runs = _table(paths, resamples=1_000, top_count=20)
    turned = _table(paths[::-1], resamples=1_000, top_count=20)
    two = _table([paths[0], paths[2]], resamples=1_000, top_count=20)
    where = {"variant_a": "high", "variant_b": "real"}
    for key in _KEYS:
        rows = [_row(table, *key, **where) for table in (all_runs, turned, two)]
        assert rows[0][9:] == pytest.approx(rows[1][9:], nan_ok=True, abs=1e-12)
        assert rows[0][9:] == pytest.approx(rows[2][9:], nan_ok=True, abs=1e-12)
        assert rows[0].low <= rows[0].value < rows[0].high
    pd.testing.assert_frame_equal(all_runs, _table(paths, resamples=1_000, top_count=20))
    assert not all_runs["low"].equals(_table(paths, resamples=1_000, top_count=20, seed=1)["low"])


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
            paths.append(_probe(tmp_path / str(trial), f"m/t/{variant}/seed0", scores.round(6)))
        tables.append(_table(paths, resamples=300, top_count=20))
    rows = pd.concat(tables)
    rows["target"] = rows.groupby(["set", "measure"])["value"].transform("mean")
    inside = (rows["low"] <= rows["target"]) & (rows["target"] <= rows["high"])
    covered = inside.groupby([rows["set"], rows["measure"]]).mean()
    assert covered.min() > 0.82, covered
    assert 0.89 < covered.mean() < 0.98, covered


# --- Where there is no number ------------------------------------------------------------------


def test_an_empty_set_has_no_value_and_no_limits(tmp_path: Path) -> None:
    none, some = np.zeros((4, 2, 3)), np.zeros((4, 2, 3))
    some[0, 0] = 0.36  # a mean of 0.09: above 0.1 in some resamples
    table = _table(
        [_probe(tmp_path, "m/t/real/seed0", some), _probe(tmp_path, "m/t/untuned/seed0", none)]
    )
    row = _row(table, "positive", "recall")
    assert (row.value, row.low, row.high, row.heads_a, row.heads_b) == (0, 0, 0, 0, 3)
    for key in [("positive", "precision"), ("above", "recall"), ("scores", "cosine")]:
        row = _row(table, *key)
        assert all(map(math.isnan, (row.value, row.low, row.high))), key


def test_no_instance_that_counts_gives_no_number(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"instances": "correct"}
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", _drawn(0, 3), **settings),
            _probe(tmp_path, "m/t/low/seed0", _drawn(1, 3), correct=[False] * 3, **settings),
        ]
    )
    assert set(table["n_a"]) == {0}
    assert set(table["n_b"]) == {3}
    numbers = ["value", "low", "high", "random", "random_layer", "heads_a", "shared"]
    assert table[numbers].isna().all(axis=None)
    assert _row(table, "positive", "recall").heads_b > 0


def test_a_probe_without_instances_gives_no_number(tmp_path: Path) -> None:
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", _drawn(0, 3)),
            _probe(tmp_path, "m/t/low/seed0", np.zeros((0, 4, 8))),
        ]
    )
    assert table["value"].isna().all()
    assert set(table["n_a"]) == {0}


def test_resamples_without_an_instance_that_counts_are_left_out(tmp_path: Path) -> None:
    # Two of six count, so that a tenth of the resamples has none of them.
    settings: dict[str, Any] = {"instances": "correct", "correct": [True] * 2 + [False] * 4}
    table = _table(
        [
            _probe(tmp_path, "m/t/real/seed0", _drawn(0, 6), **settings),
            _probe(tmp_path, "m/t/low/seed0", _drawn(1, 6), **settings),
        ],
        resamples=500,
    )
    row = _row(table, "scores", "cosine")
    assert row.low < row.value < row.high


@pytest.mark.parametrize("narrow", ["real", "low"])
def test_one_cluster_has_no_limits(tmp_path: Path, narrow: str) -> None:
    paths = [
        _probe(
            tmp_path,
            f"m/t/{variant}/seed0",
            _drawn(k, 3),
            clusters=list("aab"),
            correct=[True, True, variant != narrow],
            instances="correct",
        )
        for k, variant in enumerate(["real", "low"])
    ]
    table = _table(paths)
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
        _probe(tmp_path, "m/t/real/seed0", _drawn(0, 3)),
        _probe(tmp_path, "m/t/low/seed0", _drawn(1, 3), **settings),
    ]
    with pytest.raises(ValueError, match=f"{paths[0]} and {paths[1]} differ in {message}"):
        _table(paths)


def test_the_batch_of_a_probe_changes_no_score(tmp_path: Path) -> None:
    paths = [
        _probe(tmp_path, "m/t/real/seed0", _drawn(0, 3), batch=1),
        _probe(tmp_path, "m/t/low/seed0", _drawn(1, 3), batch=8),
    ]
    assert len(_table(paths)) == len(_KEYS)


def test_runs_with_other_heads_are_refused(tmp_path: Path) -> None:
    uneven = [Layer(attention="full", heads=heads, kv_heads=1) for heads in (2, 1)]
    turned = uneven[::-1]
    first, second = np.ones((2, 2, 2)), np.ones((2, 2, 2))
    first[:, 1, 1] = second[:, 0, 1] = np.nan
    paths = [
        _probe(tmp_path, "m/t/real/seed0", first, layers=uneven),
        _probe(tmp_path, "m/t/low/seed0", second, layers=turned),
        _probe(tmp_path, "m/t/high/seed0", np.ones((2, 2, 2))),
    ]
    with pytest.raises(ValueError, match=f"{paths[0]} has 3 heads and {paths[1]} has 3, or not in"):
        _table(paths[:2])
    with pytest.raises(ValueError, match=f"{paths[0]} has 3 heads and {paths[2]} has 4"):
        _table([paths[0], paths[2]])


def test_other_refusals(tmp_path: Path) -> None:
    path = _probe(tmp_path, "m/t/symbolic/seed0", _drawn(0, 3))
    with pytest.raises(ValueError, match=r"no probe of the variant 'real' for m, only of \['symb"):
        _table([path])
    with pytest.raises(ValueError, match="are of one run"):
        _table([path, path], reference="symbolic")
    with pytest.raises(ValueError, match="level is 95"):
        _table([path], reference="symbolic", level=95)
    with pytest.raises(ValueError, match="resamples is 1;"):
        _table([path], reference="symbolic", resamples=1)
