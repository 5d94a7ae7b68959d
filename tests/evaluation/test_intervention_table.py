"""The table of interventions, worked out by hand from small prediction files."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from needlework.evaluation.intervention_table import INTERVENTION_COLUMNS, intervention_table
from needlework.interventions.record import Intervention, write_intervention
from needlework.statistics import PairedBootstrap, detectable_difference, sign_flip

_ITEMS = 12
_IDS = [f"q{i:02d}" for i in range(_ITEMS)]
_CLUSTERS = [f"c{i // 2}" for i in range(_ITEMS)]
_RUN = "m/t/v/seed1"
# What is answered right by condition.
_PLAIN = range(10)
_TOP = [0, 3]
_DRAWS = [[0, 1, 2, 3, 4, 5], range(9)]


def _mask(chosen: Any, draw: int | None = None, **other: Any) -> Intervention:
    given = {"wanted": 5, "kind": "zero", "during": "decoding", "heads": ["0-1", "2-3"]} | other
    return Intervention(action="mask", chosen=chosen, draw=draw, **given)


def _patch(chosen: Any, draw: int | None = None, positions: Any = "last") -> Intervention:
    return Intervention(
        action="patch", chosen=chosen, draw=draw, heads=["0-1"], positions=positions, source="real"
    )


class _Study:
    """Files of predictions and records, as a study writes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plain: list[Path] = []
        self.intervened: list[Path] = []
        self.records: list[Path] = []

    def add_plain(self, right: Collection[int], run: str = _RUN, **how: Any) -> None:
        self.plain.append(self._answers(run, "plain", right, **how))

    def add(
        self, record: Intervention, right: Collection[int], run: str = _RUN, **how: Any
    ) -> None:
        self.intervened.append(self._answers(run, record.name, right, **how))
        path = self.root / "interventions" / run / f"{record.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_intervention(path, record)
        self.records.append(path)

    def _answers(
        self, run: str, name: str, right: Collection[int], ids: Sequence[str] = _IDS
    ) -> Path:
        path = self.root / "predictions" / run / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "id": each,
                "cluster": f"c{int(each[1:]) // 2}",
                "answers": ["Lima"],
                "prediction": "Lima" if int(each[1:]) in right else "Quito",
            }
            for each in ids
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def table(self) -> pd.DataFrame:
        return intervention_table(
            self.plain, self.intervened, self.records, resamples=400, level=0.9, seed=3
        )


@pytest.fixture
def empty(tmp_path: Path) -> _Study:
    return _Study(tmp_path)


@pytest.fixture
def study(empty: _Study) -> _Study:
    """One mask, two random draws and the lowest heads, on one run."""
    empty.add_plain(_PLAIN)
    empty.add(_mask("top"), _TOP)
    for draw, right in enumerate(_DRAWS):
        empty.add(_mask("random", draw), right)
    empty.add(_mask("lowest"), _PLAIN)
    return empty


def _row(table: pd.DataFrame, condition: str, against: str | None, metric: str = "f1") -> Any:
    found = table[(table["condition"] == condition) & (table["metric"] == metric)]
    found = found[found["against"].isna() if against is None else found["against"] == against]
    (row,) = found.to_dict("records")
    return row


def _scores(right: Collection[int]) -> list[float]:
    return [float(i in right) for i in range(_ITEMS)]


# --- What stands in the table ------------------------------------------------------------------


def test_each_condition_stands_against_plain_and_against_the_mean_of_random_draws(
    study: _Study,
) -> None:
    table = study.table()
    assert list(table.columns) == INTERVENTION_COLUMNS
    f1 = table[table["metric"] == "f1"]
    assert len(table) == 2 * len(f1)
    named = f1["against"].astype(object).where(f1["against"].notna(), None)
    assert list(zip(f1["condition"], named, strict=True)) == [
        ("plain", None),
        ("mask-top5-zero-decoding", "plain"),
        ("mask-top5-zero-decoding", "random"),
        ("mask-random5-draw0-zero-decoding", "plain"),
        ("mask-random5-draw1-zero-decoding", "plain"),
        ("mask-lowest5-zero-decoding", "plain"),
        ("mask-lowest5-zero-decoding", "random"),
        ("mask-random5-zero-decoding", "plain"),
    ]
    assert set(table["n"]) == {12}
    assert set(table["n_clusters"]) == {6}
    assert (table["model"] + table["task"] + table["variant"]).unique().tolist() == ["mtv"]
    assert set(table["seed"]) == {1}


