"""Heads for interventions: the best ones, and controls that hold none of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from needlework.interventions.record import Intervention, pair
from needlework.interventions.selection import HeadSet, masks, patches

Scores = NDArray[np.float64]
Head = tuple[int, int]

# Few different values, so that ties, zeros and missing heads are common.
_scores = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.sampled_from([np.nan, -0.5, 0.0, 0.0, 0.0, 0.1, 0.2, 1.0]),
)


def heads(intervention: Intervention) -> set[Head]:
    return set(map(pair, intervention.heads))


def layers(intervention: Intervention) -> Counter[int]:
    return Counter(layer for layer, _ in heads(intervention))


def mask(scores: Scores, **changes: Any) -> list[Intervention]:
    settings: dict[str, Any] = {
        "sizes": [3], "kind": "zero", "during": "decoding", "draws": 4, "seed": 7,
    }  # fmt: skip
    return masks(scores, **settings | changes)


def patch(source: Scores, target: Scores, **changes: Any) -> list[Intervention]:
    settings: dict[str, Any] = {
        "source_name": "real", "positions": "last", "draws": 4, "seed": 7,
    }  # fmt: skip
    return patches(source, target, **settings | changes)


def chosen(made: list[Intervention], *kinds: str) -> list[Intervention]:
    return [each for each in made if each.chosen in kinds]


def sparse(*positive: Head, shape: tuple[int, int] = (8, 12)) -> Scores:
    """Scores of 0 but at some heads, highest first."""
    scores = np.zeros(shape)
    for place, head in enumerate(positive):
        scores[head] = 1 - place / 100
    return scores


# --- Masks ---------------------------------------------------------------------------------------


def test_top_random_and_lowest_of_each_size() -> None:
    best = [(2, 3), (2, 5), (7, 0), (4, 4), (0, 11)]
    made = mask(sparse(*best), sizes=[1, 3], during="both", kind="mean", origin={"measure": "x"})
    assert [each.name for each in made] == [
        f"mask-{which}-mean-both"
        for size in (1, 3)
        for which in (
            f"top{size}", *(f"random{size}-draw{draw}" for draw in range(4)), f"lowest{size}",
        )
    ]  # fmt: skip
    tops = chosen(made, "top")
    assert [heads(each) for each in tops] == [{(2, 3)}, {(2, 3), (2, 5), (7, 0)}]
    for each in made:
        assert len(each.heads) == each.wanted
        assert each.origin["measure"] == "x"
        assert each.origin["seed"] == 7
    for each in chosen(made, "random"):
        assert not heads(each) & set(best)  # none with a positive score, though few are on top
        assert each.origin["moved"] == 0
        assert each.origin["pool"] == "outside the excluded heads"
        assert each.origin["pool_size"] == 91
    assert [layers(each) for each in chosen(made, "random")[4:]] == [Counter({2: 2, 7: 1})] * 4


def test_random_sets_come_from_all_layers_where_they_are_not_matched() -> None:
    made = mask(sparse((2, 3), (2, 5), (7, 0)), layer_matched=False, draws=40)
    found: Counter[int] = sum(map(layers, chosen(made, "random")), Counter())
    assert set(found) == set(range(8))
    assert max(found.values()) < 40  # 120 heads over 8 layers


def test_every_head_of_the_pool_is_drawn_alike() -> None:
    made = mask(sparse((1, 0), (1, 1), shape=(3, 10)), sizes=[2], draws=800)
    drawn = Counter(head for each in chosen(made, "random") for head in heads(each))
    assert set(drawn) == {(1, head) for head in range(2, 10)}
    # 1600 heads over 8, 200 each; the standard deviation is 12.
    assert 140 < min(drawn.values()) <= max(drawn.values()) < 260


def test_a_layer_that_is_full_moves_its_rest_to_the_nearest_layers() -> None:
    scores = np.zeros((6, 3))
    scores[2] = 1.0  # the whole layer is on top
    scores[1, :2] = 0.5  # one head is left in layer 1, the nearest
    made = mask(scores, sizes=[3])
    for each in chosen(made, "random"):
        assert layers(each) == Counter({1: 1, 3: 2})
        assert each.origin["moved"] == 3


def test_what_moves_leaves_other_layers_their_own_share() -> None:
    scores = sparse((0, 0), (0, 1), (1, 0), shape=(4, 2))
    for each in chosen(mask(scores), "random"):
        assert layers(each) == Counter({1: 1, 2: 2})
        assert each.origin["moved"] == 2


def test_fewer_positive_heads_than_wanted() -> None:
    made = mask(sparse((2, 3), (4, 4)), sizes=[5])
    assert [len(each.heads) for each in made] == [2] * 6
    assert {each.wanted for each in made} == {5}
    assert made[0].origin["note"] == "2 of the 5 heads wanted have a positive score"
    assert made[0].name == "mask-top5-zero-decoding"


def test_no_positive_head_masks_nothing() -> None:
    made = mask(np.zeros((2, 2)))
    assert [each.heads for each in made] == [[]] * 6
    assert made[0].origin["note"] == "no head qualifies: nothing is done"


def test_too_few_heads_without_score_are_filled_from_the_lowest() -> None:
    scores = np.arange(1.0, 21.0).reshape(4, 5)  # all positive; the last layer is on top
    made = mask(scores, sizes=[4], layer_matched=False, draws=60)
    drawn = set().union(*map(heads, chosen(made, "random")))
    assert drawn == {(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2)}
    origin = chosen(made, "random")[0].origin
    assert origin["pool"] == "lowest scores, because only 0 heads are outside the excluded ones"
    assert origin["pool_size"] == 8
    assert heads(chosen(made, "lowest")[0]) == {(0, 0), (0, 1), (0, 2), (0, 3)}


def test_a_control_that_would_hold_top_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="a control of 3 heads is needed, and only 1 heads are"):
        mask(np.ones((2, 2)), sizes=[3])
    with pytest.raises(ValueError, match="a control of 3 heads is needed, and only 1 heads are"):
        mask(np.ones((2, 2)), sizes=[3], controls=["lowest"])


def test_controls_are_made_where_they_are_wanted() -> None:
    assert [e.chosen for e in mask(np.ones((2, 2)), sizes=[4], controls=[])] == ["top"]
    assert [e.chosen for e in mask(SOURCE, controls=["lowest"])] == ["top", "lowest"]
    assert [e.chosen for e in mask(SOURCE, controls=["random"])] == ["top"] + ["random"] * 4


def test_excluded_heads_are_the_callers_choice() -> None:
    scores = sparse((0, 0), (0, 1), (0, 2), (0, 3), shape=(1, 6))
    made = mask(scores, sizes=[1], draws=60, excluded=[(0, 5)])
    assert set().union(*map(heads, chosen(made, "random"))) == {(0, 1), (0, 2), (0, 3), (0, 4)}


def test_the_lowest_break_ties_by_the_seed() -> None:
    lowest = [
        frozenset(heads(chosen(mask(sparse((0, 0)), sizes=[1], seed=seed), "lowest")[0]))
        for seed in range(12)
    ]
    assert len(set(lowest)) > 6
    scores = sparse((0, 0))
    scores[3, 3] = -1
    assert heads(chosen(mask(scores, sizes=[1]), "lowest")[0]) == {(3, 3)}


def test_draws_depend_on_nothing_but_their_own_name() -> None:
    scores = sparse((2, 3), (2, 5), (7, 0), (4, 4))
    few = {each.name: each for each in mask(scores, sizes=[3], draws=2)}
    many = {each.name: each for each in mask(scores, sizes=[1, 3, 4], draws=9)}
    assert few.items() <= many.items()
    other_kind = chosen(mask(scores, kind="uniform", during="prefill"), "random")
    assert [e.heads for e in other_kind] == [e.heads for e in chosen(mask(scores), "random")]
    other_seed = chosen(mask(scores, seed=8), "random")
    assert [e.heads for e in other_seed] != [e.heads for e in chosen(mask(scores), "random")]
    assert len({tuple(each.heads) for each in chosen(mask(scores, draws=9), "random")}) > 5


@given(scores=_scores, size=st.integers(1, 8), matched=st.booleans(), seed=st.integers(0, 99))
def test_masks_hold_what_they_say(scores: Scores, size: int, matched: bool, seed: int) -> None:
    there = {(int(a), int(b)) for a, b in np.argwhere(~np.isnan(scores))}
    positive = {head for head in there if scores[head] > 0}
    count = min(size, len(positive))
    if len(there) < 2 * count:
        with pytest.raises(ValueError, match="control"):
            mask(scores, sizes=[size], seed=seed)
        return
    made = mask(scores, sizes=[size], layer_matched=matched, seed=seed)
    best = heads(made[0])
    assert best <= positive
    outside = [scores[head] for head in positive - best]
    assert not outside or max(outside) <= min(scores[head] for head in best)
    for each in made:
        assert len(each.heads) == count
        assert heads(each) <= there
    for each in made[1:]:
        assert not heads(each) & best
    for each in chosen(made, "random"):
        if len(there - positive) >= count:
            assert not heads(each) & positive
        gained = layers(each) - layers(made[0])
        assert not matched or each.origin["moved"] == gained.total()
    lowest = heads(made[-1])
    others = [scores[head] for head in there - best - lowest]
    assert not others or not lowest or min(others) >= max(scores[head] for head in lowest)


@pytest.mark.parametrize("sizes", [[0], [2, 2], [-1, 3]])
def test_impossible_sizes_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="different numbers from 1 up"):
        mask(np.ones((4, 4)), sizes=sizes)


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(layers, heads\)"):
        mask(np.ones(3))


# --- Patches -------------------------------------------------------------------------------------


SOURCE = sparse((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))
TARGET = sparse((5, 5), (4, 4), (1, 1))


def test_intersection_complement_and_random() -> None:
    shared, lacking, *draws = patch(SOURCE, TARGET, equal_sizes=False, origin={"measure": "x"})
    assert heads(shared) == {(1, 1), (4, 4)}
    assert heads(lacking) == {(0, 0), (2, 2), (3, 3)}
    assert [each.name for each in draws] == [f"patch-random-draw{i}-last" for i in range(4)]
    for each in draws:
        assert layers(each) == Counter({1: 1, 4: 1})
        assert not heads(each) & {(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)}
    assert {each.source for each in (shared, lacking, *draws)} == {"real"}
    assert shared.origin == {
        "measure": "x", "seed": 7, "threshold": 0.0, "count": None, "equal_sizes": False,
        "intersection": 2, "complement": 3,
    }  # fmt: skip


def test_equal_sizes_keep_the_highest_source_scores() -> None:
    shared, lacking, *draws = patch(SOURCE, TARGET)
    assert heads(shared) == {(1, 1), (4, 4)}
    assert heads(lacking) == {(0, 0), (2, 2)}
    assert {len(each.heads) for each in draws} == {2}
    shared, lacking, *draws = patch(SOURCE, SOURCE - sparse((4, 4)))
    assert heads(shared) == {(0, 0)}
    assert heads(lacking) == {(4, 4)}
    assert shared.origin["intersection"] == 4


def test_the_set_is_the_callers_choice() -> None:
    by_count = patch(SOURCE, TARGET, heads=HeadSet(count=2), equal_sizes=False)
    assert heads(by_count[0]) == set()
    assert heads(by_count[1]) == {(0, 0), (1, 1)}
    by_both = patch(SOURCE, TARGET, heads=HeadSet(threshold=0.985, count=3), equal_sizes=False)
    assert heads(by_both[1]) == {(0, 0), (1, 1)}
    by_threshold = patch(SOURCE, TARGET, heads=HeadSet(threshold=0.965), equal_sizes=False)
    assert heads(by_threshold[0]) == {(1, 1)}
    assert heads(by_threshold[1]) == {(0, 0), (2, 2), (3, 3)}
    assert by_threshold[0].origin["threshold"] == 0.965


def test_an_empty_set_patches_nothing_and_cuts_nothing() -> None:
    shared, lacking, *draws = patch(SOURCE, SOURCE)
    assert len(shared.heads) == 5
    assert lacking.heads == []
    assert lacking.origin["note"] == "no head qualifies: nothing is done"
    assert {len(each.heads) for each in draws} == {5}
    shared, lacking, *draws = patch(SOURCE, TARGET * 0)
    assert [shared.heads, len(lacking.heads)] == [[], 5]
    assert [each.heads for each in draws] == [[]] * 4


def test_a_pool_that_is_too_small_is_filled_from_the_lowest_source_scores() -> None:
    source = np.arange(12.0, 0.0, -1.0).reshape(2, 6)
    target = np.where(source > 9, source, 0.0)  # shares 3 of 12
    shared, lacking, *draws = patch(source, target, layer_matched=False, draws=40)
    assert (len(shared.heads), len(lacking.heads)) == (3, 3)
    assert set().union(*map(heads, draws)) == {(1, head) for head in range(6)}
    assert "only 0 heads are outside" in draws[0].origin["pool"]


@given(
    data=st.data(), shape=st.tuples(st.integers(1, 6), st.integers(1, 6)), equal=st.booleans(),
)  # fmt: skip
def test_patches_hold_what_they_say(
    data: st.DataObject, shape: tuple[int, int], equal: bool
) -> None:
    values = st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.4])
    source = data.draw(hnp.arrays(np.float64, shape, elements=values))
    target = data.draw(hnp.arrays(np.float64, shape, elements=values))
    gone = data.draw(hnp.arrays(np.bool_, shape))
    source[gone] = target[gone] = np.nan
    wanted, found = (set(map(tuple, np.argwhere(x > 0).tolist())) for x in (source, target))
    try:
        shared, lacking, *draws = patch(source, target, equal_sizes=equal)
    except ValueError:
        assume(False)
        raise
    assert heads(shared) <= wanted & found
    assert heads(lacking) <= wanted - found
    sizes = {len(wanted & found), len(wanted - found)}
    if equal and min(sizes):
        assert len(shared.heads) == len(lacking.heads) == min(sizes)
    else:
        assert heads(shared) == wanted & found
        assert heads(lacking) == wanted - found
    for each in draws:
        assert len(each.heads) == len(shared.heads)
        assert not heads(each) & (heads(shared) | heads(lacking))
        assert not any(gone[head] for head in heads(each))
        if (~gone).sum() - len(wanted | found) >= len(shared.heads):
            assert not heads(each) & (wanted | found)


def test_runs_of_other_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same heads"):
        patch(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="not of the same heads"):
        patch(np.ones((2, 2)), np.array([[1.0, np.nan], [1.0, 1.0]]))
