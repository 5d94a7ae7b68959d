"""Measures by hand and against scipy; their expected values against all possible permutations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import distance

from needlework.heads.compare import measures, random_measures

Floats = NDArray[np.float64]

# Few values, so that sets are often empty or full, and ranks tied; some above Wu's 0.1.
_score = st.sampled_from([0.0, 0.0, 0.05, 0.1, 0.2, 0.75])


def _vectors(size: int) -> st.SearchStrategy[Floats]:
    return st.lists(_score, min_size=2 * size, max_size=2 * size).map(
        lambda drawn: np.array(drawn).reshape(2, size)
    )


# --- The measures ------------------------------------------------------------------------------


def test_sets_by_hand() -> None:
    a = [0.5, 0.0, 0.02, 0.3, 0.04, 0.0]  # top 2: heads 0 and 3
    b = [0.4, 0.2, 0.05, 0.0, 0.0, 0.3]  # top 2: heads 0 and 5
    found = measures(np.array([a, b]), 2)
    expected = {
        ("positive", "recall"): 2 / 4,
        ("positive", "precision"): 2 / 4,
        ("positive", "jaccard"): 2 / 6,
        ("above", "recall"): 1 / 3,
        ("above", "precision"): 1 / 2,
        ("above", "jaccard"): 1 / 4,
        ("top", "recall"): 1 / 2,
        ("top", "precision"): 1 / 2,
        ("top", "jaccard"): 1 / 3,
    }
    assert {key: found[key][0, 1] for key in expected} == pytest.approx(expected)
    assert set(found) - set(expected) == {
        ("scores", "cosine"), ("scores", "spearman"), ("scores", "pearson")
    }  # fmt: skip


@given(_vectors(7))
@settings(deadline=None)
def test_scores_equal_scipy(vectors: Floats) -> None:
    a, b = vectors
    found = {key[1]: table[0, 1] for key, table in measures(vectors, 2).items()}
    expected = dict.fromkeys(("cosine", "spearman", "pearson"), np.nan)
    if a.any() and b.any():
        expected["cosine"] = 1 - distance.cosine(a, b)
    if np.ptp(a) and np.ptp(b):
        expected["spearman"] = stats.spearmanr(a, b).statistic
        expected["pearson"] = stats.pearsonr(a, b).statistic
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(_vectors(6))
@settings(deadline=None)
def test_runs_trade_places(vectors: Floats) -> None:
    found = measures(vectors, 3)
    for name in ("positive", "above", "top"):
        np.testing.assert_array_equal(found[name, "recall"], found[name, "precision"].T)
        np.testing.assert_array_equal(found[name, "jaccard"], found[name, "jaccard"].T)
    for name in ("cosine", "spearman", "pearson"):
        itself = np.diagonal(found["scores", name])
        assert itself[~np.isnan(itself)] == pytest.approx(1)


def test_a_share_of_nothing_is_not_a_number() -> None:
    found = measures(np.array([[0.0, 0.0, 0.0], [0.05, 0.05, 0.0]]), 1)
    assert found["positive", "recall"][0, 1] == 0  # none found of two
    assert found["positive", "jaccard"][0, 1] == 0
    for key in [
        ("positive", "precision"), ("above", "recall"), ("above", "jaccard"),
        ("scores", "cosine"), ("scores", "spearman"), ("scores", "pearson"),
    ]:  # fmt: skip
        assert np.isnan(found[key][0, 1]), key


def test_a_constant_vector_has_no_correlation() -> None:
    # The mean of thirty times 0.1 is not 0.1: what rounding leaves must not look like a direction.
    found = measures(np.array([[0.1] * 30, [0.1, 0.2] * 15]), 1)
    assert np.isnan(found["scores", "pearson"][0, 1])
    assert found["scores", "cosine"][0, 1] > 0.9


@pytest.mark.filterwarnings("error")
def test_a_run_of_which_nothing_is_known_gives_no_number() -> None:
    vectors = np.array([[np.nan] * 4, [0.2, 0.0, 0.3, 0.0], [0.2, 0.1, 0.0, 0.0]])
    layers = np.array([0, 0, 1, 1])
    for found in (measures(vectors, 2), random_measures(vectors, 2, layers)):
        for key, table in found.items():
            assert np.isnan(table[0]).all(), key
            assert np.isnan(table[:, 0]).all(), key
            assert not np.isnan(table[1:, 1:]).any(), key


@pytest.mark.filterwarnings("error")
@given(
    st.lists(st.lists(_score | st.just(-0.3), min_size=5, max_size=5), min_size=2, max_size=3),
    st.integers(0, 5), st.integers(0, 4), st.booleans(),
)  # fmt: skip
def test_heads_that_are_0_everywhere_can_be_told_by_number(
    vectors: list[list[float]], heads: int, zeros: int, unknown: bool
) -> None:
    active = np.array(vectors)[:, :heads]
    whole = np.concatenate([active, np.zeros((len(active), zeros))], axis=1)
    if unknown:
        active[0], whole[0] = np.nan, np.nan
    if not whole.size:
        return
    expected = measures(whole, 2)
    for key, found in measures(active, 2, zeros=zeros).items():
        np.testing.assert_allclose(found, expected[key], atol=1e-12, err_msg=str(key))


def test_leading_axes_are_kept() -> None:
    many = np.random.default_rng(0).choice([0.0, 0.05, 0.2, 0.7], size=(4, 5, 3, 9))
    found = measures(many, 3)
    for i, k in np.ndindex(4, 5):
        for key, table in measures(many[i, k], 3).items():
            np.testing.assert_allclose(found[key][i, k], table, rtol=1e-12)


# --- Their expected values ---------------------------------------------------------------------


def _within(layers: list[int]) -> Iterator[list[int]]:
    """Every order of heads that leaves each in its layer."""
    places = [[k for k, own in enumerate(layers) if own == layer] for layer in sorted(set(layers))]
    for parts in itertools.product(*(itertools.permutations(place) for place in places)):
        order = [0] * len(layers)
        for place, part in zip(places, parts, strict=True):
            for to, source in zip(place, part, strict=True):
                order[to] = source
        yield order


@pytest.mark.parametrize("layers", [[0] * 5, [0, 0, 1, 1, 1], [0, 1, 0, 1, 2]])
@given(vectors=_vectors(5))
@settings(deadline=None, max_examples=25)
def test_expected_values_are_the_mean_over_all_permutations(
    layers: list[int], vectors: Floats
) -> None:
    # Permuting the scores permutes the sets: no closed form, no distribution, only counting. Scores
    # of the top are made unlike, because the tie of a permuted vector is broken elsewhere.
    vectors = vectors + np.where(vectors > 0, np.arange(5) * 1e-4, 0)
    a, b = vectors
    every = [measures(np.array([a, b[order]]), 2) for order in _within(layers)]
    found = random_measures(vectors, 2, np.array(layers))
    for key in every[0]:
        mean = np.mean([table[key][0, 1] for table in every])
        assert found[key][0, 1] == pytest.approx(mean, abs=1e-10, nan_ok=True), key


def test_expected_jaccard_of_a_large_model_against_drawing() -> None:
    random = np.random.default_rng(1)
    layers = np.repeat(np.arange(16), 32)
    weight = np.repeat(random.random(16) ** 3, 32)  # some layers have most of the heads
    vectors = (random.random((2, 512)) < weight) * 0.5
    drawn = []
    for _ in range(3_000):
        shuffled = random.permuted(vectors[1].reshape(16, 32), axis=1).ravel()
        drawn.append(measures(np.array([vectors[0], shuffled]), 1)["positive", "jaccard"][0, 1])
    found = random_measures(vectors, 1, layers)["positive", "jaccard"][0, 1]
    assert found == pytest.approx(np.mean(drawn), abs=5 * stats.sem(drawn))
    anywhere = random_measures(vectors, 1, np.zeros(512, dtype=int))["positive", "jaccard"][0, 1]
    assert found > anywhere + 0.02  # the same layers, so more shared heads by chance


def test_expected_correlations_over_all_heads_are_nought() -> None:
    vectors = np.random.default_rng(2).random((3, 100))
    found = random_measures(vectors, 5, np.zeros(100, dtype=int))
    for name in ("spearman", "pearson"):
        assert repr(found["scores", name].tolist()) == repr([[0.0] * 3] * 3)  # nor -0.0