def test_means_and_differences_are_those_worked_out_by_hand(study: _Study) -> None:
    table = study.table()
    assert _row(table, "plain", None)["mean"] == pytest.approx(10 / 12)
    against_plain = _row(table, "mask-top5-zero-decoding", "plain")
    assert against_plain["mean"] == pytest.approx(2 / 12)
    assert against_plain["difference"] == pytest.approx(-8 / 12)
    random = _row(table, "mask-random5-zero-decoding", "plain")
    assert random["mean"] == pytest.approx((6 + 9) / 2 / 12)
    assert random["difference"] == pytest.approx(-2.5 / 12)
    draws = [
        _row(table, f"mask-random5-draw{draw}-zero-decoding", "plain")["mean"] for draw in (0, 1)
    ]
    assert draws == pytest.approx([6 / 12, 9 / 12])
    against_random = _row(table, "mask-top5-zero-decoding", "random")
    assert against_random["mean"] == against_plain["mean"]
    assert against_random["difference"] == pytest.approx((2 - 7.5) / 12)
    assert _row(table, "mask-lowest5-zero-decoding", "plain")["difference"] == 0


def test_limits_and_p_are_those_of_the_paired_bootstrap(study: _Study) -> None:
    table = study.table()
    random = np.mean([_scores(right) for right in _DRAWS], axis=0)
    values = np.column_stack([_scores(_PLAIN), _scores(_TOP), random])
    boot = PairedBootstrap(values, _CLUSTERS, resamples=400, seed=3)
    limits = ("difference", "difference_low", "difference_high", "p")
    for condition, against, a, b in [
        ("mask-top5-zero-decoding", "plain", 1, 0),
        ("mask-top5-zero-decoding", "random", 1, 2),
        ("mask-random5-zero-decoding", "plain", 2, 0),
    ]:
        row = _row(table, condition, against)
        expected = boot.difference(a, b, 0.9)
        assert tuple(row[key] for key in limits) == (*expected[:3], expected.p)
        (p,) = sign_flip(values[:, [a]] - values[:, [b]], _CLUSTERS, permutations=400, seed=3)
        assert row["p_sign_flip"] == p
        means = (values[:, a] - values[:, b]).reshape(6, 2).mean(axis=1)
        assert row["detectable"] == pytest.approx(detectable_difference(means))
        assert (row["mean"], row["low"], row["high"]) == boot.interval(a, 0.9)
    row = _row(table, "plain", None)
    assert (row["mean"], row["low"], row["high"]) == boot.interval(0, 0.9)
    others = ("p_adjusted", "p_sign_flip", "detectable")
    assert all(math.isnan(row[key]) for key in (*limits, *others))


