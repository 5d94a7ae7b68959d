"""Each pair of variants once, in its family; the numbers of a comparison, done again by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from needlework.evaluation.contrasts import Contrast, comparison_rows, contrasts, detectable
from needlework.evaluation.variant_table import Systems, averaged, synthetic_variants
from needlework.statistics import PairedBootstrap

_MIXTURE = "real:0.5+symbolic:0.5"
_STUDY = ["untuned", "real", "real_limited", "high_low", "symbolic", _MIXTURE, "low_low-quarter"]
_CONTROLS = ["low_low-quarter"]

Floats = NDArray[np.float64]


def _contrasts(means: Mapping[str, float], reference: str = "real") -> list[Contrast]:
    names = list(means)
    synthetic = synthetic_variants(names, _CONTROLS)
    return contrasts(names, means, reference=reference, synthetic=synthetic)


# --- Which pairs, and what for -----------------------------------------------------------------


def test_each_pair_stands_once_against_its_yardstick() -> None:
    means = dict(zip(_STUDY, [0.1, 0.6, 0.5, 0.3, 0.4, 0.9, 0.8], strict=True))
    trained = _STUDY[1:]
    assert _contrasts(means) == [
        *(Contrast("untuned", name, "untuned") for name in trained),
        *(Contrast("reference", name, "real") for name in trained[1:]),
        # The best that holds no real data and is no control.
        Contrast("best", "high_low", "symbolic"),
        Contrast("other", "high_low", "real_limited"),
        Contrast("other", "symbolic", "real_limited"),
        Contrast("other", _MIXTURE, "real_limited"),
        Contrast("other", "low_low-quarter", "real_limited"),
        Contrast("other", _MIXTURE, "high_low"),
        Contrast("other", "low_low-quarter", "high_low"),
        Contrast("other", _MIXTURE, "symbolic"),
        Contrast("other", "low_low-quarter", "symbolic"),
        Contrast("other", "low_low-quarter", _MIXTURE),
    ]


def test_of_equals_the_first_is_the_best() -> None:
    """0.1 + 0.2 is not 0.3 to the last bit."""
    means = {"untuned": 0.0, "high_low": 0.3, "low_low": 0.1 + 0.2, "symbolic": 0.1}
    best = [contrast for contrast in _contrasts(means) if contrast.kind == "best"]
    assert best == [
        Contrast("best", "low_low", "high_low"), Contrast("best", "symbolic", "high_low")
    ]  # fmt: skip


def test_a_synthetic_reference_that_is_the_best_keeps_its_pairs() -> None:
    means = {"untuned": 0.0, "high_low": 0.3, "low_low": 0.2, "symbolic": 0.1}
    kinds = {(c.a, c.b): c.kind for c in _contrasts(means, "high_low")}
    assert kinds["low_low", "high_low"] == kinds["symbolic", "high_low"] == "reference"
    assert kinds["symbolic", "low_low"] == "other"
    assert len(kinds) == 6


@pytest.mark.parametrize("absent", ["untuned", "real"])
def test_a_yardstick_that_was_not_tested_has_no_contrasts(absent: str) -> None:
    means = {name: 0.5 for name in _STUDY if name != absent}
    kinds = {contrast.kind for contrast in _contrasts(means)}
    assert kinds == {"untuned", "reference", "best", "other"} - {
        "untuned" if absent == "untuned" else "reference"
    }


@given(
    st.lists(st.sampled_from(_STUDY), unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.floats(0, 1), min_size=len(names), max_size=len(names))
        )
    ),
    st.sampled_from(_STUDY[1:]),
)
def test_no_pair_is_missing_or_there_twice(
    study: tuple[list[str], list[float]], reference: str
) -> None:
    names, means = study
    found = _contrasts(dict(zip(names, means, strict=True)), reference)
    pairs = [frozenset((contrast.a, contrast.b)) for contrast in found]
    assert sorted(map(sorted, pairs)) == sorted(map(sorted, itertools.combinations(names, 2)))
    for kind, a, b in found:
        assert a != "untuned"
        if kind == "other":
            assert names.index(a) > names.index(b)
            assert reference not in (a, b)


# --- The numbers -------------------------------------------------------------------------------


def _systems(
    runs: Sequence[tuple[str, Floats]], clusters: Sequence[str], resamples: int = 400
) -> Systems:
    names, values = averaged(
        np.stack([scores for _, scores in runs], axis=1), [name for name, _ in runs]
    )
    seeds = [[float(scores.mean()) for own, scores in runs if own == name] for name in names]
    both = PairedBootstrap(values, clusters, resamples=resamples, seed=3)
    return Systems(names, values, seeds, both, 0)


def _rows(
    metrics: Mapping[str, Systems], clusters: Sequence[str], permutations: int = 400
) -> list[dict[str, Any]]:
    names = next(iter(metrics.values())).names
    return comparison_rows(
        metrics, clusters, reference="real", synthetic=synthetic_variants(names, _CONTROLS),
        level=0.95, permutations=permutations, seed=3,
    )  # fmt: skip


def _made(names: Sequence[str], items: int = 36) -> list[tuple[str, Floats]]:
    rng = np.random.default_rng(7)
    return [(name, rng.random(items) + 0.05 * i) for i, name in enumerate(names)]


_TWELVE = [f"c{i // 3}" for i in range(36)]


def test_planned_and_exploratory_p_are_adjusted_apart() -> None:
    """Holm over the planned rows and Benjamini-Hochberg over the others, by hand.

    What is adjusted is the larger of the p of the bootstrap and that of sign flips.
    """
    rows = _rows({"f1": _systems(_made(_STUDY), _TWELVE)}, _TWELVE)
    assert {r["p"] > r["p_sign_flip"] for r in rows} == {True, False}
    larger = [(max(r["p"], r["p_sign_flip"]), r["p_adjusted"], r["contrast"]) for r in rows]
    planned = sorted((p, adjusted) for p, adjusted, kind in larger if kind != "other")
    other = sorted((p, adjusted) for p, adjusted, kind in larger if kind == "other")
    assert (len(planned), len(other)) == (12, 9)
    p = np.array([p for p, _ in planned])
    holm = np.maximum.accumulate(p * np.arange(12, 0, -1)).clip(max=1)
    np.testing.assert_allclose([adjusted for _, adjusted in planned], holm, rtol=1e-12)
    p = np.array([p for p, _ in other])
    hochberg = np.minimum.accumulate((p * 9 / np.arange(1, 10))[::-1])[::-1].clip(max=1)
    np.testing.assert_allclose([adjusted for _, adjusted in other], hochberg, rtol=1e-12)
    assert any(p < adjusted < 1 for p, adjusted in planned)
    assert any(p < adjusted < 1 for p, adjusted in other)


def test_metrics_are_families_of_their_own_and_choose_their_own_best() -> None:
    rising = _made(_STUDY)
    falling = [(name, 2 - scores) for name, scores in rising]
    together = {"f1": _systems(rising, _TWELVE), "other": _systems(falling, _TWELVE)}
    rows = _rows(together, _TWELVE)
    for metric, systems in together.items():
        own = pd.DataFrame([row for row in rows if row["metric"] == metric])
        alone = pd.DataFrame(_rows({metric: systems}, _TWELVE))
        pd.testing.assert_frame_equal(own, alone, check_exact=True)
    best = {row["metric"]: row["variant_b"] for row in rows if row["contrast"] == "best"}
    assert best == {"f1": "symbolic", "other": "high_low"}


def test_p_is_that_of_clusters_drawn_one_by_one() -> None:
    """The same quantities from scipy-free loops and other draws: clusters of unequal sizes."""
    rng = np.random.default_rng(5)
    clusters = [f"c{i}" for i in range(10) for _ in range(1 + i % 3)]
    shared = rng.normal(0, 0.2, 10)
    gain = np.array([0.12 + shared[int(c[1:])] for c in clusters]) + rng.normal(
        0, 0.1, len(clusters)
    )
    base = rng.random(len(clusters))
    systems = _systems([("untuned", base), ("real", base + gain)], clusters, resamples=20_000)
    (row,) = _rows({"f1": systems}, clusters, permutations=2**10)
    groups = [gain[[c == f"c{i}" for c in clusters]] for i in range(10)]
    drawn = np.array(
        [
            np.concatenate([groups[i] for i in rng.integers(10, size=10)]).mean()
            for _ in range(20_000)
        ]
    )
    observed = gain.mean()
    assert row["difference"] == pytest.approx(observed)
    p = np.mean(np.abs(drawn - observed) >= abs(observed))
    assert 0.005 < p < 0.3
    assert row["p"] == pytest.approx(p, abs=4 * math.sqrt(2 * p / 20_000))
    limits = np.quantile(drawn, [0.025, 0.975])
    assert [row["low"], row["high"]] == pytest.approx(list(limits), abs=0.006)
    sums = [group.sum() for group in groups]
    flips = [
        abs(sum(sign * each for sign, each in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=10)
    ]
    assert row["p_sign_flip"] == np.mean([flip >= abs(sum(sums)) - 1e-9 for flip in flips])


def test_seeds_are_a_level_of_their_own() -> None:
    """Items are those of the mean over seeds; the spread of single trainings is beside them."""
    rng = np.random.default_rng(1)
    base, real, symbolic = rng.random((3, 36))
    runs = [
        ("untuned", base), ("real", real + 0.1), ("real", real + 0.3), ("real", real + 0.2),
        ("symbolic", symbolic), ("symbolic", symbolic + 0.2), ("low_low-quarter", symbolic),
    ]  # fmt: skip
    rows = {(r["variant_a"], r["variant_b"]): r
            for r in _rows({"f1": _systems(runs, _TWELVE)}, _TWELVE)}  # fmt: skip
    gain = rows["real", "untuned"]
    assert (gain["n"], gain["n_clusters"], gain["seeds"]) == (36, 12, 3)
    assert gain["difference"] == pytest.approx((real + 0.2 - base).mean())
    assert gain["seed_spread"] == pytest.approx(0.1)  # sd of 0.1, 0.3, 0.2
    pair = rows["symbolic", "real"]
    assert pair["seeds"] == 2
    assert pair["seed_spread"] == pytest.approx(math.sqrt(0.1**2 + 0.2**2 / 2))
    single = rows["low_low-quarter", "real"]
    assert single["seeds"] == 1
    assert math.isnan(single["seed_spread"])


def test_equal_variants_differ_in_nothing() -> None:
    scores = np.random.default_rng(0).random(36)
    (row,) = _rows({"f1": _systems([("untuned", scores), ("real", scores)], _TWELVE)}, _TWELVE)
    assert [row[k] for k in ("difference", "low", "high", "p", "p_adjusted", "p_sign_flip")] == [
        0, 0, 0, 1, 1, 1
    ]  # fmt: skip
    assert row["detectable"] == 0


def test_one_cluster_has_differences_and_no_tests() -> None:
    one = ["c"] * 36
    rows = _rows({"f1": _systems(_made(_STUDY), one)}, one)
    for row in rows:
        assert math.isfinite(row["difference"])
        assert all(
            math.isnan(row[key])
            for key in ("low", "high", "bca_low", "bca_high", "p", "p_adjusted", "p_sign_flip",
                        "detectable")
        )  # fmt: skip


def test_a_single_variant_is_compared_with_nothing() -> None:
    assert _rows({"f1": _systems(_made(["real"]), _TWELVE)}, _TWELVE) == []


def test_what_is_detectable_follows_the_clusters() -> None:
    differences = np.random.default_rng(2).normal(size=(36, 2))
    found = detectable(differences, _TWELVE)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    for column, smallest in zip(differences.T, found, strict=True):
        means = column.reshape(12, 3).mean(axis=1)
        assert smallest == pytest.approx(z * means.std(ddof=1) / math.sqrt(12))
    order = np.random.default_rng(3).permutation(36)
    assert detectable(differences[order], [_TWELVE[i] for i in order]) == pytest.approx(found)
