"""The table of heads against the reference: by hand, against all sign patterns, and refusals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from needlework.heads.differences import differences_table
from needlework.heads.run_scores import RunScores
from needlework.heads.score_file import Instance
from needlework.layout import Run

pytestmark = pytest.mark.filterwarnings("error")

Floats = NDArray[np.float64]


def _run(
    run: str,
    values: Any,
    *,
    ids: Sequence[str] | None = None,
    there: Sequence[Sequence[bool]] | None = None,
    in_cluster: int = 1,
    **settings: str,
) -> RunScores:
    """Scores (instances, heads that exist), `in_cluster` instances in a row in one cluster."""
    scores = np.asarray(values, dtype=np.float64)
    names = ids or [f"e{i}" for i in range(len(scores))]
    counted = [
        Instance(id=name, cluster=f"c{int(name[1:]) // in_cluster}", generated="", correct=True)
        for name in names
    ]
    path = Path(run) / "validation.json"
    return RunScores(
        path=path,
        run=Run.of(path),
        settings={"kind": "copy"} | settings,
        there=np.array([[True] * scores.shape[1]] if there is None else there),
        instances=tuple(sorted((each.id, each.cluster) for each in counted)),
        counted=counted,
        values=scores,
        mean=scores.mean(axis=0),
    )


def _table(*runs: RunScores, **options: Any) -> pd.DataFrame:
    defaults: dict[str, Any] = {"reference": "real", "seed": 0}
    return differences_table(runs, **defaults | options)


def _drawn(seed: int, n: int, heads: int = 6) -> Floats:
    return np.random.default_rng(seed).binomial(5, 0.4, (n, heads)) / 5


def test_by_hand() -> None:
    there = [[True, True, False], [True, True, True]]
    table = _table(
        _run("m/t/real/seed0", [[0.5, 0, 0.2, 0.4, 0], [0.25, 0, 0, 0, 0]], there=there),
        _run("m/t/real/seed1", [[0.5, 0, 0.4, 0, 0], [0.75, 0, 0, 0, 0]], there=there),
        _run("m/t/low_low/seed3", [[1.0, 0, 0.3, 0, 0.2], [1.0, 0, 0, 0, 0]], there=there),
    )
    assert list(table.columns) == [
        "model", "task", "variant", "layer", "head",
        "mean", "reference_mean", "difference", "p", "p_adjusted", "n", "n_clusters",
    ]  # fmt: skip
    # Of two clusters all four patterns of signs are counted: two are as far off, or all four.
    # The second head is 0 after both; the places are those of the model.
    expected = [
        ("m", "t", "low_low", 0, 0, 1.0, 0.5, 0.5, 0.5, 1.0, 2, 2),
        ("m", "t", "low_low", 1, 0, 0.15, 0.15, 0.0, 1.0, 1.0, 2, 2),
        ("m", "t", "low_low", 1, 1, 0.0, 0.1, -0.1, 1.0, 1.0, 2, 2),
        ("m", "t", "low_low", 1, 2, 0.1, 0.0, 0.1, 1.0, 1.0, 2, 2),
    ]
    for row, wanted in zip(table.itertuples(index=False, name=None), expected, strict=True):
        assert row == pytest.approx(wanted)


def test_p_is_of_whole_clusters_and_adjusted_within_a_variant() -> None:
    n, in_cluster = 12, 2
    real, low, high = (_drawn(seed, n) for seed in range(3))
    table = _table(
        _run("m/t/low/seed0", low, in_cluster=in_cluster),
        _run("m/t/real/seed0", real, in_cluster=in_cluster),
        _run("m/t/high/seed0", high, in_cluster=in_cluster),
    )
    assert list(table["variant"]) == ["low"] * 6 + ["high"] * 6
    for variant, scores in {"low": low, "high": high}.items():
        rows = table[table["variant"] == variant]
        sums = (scores - real).reshape(n // in_cluster, in_cluster, -1).sum(axis=1)
        signs = np.array(list(itertools.product([1, -1], repeat=len(sums))))
        p = (np.abs(signs @ sums) >= np.abs(sums.sum(axis=0)) - 1e-9).mean(axis=0)
        np.testing.assert_allclose(rows["p"], p)
        np.testing.assert_allclose(rows["p_adjusted"], stats.false_discovery_control(p))
        np.testing.assert_allclose(rows["difference"], (scores - real).mean(axis=0), atol=1e-6)
        assert set(rows["n"]) == {n}
        assert set(rows["n_clusters"]) == {n // in_cluster}


def test_only_instances_that_count_in_every_run_of_both_are_compared() -> None:
    real, low, more = _drawn(0, 4), _drawn(1, 4), _drawn(2, 5)
    table = _table(
        _run("m/t/real/seed0", real, ids=["e1", "e2", "e3", "e4"]),
        _run("m/t/low/seed0", low, ids=["e4", "e3", "e2", "e0"]),
        _run("m/t/low/seed1", more, ids=["e0", "e1", "e2", "e3", "e5"]),
    )
    shared = (low[[2, 1]] + more[[2, 3]]) / 2
    np.testing.assert_allclose(table["mean"], shared.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["reference_mean"], real[1:3].mean(axis=0), atol=1e-6)
    assert set(table["n"]) == {2}


def test_each_model_and_task_has_its_own_reference() -> None:
    names = [f"{m}/{t}" for m in ("m", "k") for t in ("t", "u")]
    scores = {name: (_drawn(2 * k, 8), _drawn(2 * k + 1, 8)) for k, name in enumerate(names)}
    runs = [
        _run(f"{name}/{variant}/seed0", part)
        for name, parts in scores.items()
        for variant, part in zip(("real", "untuned"), parts, strict=True)
    ]
    table = _table(*runs)
    for name, (real, untuned) in scores.items():
        rows = table[table["model"] + "/" + table["task"] == name]
        expected = (untuned - real).mean(axis=0)
        np.testing.assert_allclose(rows["difference"], expected, atol=1e-6)


def test_a_head_that_changed_is_found_among_many_that_did_not() -> None:
    draws = np.random.default_rng(3)
    real, low = draws.binomial(4, 0.3, (2, 80, 200)) / 4
    low[:, 7] = draws.binomial(4, 0.7, 80) / 4
    table = _table(_run("m/t/real/seed0", real), _run("m/t/low/seed0", low), permutations=20_000)
    assert list(table.loc[table["p_adjusted"] < 0.05, "head"]) == [7]


def test_the_same_seed_gives_the_same_numbers() -> None:
    runs = [_run(f"m/t/{v}/seed0", _drawn(k, 40)) for k, v in enumerate(["real", "low"])]
    first, second, other = _table(*runs), _table(*runs), _table(*runs, seed=1)
    pd.testing.assert_frame_equal(first, second)
    assert (first["p"] != other["p"]).any()


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([_run("m/t/low/seed0", [[1.0]])], "m on t: no scores after real"),
        (
            [
                _run("m/t/real/seed0", [[1.0]], ids=["e0"]),
                _run("m/t/low/seed0", [[1.0]], ids=["e1"]),
            ],
            "m/t/real/seed0/validation.json: no instance counts in both",
        ),
        ([_run("m/t/real/seed0", [[0.0]]), _run("m/t/low/seed0", [[0.0]])], ""),
    ],
)
def test_where_nothing_can_be_compared_there_is_no_row(
    runs: list[RunScores], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _table(*runs)
    assert len(table) == 0
    assert "p_adjusted" in table.columns
    assert said in capsys.readouterr().err


def test_one_cluster_has_no_p() -> None:
    runs = [
        _run(f"m/t/{variant}/seed0", _drawn(k, 3), in_cluster=3)
        for k, variant in enumerate(["real", "low"])
    ]
    table = _table(*runs)
    assert table[["p", "p_adjusted"]].isna().all(axis=None)
    assert table["difference"].notna().all()


def test_runs_that_were_scored_otherwise_are_refused() -> None:
    with pytest.raises(ValueError, match=r"differ in kind \('copy', 'mass'\)"):
        _table(_run("m/t/real/seed0", [[1.0]]), _run("m/t/low/seed0", [[1.0]], kind="mass"))