def test_signs_are_flipped_by_cluster(study: _Study) -> None:
    """All 64 patterns of six clusters, by hand: masking lost 2, 1, 2, 2, 1 and no answers."""
    sums = [-1.0, -1.0, -2.0, -2.0, -2.0, 0.0]
    flips = [
        abs(sum(sign * each for sign, each in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    row = _row(study.table(), "mask-top5-zero-decoding", "plain")
    assert row["p_sign_flip"] == np.mean([flip >= 8 for flip in flips]) == 4 / 64


def test_what_was_done_is_told_in_columns(study: _Study) -> None:
    study.add(_patch("intersection", positions="all"), [1])
    table = study.table()
    keys = ("action", "chosen", "k", "heads", "draw", "kind", "during", "positions", "source")
    told = {
        "plain": (None,) * 9,
        "mask-top5-zero-decoding": ("mask", "top", 5, 2, None, "zero", "decoding", None, None),
        "mask-random5-draw1-zero-decoding": (
            "mask", "random", 5, 2, 1, "zero", "decoding", None, None,
        ),
        "mask-random5-zero-decoding": (
            "mask", "random", 5, 2, None, "zero", "decoding", None, None,
        ),
        "patch-intersection-all": (
            "patch", "intersection", None, 1, None, None, None, "all", "real",
        ),
    }  # fmt: skip
    for condition, expected in told.items():
        row = _row(table, condition, None if condition == "plain" else "plain")
        assert tuple(None if pd.isna(row[key]) else row[key] for key in keys) == expected


def test_whole_numbers_stay_whole_in_the_file(study: _Study, tmp_path: Path) -> None:
    study.table().to_csv(tmp_path / "interventions.csv", index=False)
    found = pd.read_csv(tmp_path / "interventions.csv", dtype=str)
    assert set(found["k"].dropna()) == {"5"}
    assert set(found["draw"].dropna()) == {"0", "1"}


# --- Which draws a condition is compared with --------------------------------------------------


@pytest.mark.parametrize(
    "draws",
    [
        [_mask("random", 0, wanted=6)],
        [_mask("random", 0, kind="mean")],
        [_mask("random", 0, during="both")],
        [_patch("random", 0)],
        [],
    ],
)
def test_draws_of_another_kind_are_no_control(empty: _Study, draws: list[Intervention]) -> None:
    empty.add_plain(_PLAIN)
    empty.add(_mask("top"), _TOP)
    for record in draws:
        empty.add(record, [])
    table = empty.table()
    assert list(table[table["chosen"] == "top"]["against"]) == ["plain", "plain"]


def test_patches_are_compared_with_draws_of_their_positions(empty: _Study) -> None:
    empty.add_plain(_PLAIN)
    for positions, right in (("last", [1, 2]), ("all", [1, 2, 3, 4])):
        empty.add(_patch("random", 0, positions), right)
        for chosen in ("intersection", "complement"):
            empty.add(_patch(chosen, positions=positions), [])
    table = empty.table()
    for chosen in ("intersection", "complement"):
        last = _row(table, f"patch-{chosen}-last", "random")
        everywhere = _row(table, f"patch-{chosen}-all", "random")
        assert (last["difference"], everywhere["difference"]) == pytest.approx((-2 / 12, -4 / 12))


# --- Adjustment --------------------------------------------------------------------------------


def test_p_is_adjusted_over_all_but_single_draws_of_a_model_and_task(empty: _Study) -> None:
    """Two runs of one task, by hand: the smallest times 6, the next times 5, never falling."""
    for run, top in ((_RUN, _TOP), ("m/t/w/seed1", [0, 2, 4, 6, 8])):
        empty.add_plain(_PLAIN, run)
        empty.add(_mask("top"), top, run)
        for draw, right in enumerate(_DRAWS):
            empty.add(_mask("random", draw), right, run)
    table = empty.table()
    for _, family in table.groupby("metric"):
        single = family["draw"].notna()
        assert family[single][["p", "p_sign_flip", "detectable"]].notna().all(axis=None)
        assert family[single]["p_adjusted"].isna().all()
        planned = family[~single & family["against"].notna()]
        larger = planned[["p", "p_sign_flip"]].max(axis=1).sort_values(kind="stable")
        planned = planned.loc[larger.index]
        assert len(planned) == 6
        expected = np.maximum.accumulate(larger.to_numpy() * [6, 5, 4, 3, 2, 1]).clip(max=1)
        np.testing.assert_allclose(planned["p_adjusted"], expected, rtol=1e-12)


def test_models_and_tasks_are_families_of_their_own(empty: _Study) -> None:
    for run in ("m/t/v/seed0", "n/t/v/seed0", "m/u/v/seed0"):
        empty.add_plain(_PLAIN, run)
        empty.add(_mask("top"), _TOP, run)
    compared = empty.table().dropna(subset="against")
    assert len(compared) == 3 * 2
    assert (compared[["p", "p_sign_flip"]].max(axis=1) == compared["p_adjusted"]).all()


def test_a_task_is_scored_by_its_own_metrics(empty: _Study) -> None:
    empty.add_plain(_PLAIN, "m/mdqa/v/seed0")
    empty.add(_mask("top"), _TOP, "m/mdqa/v/seed0")
    found = list(dict.fromkeys(empty.table()["metric"]))
    assert found == ["f1", "exact_match", "best_subspan_em"]


def test_each_metric_has_its_own_numbers(empty: _Study) -> None:
    """Answers that are half right count for F1 and not as exact matches."""
    empty.add_plain(_PLAIN)
    empty.add(_mask("top"), _TOP)
    empty.add(_mask("random", 0), range(6))
    for path in (empty.plain[0], empty.intervened[1]):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"prediction": "Lima"', '"prediction": "in Lima"'))
    table = empty.table()
    half = 2 / 3
    plain, top, random = (
        np.array(_scores(right)) * share
        for right, share in ((_PLAIN, half), (_TOP, 1), (range(6), half))
    )
    found = [_row(table, "mask-top5-zero-decoding", against) for against in ("plain", "random")]
    for row, other in zip(found, (plain, random), strict=True):
        boot = PairedBootstrap(np.stack([top, other], 1), _CLUSTERS, resamples=400, seed=3)
        expected = boot.difference(0, 1, 0.9)
        assert [row["difference"], row["difference_low"], row["p"]] == pytest.approx(
            [expected.difference, expected.low, expected.p]
        )
    for condition, against in (("plain", None), ("mask-random5-zero-decoding", "plain")):
        row = _row(table, condition, against, "exact_match")
        assert (row["mean"], row["low"], row["high"]) == (0, 0, 0)
    exact = _row(table, "mask-top5-zero-decoding", "plain", "exact_match")
    assert exact["difference"] == pytest.approx(2 / 12)
    assert exact["detectable"] != pytest.approx(found[0]["detectable"])


def test_no_interventions_are_an_empty_table(empty: _Study) -> None:
    empty.add_plain(_PLAIN)
    table = empty.table()
    assert table.empty
    assert list(table.columns) == INTERVENTION_COLUMNS


# --- The items ---------------------------------------------------------------------------------


def test_plain_answers_count_where_an_item_was_intervened_on(empty: _Study) -> None:
    """The first six of the test set, in another order."""
    empty.add_plain([0, 1, 2, 9, 10, 11])
    empty.add(_mask("top"), [0], ids=_IDS[5::-1])
    empty.add(_mask("lowest"), [0, 1, 2, 3], ids=_IDS[:6])
    table = empty.table()
    assert set(table["n"]) == {6}
    assert _row(table, "plain", None)["mean"] == pytest.approx(3 / 6)
    assert _row(table, "mask-top5-zero-decoding", "plain")["difference"] == pytest.approx(-2 / 6)
    row = _row(table, "mask-lowest5-zero-decoding", "plain")
    values = np.column_stack([_scores([0, 1, 2])[:6], _scores(range(4))[:6]])
    boot = PairedBootstrap(values, _CLUSTERS[:6], resamples=400, seed=3)
    assert row["p"] == boot.difference(1, 0, 0.9).p


def test_conditions_on_different_items_are_refused_by_name(empty: _Study) -> None:
    empty.add_plain(_PLAIN)
    empty.add(_mask("top"), _TOP)
    empty.add(_mask("lowest"), _TOP, ids=_IDS[:-1])
    with pytest.raises(ValueError, match="hold different items, q11; remove both") as caught:
        empty.table()
    assert all(str(path) in str(caught.value) for path in empty.intervened)


def test_items_without_plain_answers_are_refused_by_name(empty: _Study) -> None:
    empty.add_plain(_PLAIN, ids=_IDS[2:])
    empty.add(_mask("top"), _TOP)
    with pytest.raises(ValueError, match=r"answers 2 items that .* does not, q00, q01") as caught:
        empty.table()
    assert all(str(path) in str(caught.value) for path in (*empty.plain, *empty.intervened))


def test_an_item_answered_twice_is_refused(empty: _Study) -> None:
    empty.add_plain(_PLAIN)
    empty.add(_mask("top"), _TOP, ids=[*_IDS, "q03"])
    with pytest.raises(ValueError, match="answers an item more than once"):
        empty.table()


def test_what_has_no_counterpart_is_refused(study: _Study) -> None:
    records, intervened, plain = study.records, study.intervened, study.plain
    study.records = records[1:]
    with pytest.raises(
        ValueError, match=r"m/t/v/seed1: .* mask-top5-zero-decoding has predictions"
    ):
        study.table()
    study.records, study.intervened = records, intervened[:-1]
    with pytest.raises(ValueError, match="mask-lowest5-zero-decoding has a record and no pred"):
        study.table()
    study.intervened, study.plain = intervened, []
    with pytest.raises(ValueError, match="m/t/v/seed1 has interventions and no plain predictions"):
        study.table()
    study.plain = plain
    assert len(study.table()) == 16
