"""Tables of scores, variants and comparisons, worked out by hand from small prediction files."""

from __future__ import annotations

import json
import math
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from needlework.evaluation.contrasts import COMPARISON_COLUMNS
from needlework.evaluation.correlations import CORRELATION_COLUMNS
from needlework.evaluation.scoring import SCORE_COLUMNS, ScoreTables, score_tables
from needlework.evaluation.variant_table import VARIANT_COLUMNS
from needlework.examples import Example, write_examples
from needlework.statistics import PairedBootstrap

_ITEMS = 12
_CLUSTERS = [f"c{i // 2}" for i in range(_ITEMS)]


def _predictions(
    root: Path, run: str, right: Sequence[int], *, ids: Sequence[str] = (), name: str = "plain"
) -> Path:
    """A predictions file in which the items of `right` are answered and the others are not."""
    path = root / run / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": ids[i] if ids else f"q{i:02d}",
            "cluster": f"c{i // 2}",
            "question": "?",
            "answers": ["Lima"],
            "prediction": "Lima" if i in right else "Quito",
            "stopped_by": "end",
            "prompt_tokens": 9,
        }
        for i in range(len(ids) or _ITEMS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _tables(paths: Sequence[Path], *, reference: str = "real", **how: Any) -> ScoreTables:
    given = {"resamples": 400, "level": 0.95, "seed": 3} | how
    return score_tables(paths, reference=reference, **given)


def _study(root: Path) -> list[Path]:
    return [
        _predictions(root, "m/t/untuned/seed0", [0]),
        _predictions(root, "m/t/real/seed0", range(9)),
        _predictions(root, "m/t/real/seed1", range(11)),
        _predictions(root, "m/t/symbolic/seed0", [0, 3, 6, 9]),
    ]


@pytest.fixture
def tables(tmp_path: Path) -> ScoreTables:
    return _tables(_study(tmp_path))


def _row(table: pd.DataFrame, **keys: Any) -> Any:
    for name, value in keys.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


# --- scores.csv --------------------------------------------------------------------------------


def test_each_run_has_a_row_for_each_metric(tables: ScoreTables) -> None:
    scores = tables.scores
    assert list(scores.columns) == SCORE_COLUMNS
    assert len(scores) == 4 * 2
    f1 = scores[scores["metric"] == "f1"]
    assert list(f1["variant"]) == ["untuned", "real", "real", "symbolic"]
    assert list(f1["seed"]) == [0, 0, 1, 0]
    assert f1["mean"].tolist() == pytest.approx([1 / 12, 9 / 12, 11 / 12, 4 / 12])
    assert set(scores["n"]) == {12}
    assert set(scores["n_clusters"]) == {6}
    assert (scores["low"] <= scores["mean"]).all()
    assert (scores["mean"] <= scores["high"]).all()


def test_the_metrics_differ_where_answers_are_half_right(tmp_path: Path) -> None:
    path = _predictions(tmp_path, "m/t/real/seed0", range(12))
    path.write_text(path.read_text().replace('"Lima"]', '"Lima Peru"]'), encoding="utf-8")
    scores = _tables([path]).scores
    assert _row(scores, metric="f1")["mean"] == pytest.approx(2 / 3)
    assert _row(scores, metric="exact_match")["mean"] == 0


def test_a_task_is_scored_by_its_own_metrics(tmp_path: Path) -> None:
    path = _predictions(tmp_path, "m/summhay/real/seed0", range(12))
    text = path.read_text().replace('"Lima"]', '"[1][4]"]').replace("Lima", "[4]")
    path.write_text(text, encoding="utf-8")
    scores = _tables([path]).scores
    assert list(scores["metric"]) == [
        "citation_f1", "citation_precision", "citation_recall", "exact_match"
    ]  # fmt: skip
    assert _row(scores, metric="citation_f1")["mean"] == pytest.approx(2 / 3)


def _changed(path: Path, changes: dict[int, dict[str, Any]]) -> Path:
    """A predictions file with some keys of some rows replaced."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(row | changes.get(i, {})) + "\n" for i, row in enumerate(rows)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_replies_without_an_answer_are_counted_and_scored(tmp_path: Path) -> None:
    nothing = {"prediction": " ", "stopped_by": "limit"}
    right_but_cut = {"stopped_by": "limit"}
    paths = [
        _changed(
            _predictions(tmp_path, "m/t/real/seed0", range(6)),
            {0: right_but_cut, 10: nothing, 11: {"prediction": ""}},
        ),
        _predictions(tmp_path, "m/t/symbolic/seed0", range(6)),
    ]
    scores = _tables(paths).scores
    assert list(scores.columns[-2:]) == ["unparseable", "cut"]
    for metric in ("f1", "exact_match"):
        row = _row(scores, variant="real", metric=metric)
        assert (row["unparseable"], row["cut"], row["n"]) == (2, 2, 12)
        assert row["mean"] == pytest.approx(6 / 12)  # of all rows
        other = _row(scores, variant="symbolic", metric=metric)
        assert (other["unparseable"], other["cut"]) == (0, 0)


def test_what_can_be_read_depends_on_the_task(tmp_path: Path) -> None:
    """Every prediction is a text, "Lima" or "Quito": no citation, and no verdict."""
    tasks = {"mdqa": 0, "summhay": 12, "factbook_citation": 12, "flenqa": 12}
    for task, expected in tasks.items():
        scores = _tables([_predictions(tmp_path, f"m/{task}/real/seed0", [0])]).scores
        assert set(scores["unparseable"]) == {expected}, task
        assert set(scores["n"]) == {12}


def test_intervals_are_those_of_the_bootstrap_over_clusters(tables: ScoreTables) -> None:
    scores = tables.scores
    row = _row(scores, variant="symbolic", metric="f1")
    values = [[float(i in (0, 3, 6, 9))] for i in range(_ITEMS)]
    boot = PairedBootstrap(values, _CLUSTERS, resamples=400, seed=3)
    assert (row["mean"], row["low"], row["high"]) == boot.interval(0, 0.95)


# --- comparisons.csv ---------------------------------------------------------------------------


def test_every_variant_is_compared_with_every_other(tables: ScoreTables) -> None:
    comparisons = tables.comparisons
    assert list(comparisons.columns) == COMPARISON_COLUMNS
    f1 = comparisons[comparisons["metric"] == "f1"]
    assert list(zip(f1["variant_a"], f1["variant_b"], f1["contrast"], strict=True)) == [
        ("real", "untuned", "untuned"),
        ("symbolic", "untuned", "untuned"),
        ("symbolic", "real", "reference"),
    ]
    gain = _row(comparisons, variant_a="real", variant_b="untuned", metric="f1")
    assert gain["difference"] > 0
    assert 0 < gain["low"] <= gain["difference"] <= gain["high"]
    loss = _row(comparisons, variant_a="symbolic", variant_b="real", metric="f1")
    assert loss["low"] <= loss["difference"] <= loss["high"] < 0


def test_seeds_are_averaged_before_comparing(tables: ScoreTables) -> None:
    comparisons = tables.comparisons
    row = _row(comparisons, variant_a="symbolic", variant_b="real", metric="f1")
    # Item by item: real data has 1 up to item 8, one half for 9 and 10, 0 for 11.
    real = np.array([1.0] * 9 + [0.5, 0.5, 0.0])
    symbolic = np.array([float(i in (0, 3, 6, 9)) for i in range(_ITEMS)])
    assert row["difference"] == pytest.approx((symbolic - real).mean())
    boot = PairedBootstrap(np.column_stack([real, symbolic]), _CLUSTERS, resamples=400, seed=3)
    expected = boot.difference(1, 0, 0.95)
    keys = ("low", "high", "bca_low", "bca_high", "p")
    assert [row[key] for key in keys] == pytest.approx(list(expected[1:]))
    by_cluster = (symbolic - real).reshape(-1, 2).mean(axis=1)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert row["detectable"] == pytest.approx(z * by_cluster.std(ddof=1) / math.sqrt(6))


def test_items_of_one_cluster_are_no_evidence_of_their_own(tmp_path: Path) -> None:
    """Four questions asked once, or each three times with the same outcome: the same power."""
    detectable = []
    for repeats in (1, 3):
        ids = [f"{i:02d}" for i in range(4 * repeats)]
        clusters = {i: f"c{int(i) // repeats}" for i in ids}
        right = [i for i, name in enumerate(clusters.values()) if name in ("c1", "c2")]
        paths = [
            _predictions(tmp_path / str(repeats), "m/t/untuned/seed0", [], ids=ids),
            _predictions(tmp_path / str(repeats), "m/t/real/seed0", right, ids=ids),
        ]
        for path in paths:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            changed = [json.dumps(row | {"cluster": clusters[row["id"]]}) for row in rows]
            path.write_text("\n".join(changed) + "\n", encoding="utf-8")
        comparisons = _tables(paths).comparisons
        detectable += comparisons["detectable"].tolist()
    assert detectable == pytest.approx([detectable[0]] * 4)
    assert detectable[0] > 0


def test_models_tasks_and_conditions_are_families_of_their_own(tmp_path: Path) -> None:
    pairs = {"m/t": "plain", "n/t": "plain", "m/u": "plain", "o/t": "mask-top10"}
    paths = [
        _predictions(tmp_path, f"{place}/{variant}/seed0", right, name=name)
        for place, name in pairs.items()
        for variant, right in (("untuned", [0, 1]), ("real", range(7)))
    ]
    scores, _, comparisons = _tables(paths)
    assert len(scores) == 8 * 2
    assert len(comparisons) == 4 * 2  # never across
    # A family of one comparison: nothing to adjust.
    larger = comparisons[["p", "p_sign_flip"]].max(axis=1)
    assert (larger == comparisons["p_adjusted"]).all()
    assert set(comparisons["condition"]) == {"plain", "mask-top10"}


def test_conditions_of_one_run_are_scored_apart(tmp_path: Path) -> None:
    """Views of the test examples, and answers without documents, may hold items of their own."""
    conditions = ["plain", "closed_book", "length4096", "position5of20", "random-position5of20"]
    paths = [
        _predictions(
            tmp_path, f"m/mdqa/{variant}/seed0", range(place + 1 + gain),
            ids=[f"{name}-{i}" for i in range(7 + place)], name=name,
        )
        for place, name in enumerate(conditions)
        for variant, gain in (("untuned", 0), ("real", 1))
    ]  # fmt: skip
    scores, _, comparisons = _tables(paths)
    assert list(scores["condition"].unique()) == conditions
    for place, name in enumerate(conditions):
        row = _row(scores, condition=name, variant="untuned", metric="f1")
        assert (row["n"], row["mean"]) == (7 + place, pytest.approx((place + 1) / (7 + place)))
        gain = _row(comparisons, condition=name, metric="f1")
        assert gain["difference"] == pytest.approx(1 / (7 + place))
        # A family of one comparison.
        assert gain["p_adjusted"] == max(gain["p"], gain["p_sign_flip"])
    alone = _tables(paths[:2]).scores
    plain = scores[scores["condition"] == "plain"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, plain, check_exact=True)


def test_a_run_trained_otherwise_stands_where_a_variant_stands(tmp_path: Path) -> None:
    names = ["untuned", "real", "real-short", "Real.v2_half", "real:0.5+symbolic:0.5"]
    paths = [
        _predictions(tmp_path, f"m/t/{name}/seed0", range(i + 1)) for i, name in enumerate(names)
    ]
    scores, _, comparisons = _tables(paths)
    assert list(scores["variant"].unique()) == names
    row = _row(comparisons, variant_a="real-short", variant_b="real", metric="f1")
    assert row["difference"] == pytest.approx(1 / 12)


def test_a_single_run_has_no_comparisons(tmp_path: Path) -> None:
    scores, variants, comparisons = _tables([_predictions(tmp_path, "m/t/real/seed0", [1])])
    assert len(scores) == 2
    assert list(comparisons.columns) == COMPARISON_COLUMNS
    assert comparisons.empty
    assert len(variants) == 2
    assert variants["rank"].isna().all()


def test_the_same_seed_gives_the_same_tables(tmp_path: Path) -> None:
    paths = _study(tmp_path)
    for first, second in zip(_tables(paths), _tables(paths), strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    other = _tables(paths, seed=4).comparisons
    assert not other["p"].equals(_tables(paths).comparisons["p"])


def test_another_variant_beside_them_moves_no_number(tmp_path: Path) -> None:
    paths = _study(tmp_path)
    whole, part = _tables(paths).scores, _tables(paths[:2]).scores
    for row in part.to_dict("records"):
        assert _row(whole, variant=row["variant"], seed=row["seed"], metric=row["metric"]) == row


# --- variants.csv ------------------------------------------------------------------------------


def test_each_variant_has_a_row_for_each_metric(tables: ScoreTables) -> None:
    variants = tables.variants
    assert list(variants.columns) == VARIANT_COLUMNS
    assert len(variants) == 3 * 2
    row = _row(variants, variant="real", metric="f1")
    assert row["mean"] == pytest.approx((9 + 11) / 2 / 12)
    assert (row["seeds"], row["n"], row["n_clusters"]) == (2, 12, 6)
    # The seeds' means are 9/12 and 11/12.
    assert row["seed_sd"] == pytest.approx(math.sqrt(2) / 12)
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((9 / 12, 11 / 12))
    values = [[(i < 9) / 2 + (i < 11) / 2] for i in range(_ITEMS)]
    boot = PairedBootstrap(values, _CLUSTERS, resamples=400, seed=3)
    assert (row["mean"], row["low"], row["high"]) == boot.interval(0, 0.95)
    assert (row["bca_low"], row["bca_high"]) == boot.bca(0, 0.95)
    assert math.isnan(_row(variants, variant="symbolic", metric="f1")["seed_sd"])


def test_only_synthetic_variants_are_ranked(tmp_path: Path) -> None:
    right = {"untuned": 1, "real": 11, "low_low": 3, "symbolic": 6, "low_low-long": 9,
             "real:0.5+symbolic:0.5": 10}  # fmt: skip
    paths = [_predictions(tmp_path, f"m/t/{name}/seed0", range(n)) for name, n in right.items()]
    tables = _tables(paths, controls=["low_low-long"])
    f1 = tables.variants[tables.variants["metric"] == "f1"].set_index("variant")
    assert f1["rank"].dropna().to_dict() == {"low_low": 2, "symbolic": 1}
    assert f1["best"].sum() == pytest.approx(1)
    assert f1.loc["symbolic", "best"] > 0.9
    kinds = tables.comparisons.groupby("contrast").size().to_dict()
    assert kinds == {"untuned": 2 * 5, "reference": 2 * 4, "best": 2 * 1, "other": 2 * 5}
    without = _tables(paths)
    ranks = without.variants[without.variants["metric"] == "f1"].set_index("variant")["rank"]
    assert ranks.dropna().to_dict() == {"low_low": 3, "symbolic": 2, "low_low-long": 1}


def test_a_condition_has_its_own_seeds_and_best(tmp_path: Path) -> None:
    paths = [
        _predictions(tmp_path, f"m/t/{name}/seed0", range(n), name=condition)
        for condition, numbers in (("plain", (3, 6)), ("length128", (6, 3)))
        for name, n in zip(("low_low", "symbolic"), numbers, strict=True)
    ]
    comparisons = _tables(paths).comparisons
    best = comparisons[comparisons["metric"] == "f1"].set_index("condition")
    assert set(best["contrast"]) == {"best"}
    assert best["variant_b"].to_dict() == {"plain": "symbolic", "length128": "low_low"}
    assert list(best["difference"]) == pytest.approx([-3 / 12] * 2)


# --- What is not comparable is refused ---------------------------------------------------------


def test_runs_on_different_items_are_refused_by_name(tmp_path: Path) -> None:
    paths = [
        _predictions(tmp_path, "m/t/untuned/seed0", [0], ids=["q1", "q2", "q3"]),
        _predictions(tmp_path, "m/t/real/seed0", [0], ids=["q1", "q2", "q9"]),
    ]
    with pytest.raises(ValueError, match="hold different items, q3, q9; remove both") as caught:
        _tables(paths)
    assert all(str(path) in str(caught.value) for path in paths)


def test_the_same_items_in_another_order_are_refused(tmp_path: Path) -> None:
    paths = [
        _predictions(tmp_path, "m/t/untuned/seed0", [0], ids=["q1", "q2"]),
        _predictions(tmp_path, "m/t/real/seed0", [0], ids=["q2", "q1"]),
    ]
    with pytest.raises(ValueError, match="same ids in another order"):
        _tables(paths)


# --- The command -------------------------------------------------------------------------------


def test_the_command_writes_every_table(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a study whose heads were not scored, with a control."""
    names = ["untuned", "real", "low_low", "symbolic", "symbolic-short"]
    paths = [_predictions(tmp_path, f"m/t/{name}/seed0", range(i)) for i, name in enumerate(names)]
    examples = [
        Example(
            id=f"q{i:02d}", task="t", variant="real", question="?", answers=["Lima"], needles=[],
            documents=[], cluster=f"c{i // 2}", source={},
        )
        for i in range(_ITEMS)
    ]  # fmt: skip
    write_examples(tmp_path / "test.jsonl", examples)
    similarity = "model,task_a,variant_a,task_b,variant_b,set,measure,value\n"
    (tmp_path / "head_similarity.csv").write_text(similarity, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [
        "compute_statistics", "--predictions", *map(str, paths), "--examples",
        str(tmp_path / "test.jsonl"), "--similarity", str(tmp_path / "head_similarity.csv"),
        "--reference", "real", "--controls", "symbolic-short", "--resamples", "400", "--level",
        "0.95", "--seed", "3", "--output", str(tmp_path / "statistics"),
    ])  # fmt: skip
    runpy.run_path(str(root / "scripts/compute_statistics.py"), run_name="__main__")
    found = {path.stem: pd.read_csv(path) for path in (tmp_path / "statistics").glob("*.csv")}
    assert {name: list(table.columns) for name, table in found.items()} == {
        "scores": SCORE_COLUMNS,
        "variants": VARIANT_COLUMNS,
        "comparisons": COMPARISON_COLUMNS,
        "correlations": CORRELATION_COLUMNS,
    }
    assert found["correlations"].empty
    ranks = found["variants"].query("metric == 'f1'").set_index("variant")["rank"].dropna()
    assert ranks.to_dict() == {"low_low": 2, "symbolic": 1}
    expected = _tables(paths, controls=["symbolic-short"]).comparisons
    np.testing.assert_allclose(found["comparisons"]["p"], expected["p"], rtol=1e-5)
