"""The marks of a published table, on scores made to have its means.

Zhao, Yin and Durrett (arXiv 2410.22316v4), Table 1: F1 of five synthetic sets, two models and
three tasks; a dagger says that the best synthetic set of the column is significantly better
(paired bootstrap, p < 0.05). Their scores per example are not published, nor the number of
resamples and of sides. The scores here are made: right or wrong answers to n examples, correlated
as those of two models are, whose shares are the published means to 1 / n. So which cells are
marked is our functions' own finding for that n; what must hold for any such scores is asserted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from needlework.statistics import PairedBootstrap, holm, sign_flip
from tests.statistics.made import Floats, own_cluster

SETS = ("high_high", "high_low", "low_high", "low_low", "symbolic")
# The sets' F1 in the order above, as hundredths, and the published daggers.
TABLE = {
    "mdqa llama": ((31, 41, 49, 47, 48), "††-†-"),
    "mdqa mistral": ((20, 23, 31, 24, 16), "††-††"),
    "musique llama": ((37, 41, 29, 34, 32), "†--††"),
    "musique mistral": ((22, 23, 21, 17, 11), "---††"),
    "summhay llama": ((70, 61, 79, 65, 54), "††-††"),
    "summhay mistral": ((28, 28, 38, 28, 18), "††-††"),
}


class Cell(NamedTuple):
    """A cell: how far below the column's best, p against it by resampling and by signs."""

    gap: int
    p: float
    p_adjusted: float
    p_sign_flip: float
    published: bool


def scores(means: tuple[int, ...], n: int, seed: int) -> Floats:
    """Right (1) or wrong (0) answers, shape (n, sets); n a multiple of 100 gives exact means."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(n, 1)) + random.normal(size=(n, len(means)))
    place = latent.argsort(axis=0).argsort(axis=0)
    return (place < np.array(means) * n // 100).astype(float)


def cells(column: str, n: int) -> list[Cell]:
    means, daggers = TABLE[column]
    values = scores(means, n, seed=list(TABLE).index(column))
    boot = PairedBootstrap(values, own_cluster(n), seed=1)
    best = int(np.argmax(boot.means))
    p = [boot.difference(i, best).p for i in range(len(SETS))]
    flipped = sign_flip(values - values[:, [best]], own_cluster(n), seed=2)
    others = iter(holm([p for i, p in enumerate(p) if i != best]))
    adjusted = [1.0 if i == best else next(others) for i in range(len(SETS))]
    return [
        Cell(max(means) - means[i], p[i], adjusted[i], flipped[i], daggers[i] == "†")
        for i in range(len(SETS))
    ]


@pytest.fixture(scope="module")
def at() -> dict[int, list[Cell]]:
    """All cells of the table, for two numbers of examples."""
    return {n: [cell for column in TABLE for cell in cells(column, n)] for n in (200, 1_000)}


@pytest.mark.parametrize("column", TABLE)
def test_made_scores_have_the_published_means_and_are_paired(column: str) -> None:
    means, _ = TABLE[column]
    values = scores(means, 1_000, seed=list(TABLE).index(column))
    assert PairedBootstrap(values, own_cluster(1_000), resamples=1, seed=1).means == pytest.approx(
        np.array(means) / 100
    )
    correlations = np.corrcoef(values.T)[np.triu_indices(len(SETS), 1)]
    assert (correlations > 0.2).all()
    assert (correlations < 0.7).all()


def test_marks_of_a_thousand_examples(at: dict[int, list[Cell]]) -> None:
    for cell in at[1_000]:
        if cell.gap >= 5:
            assert cell.p < 0.05
        if cell.gap <= 1:
            assert cell.p > 0.05
        if cell.gap == 0:
            assert (cell.p, cell.p_sign_flip) == (1, 1)
        assert cell.p_adjusted >= cell.p
        assert cell.p_sign_flip == pytest.approx(cell.p, abs=0.05)  # sums of signs tie more


def test_which_published_marks_are_found(at: dict[int, list[Cell]]) -> None:
    marked = [cell for cell in at[1_000] if cell.p < 0.05]
    unmarked = [cell for cell in at[1_000] if cell.p >= 0.05]
    # The one cell without a published dagger that is marked is 0.12 below the best.
    assert [cell.gap for cell in marked if not cell.published] == [12]
    # Of the 20 published daggers one is not found, on a gap of 0.02.
    assert [cell.gap for cell in unmarked if cell.published] == [2]
    assert sum(cell.published for cell in marked) == 19


def test_fewer_examples_mark_fewer_cells(at: dict[int, list[Cell]]) -> None:
    few, many = ({i for i, c in enumerate(at[n]) if c.p < 0.05} for n in (200, 1_000))
    assert few < many
    assert all(at[200][i].gap >= 7 for i in few)
