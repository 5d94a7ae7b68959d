"""Split halves by hand, against counting all halves, and against larger probes in simulation."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import distance

from needlework.heads.reliability import enough, reliability_table
from needlework.heads.run_scores import read_run
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores

pytestmark = pytest.mark.filterwarnings("error")

Floats = NDArray[np.float64]


def _table(
    root: Path,
    scores: Floats,
    clusters: list[str] | None = None,
    correct: list[bool] | None = None,
    *,
    top_count: int = 3,
    draws: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """The table of one run with the scores (instances, heads), all in one layer."""
    n = len(scores)
    labels, right = clusters or [f"c{i}" for i in range(n)], correct or [True] * n
    probe = {"kind": "copy", "role": "answer", "instances": "correct" if correct else "all"}
    instances = [
        Instance(id=f"e{i}", cluster=labels[i], generated="", correct=right[i]) for i in range(n)
    ]
    layer = Layer(attention="full", heads=scores.shape[1], kv_heads=1)
    path = root / "m/t/real/seed7/validation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    measures = {"copy/answer": scores[:, None].round(6)}
    write_scores(path, HeadScores({"probe": probe}, [layer], instances, measures, {}))
    return reliability_table([read_run(path)], top_count=top_count, draws=draws, seed=seed)


def _value(table: pd.DataFrame, measure: str, examples: int) -> Any:
    found = table[(table["measure"] == measure) & (table["examples"] == examples)]
    (row,) = found.itertuples(index=False)
    return row


def _drawn(seed: int, n: int, heads: int = 60) -> Floats:
    """Most heads hardly ever copy, and some instances are easier: as Wu et al. found it."""
    chance = 1 / (1 + np.exp(5 - 2.5 * np.random.default_rng(0).normal(size=heads)))
    draws = np.random.default_rng(seed)
    odds = chance / (1 - chance) * np.exp(draws.normal(size=(n, 1)))
    return draws.binomial(4, odds / (1 + odds)) / 4


# --- Split halves ------------------------------------------------------------------------------


def test_rows_of_a_probe_of_forty(tmp_path: Path) -> None:
    table = _table(tmp_path, _drawn(1, 40))
    assert list(table.columns) == [
        "model", "task", "variant", "seed",
        "measure", "examples", "value", "low", "high", "predicted",
    ]  # fmt: skip
    assert set(table[["model", "task", "variant", "seed"]].itertuples(index=False, name=None)) == {
        ("m", "t", "real", 7)
    }
    for measure in ("cosine", "spearman", "top_overlap"):
        rows = table[table["measure"] == measure]
        measured = rows.loc[~rows["predicted"], "examples"]
        assert list(measured) == [1, 2, 4, 5, 7, 10, 14, 20]
        larger = rows.loc[rows["predicted"], "examples"]
        assert list(larger) == ([] if measure == "top_overlap" else [28, 40, 57, 80, 113, 160])
        assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()


def test_halves_are_all_halves_with_equal_chance(tmp_path: Path) -> None:
    scores = np.random.default_rng(2).binomial(4, np.linspace(0, 0.6, 12), (6, 12)) / 4
    agreement = []
    for first in itertools.combinations(range(6), 3):
        second = [i for i in range(6) if i not in first]
        a, b = scores[list(first)].mean(axis=0), scores[second].mean(axis=0)
        tops = [set(np.argsort(-x, kind="stable")[:3]) & set(np.flatnonzero(x)) for x in (a, b)]
        agreement.append(
            (
                1 - distance.cosine(a, b),
                stats.spearmanr(a, b).statistic,
                2 * len(tops[0] & tops[1]) / (len(tops[0]) + len(tops[1])),
            )
        )
    table = _table(tmp_path, scores, draws=4_000)
    for measure, each in zip(
        ("cosine", "spearman", "top_overlap"), np.array(agreement).T, strict=True
    ):
        row = _value(table, measure, 3)
        error = float(np.std(each)) / math.sqrt(4_000)
        assert row.value == pytest.approx(np.mean(each), abs=4 * error + 1e-6), measure
        assert (row.low, row.high) == pytest.approx((min(each), max(each)), abs=1e-4)


def test_one_example_against_one_other(tmp_path: Path) -> None:
    scores = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    expected = np.mean([1 - distance.cosine(scores[a], scores[b]) for a, b in pairs])
    row = _value(_table(tmp_path, scores, draws=4_000), "cosine", 1)
    assert row.value == pytest.approx(expected, abs=0.03)


def test_halves_never_share_a_cluster(tmp_path: Path) -> None:
    # The instances of a cluster are the same, and no two clusters share a head: if one stood in
    # both halves, they would agree; as it is, they never do.
    sizes = [1, 2, 3, 4, 2, 4]
    clusters = [f"c{k}" for k, size in enumerate(sizes) for _ in range(size)]
    scores = np.eye(6)[[int(label[1]) for label in clusters]]
    measured = _table(tmp_path, scores, clusters).query("~predicted")
    cosines = measured[measured["measure"] == "cosine"]
    # Halves of 16 instances dealt by cluster; at least 6 in either, as the largest clusters have 4.
    assert 6 <= cosines["examples"].max() <= 8
    assert (cosines["high"] == 0).all()
    shuffled = _table(tmp_path, scores).query("~predicted and measure == 'cosine'")
    assert (shuffled["high"] > 0).any()


def test_halves_have_as_many_examples_as_the_row_says(tmp_path: Path) -> None:
    # Instance i scores on head i alone: a mean has as many heads as examples, of one height.
    table = _table(tmp_path, np.eye(9), top_count=9)
    assert list(table.query("measure == 'cosine' and not predicted")["examples"]) == [1, 2, 3, 4]
    # Disjoint heads: Spearman of two sets of m among 9 heads is that of two indicators.
    for m in (1, 2, 3, 4):
        a, b = np.arange(9) < m, (np.arange(9) >= m) & (np.arange(9) < 2 * m)
        expected = np.corrcoef(a, b)[0, 1]
        assert _value(table, "spearman", m)[6:9] == pytest.approx((expected,) * 3)


def test_only_instances_that_count_are_dealt(tmp_path: Path) -> None:
    scores = np.concatenate([_drawn(3, 8), 1 - _drawn(4, 8)])
    table = _table(tmp_path, scores, correct=[True] * 8 + [False] * 8)
    expected = _table(tmp_path, scores[:8], draws=200)
    pd.testing.assert_frame_equal(table, expected)


def test_seeds(tmp_path: Path) -> None:
    scores = _drawn(5, 12)
    first = _table(tmp_path, scores)
    pd.testing.assert_frame_equal(first, _table(tmp_path, scores))
    assert not first.equals(_table(tmp_path, scores, seed=1))


# --- Larger probes -----------------------------------------------------------------------------


def test_predictions_hold_in_simulation(tmp_path: Path) -> None:
    """From probes of 32, the agreement of 128 examples: of ranks, Spearman-Brown says too much."""
    large = _table(tmp_path, _drawn(6, 256, heads=300), draws=20)
    small = pd.concat(
        [_table(tmp_path, _drawn(seed, 32, heads=300), draws=50) for seed in range(10, 20)]
    )
    for measure, tolerance in [("cosine", 0.005), ("spearman", 0.03)]:
        rows = small[(small["measure"] == measure) & small["predicted"]]
        predicted = rows.loc[rows["examples"] == 128, "value"].mean()
        assert predicted == pytest.approx(_value(large, measure, 128).value, abs=tolerance)
    rows = small[(small["measure"] == "spearman") & (small["examples"] == 16)]
    plain = 8 * rows["value"].mean() / (1 + 7 * rows["value"].mean())
    assert plain > _value(large, "spearman", 128).value + 0.03


def test_a_prediction_by_hand(tmp_path: Path) -> None:
    table = _table(tmp_path, _drawn(7, 16))
    for measure in ("cosine", "spearman"):
        quarter, half = (_value(table, measure, m).value for m in (2, 8))
        growth = (half / (1 - half)) / (quarter / (1 - quarter))  # with four times the examples
        growth = min(growth, 4)
        odds = half / (1 - half) * growth  # and four times as many again
        assert _value(table, measure, 32).value == pytest.approx(odds / (1 + odds))
        values = table.loc[(table["measure"] == measure) & table["predicted"], "value"]
        assert values.is_monotonic_increasing


def test_full_agreement_stays_and_none_stays_none(tmp_path: Path) -> None:
    same = _table(tmp_path, np.tile([0.5, 0.2, 0.0], (8, 1)))
    assert same["value"].to_numpy() == pytest.approx(np.ones(len(same)))
    apart = _table(tmp_path, np.eye(8))
    # Disjoint heads correlate below 0; more examples are not predicted to turn that round.
    assert (apart.query("measure == 'spearman' and not predicted")["value"] < 0).all()
    assert (apart.query("predicted")["value"] == 0).all()


# --- Where there is no number ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "clusters"),
    [(np.zeros((0, 3)), []), (np.eye(3)[:1], ["a"]), (np.eye(3), ["a", "a", "a"])],
)
def test_a_probe_that_cannot_be_halved(tmp_path: Path, scores: Floats, clusters: list[str]) -> None:
    table = _table(tmp_path, scores, clusters)
    assert list(table["measure"]) == ["cosine", "spearman", "top_overlap"]
    assert (table["examples"] == 0).all()
    assert table[["value", "low", "high"]].isna().all(axis=None)
    assert not table["predicted"].any()


def test_two_instances_are_halved(tmp_path: Path) -> None:
    table = _table(tmp_path, np.array([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert list(table.query("measure == 'cosine'")["examples"]) == [1, 1, 2, 3, 4, 6, 8]
    # One size cannot show how agreement grows: the formula as it is.
    r = _value(table.query("not predicted"), "cosine", 1).value
    assert r == pytest.approx(1 / math.sqrt(1.25))
    assert _value(table, "cosine", 8).value == pytest.approx(8 * r / (1 + 7 * r))


def test_draws_without_a_number_are_left_out(tmp_path: Path) -> None:
    # One example against one other: a third of the pairs has an example without any score.
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert _value(_table(tmp_path, scores), "cosine", 1)[6:9] == pytest.approx((1, 1, 1))
    silent = _table(tmp_path, np.zeros((6, 2)))
    assert silent["value"].isna().all()


# --- How many are enough -----------------------------------------------------------------------


def _rows(seed: int, values: dict[int, float], measure: str = "spearman") -> pd.DataFrame:
    run = {"model": "m", "task": "t", "variant": "real", "seed": seed, "measure": measure}
    return pd.DataFrame([run | {"examples": n, "value": r} for n, r in values.items()])


def test_how_many_examples_are_enough() -> None:
    fast = _rows(0, {10: 0.8, 20: 0.91, 40: 0.95})
    slow = _rows(1, {10: 0.5, 20: 0.7, 40: 0.92})
    never = _rows(2, {10: 0.5, 20: math.nan, 40: 0.89})
    other = _rows(0, {10: 0.9, 20: 0.99}, measure="cosine")
    assert enough(fast) == 20
    assert enough(pd.concat([fast, slow, other])) == 40  # of both runs, by the measure asked for
    assert enough(pd.concat([fast, other]), measure="cosine") == 10
    assert enough(fast, agreement=0.95) == 40
    assert enough(pd.concat([fast, never])) is None
    assert enough(fast.iloc[:0]) is None
    assert isinstance(enough(fast), int)
