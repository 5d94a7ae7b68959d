"""The table of general abilities, against the bootstrap called directly on the same scores."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from needlework.evaluation.general import ITEMS, RECORD, question_key
from needlework.evaluation.general_table import GENERAL_COLUMNS, general_table
from needlework.statistics import PairedBootstrap, holm

_UNTUNED = "m/t/untuned/seed0"
_HOW: dict[str, Any] = {"resamples": 200, "level": 0.9, "seed": 5}
_FACTS = {
    "metric": "acc", "filter": "none", "shots": 0, "shots_from": None, "version": 1.0,
    "data": "hub", "stderr": 0.1, "cut": 0,
}  # fmt: skip


def _save(root: Path, run: str, scores: dict[str, Sequence[float]], **facts: Any) -> Path:
    """A run's two files; the items of a benchmark are of two subjects, with the same ids."""
    items = [
        {
            "benchmark": name, "subject": "ab"[i % 2], "id": f"{i // 2}-x",
            "question": question_key(f"{name} {i}"), "prediction": 0, "score": score,
        }
        for name, values in scores.items() for i, score in enumerate(values)
    ]  # fmt: skip
    benchmarks = {
        name: _FACTS | {"value": float(np.mean(values)), "n": len(values)} | facts
        for name, values in scores.items()
    }
    folder = root / "general" / run
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps({"benchmarks": benchmarks}), encoding="utf-8")
    lines = "".join(json.dumps(item) + "\n" for item in items)
    (folder / ITEMS).write_text(lines, encoding="utf-8")
    return folder / RECORD


def _scores(seed: int, share: float, n: int = 12) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(n) < share]


def _rows(table: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    records = table.to_dict("records")
    return {(r["task"], r["variant"], r["seed"], r["benchmark"]): r for r in records}


def test_every_run_is_compared_with_the_untuned_model_wherever_it_lies(tmp_path: Path) -> None:
    base, first, second = _scores(0, 0.8), _scores(1, 0.5), _scores(2, 0.3)
    other = _scores(3, 0.5, n=4)
    paths = [
        _save(tmp_path, "m/other/real/seed1", {"mmlu": first}),
        _save(tmp_path, "m/t/symbolic/seed1", {"mmlu": second, "gsm8k": other}),
        _save(tmp_path, _UNTUNED, {"mmlu": base, "gsm8k": other}),
    ]
    rows = _rows(general_table(paths, **_HOW))
    units = [f"{'ab'[i % 2]}/{i // 2}-x" for i in range(12)]
    columns = np.array([first, second, base]).T
    both = PairedBootstrap(columns, units, resamples=200, seed=5)
    names = [("other", "real", 1, "mmlu"), ("t", "symbolic", 1, "mmlu")]
    adjusted = holm([both.difference(i, 2, 0.9).p for i in range(2)])
    for i, name in enumerate(names):
        found = rows[name]
        assert [found[k] for k in ("mean", "low", "high")] == list(both.interval(i, 0.9))
        keys = ("difference", "difference_low", "difference_high", "p")
        expected = both.difference(i, 2, 0.9)
        assert [found[key] for key in keys] == [*expected[:3], expected.p]
        assert found["p_adjusted"] == pytest.approx(adjusted[i])
        assert found["n"] == 12
    assert rows[names[0]]["difference"] == pytest.approx(np.mean(first) - np.mean(base))
    untuned = rows["t", "untuned", 0, "mmlu"]
    assert untuned["mean"] == np.mean(base)
    assert all(math.isnan(untuned[key]) for key in ("difference", "p", "p_adjusted"))
    same = rows["t", "symbolic", 1, "gsm8k"]
    assert (same["difference"], same["p"], same["p_adjusted"], same["n"]) == (0, 1, 1, 4)
    assert len(rows) == 5


def test_no_loss_is_shown_by_two_one_sided_tests(tmp_path: Path) -> None:
    """Many items, nearly all answered alike: a loss of 0.02 is ruled out, one of 0.002 is not."""
    base = _scores(0, 0.6, n=600)
    near, far = list(base), [1 - x if i < 60 else x for i, x in enumerate(base)]
    near[3:5] = [1 - near[3], 1 - near[4]]
    paths = [
        _save(tmp_path, run, {"mmlu": values})
        for run, values in {
            _UNTUNED: base, "m/t/real/seed1": near, "m/t/symbolic/seed1": far,
        }.items()
    ]  # fmt: skip
    table = general_table(paths, **(_HOW | {"resamples": 2000}), margin=0.02)
    rows = _rows(table)
    same, other = rows["t", "real", 1, "mmlu"], rows["t", "symbolic", 1, "mmlu"]
    assert same["margin"] == other["margin"] == 0.02
    assert same["p_equivalence"] < 0.01 < 0.2 < other["p_equivalence"]
    assert [same["p_equivalence_adjusted"], other["p_equivalence_adjusted"]] == pytest.approx(
        holm([same["p_equivalence"], other["p_equivalence"]])
    )
    # The larger p of two t tests against the margins, which are close to these resamples.
    d = np.array(far) - np.array(base)
    t = [stats.ttest_1samp(d, m, alternative=side).pvalue
         for m, side in ((-0.02, "greater"), (0.02, "less"))]  # fmt: skip
    assert other["p_equivalence"] == pytest.approx(max(t), abs=0.04)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert other["detectable"] == pytest.approx(z * d.std(ddof=1) / math.sqrt(600))
    strict = _rows(general_table(paths, **_HOW, margin=0.002))
    assert strict["t", "real", 1, "mmlu"]["p_equivalence"] > 0.05
    untuned = rows["t", "untuned", 0, "mmlu"]
    keys = ("detectable", "margin", "p_equivalence", "p_equivalence_adjusted")
    assert all(math.isnan(untuned[key]) for key in keys)


def test_items_are_paired_by_name_not_by_place(tmp_path: Path) -> None:
    base, tuned = _scores(0, 0.5), _scores(1, 0.5)
    untuned = _save(tmp_path, _UNTUNED, {"mmlu": base})
    path = _save(tmp_path, "m/t/real/seed1", {"mmlu": tuned})
    before = general_table([untuned, path], **_HOW)
    items = path.with_name(ITEMS)
    lines = items.read_text(encoding="utf-8").splitlines(keepends=True)
    items.write_text("".join(reversed(lines)), encoding="utf-8")
    pd.testing.assert_frame_equal(general_table([untuned, path], **_HOW), before)


def test_questions_of_the_training_data_are_left_out(tmp_path: Path) -> None:
    base, tuned = [1.0, 0, 1, 0, 1, 1], [0.0, 0, 1, 0, 0, 1]
    paths = [
        _save(tmp_path, _UNTUNED, {"nq_open": base}),
        _save(tmp_path, "m/t/real/seed1", {"nq_open": tuned}),
    ]
    rows = _rows(general_table(paths, left_out=["NQ_OPEN 0?", "nq_open 4", "else"], **_HOW))
    found = rows["t", "real", 1, "nq_open"]
    assert (found["n"], found["left_out"], found["mean"]) == (4, 2, 0.5)
    assert found["difference"] == 0
    with pytest.raises(ValueError, match="all items of nq_open left out"):
        general_table(paths, left_out=[f"nq_open {i}" for i in range(6)], **_HOW)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"shots": 5}, "nq_open has shots = 5, the untuned model"),
        ({"data": "x"}, "has data = 'x'"),
        ({"version": 2.0}, "has version"),
    ],
)
def test_results_of_another_making_are_not_compared(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    paths = [
        _save(tmp_path, _UNTUNED, {"nq_open": [1, 0]}),
        _save(tmp_path, "m/t/real/seed1", {"nq_open": [1, 0]}, **facts),
    ]
    with pytest.raises(ValueError, match=message):
        general_table(paths, **_HOW)


def test_other_items_are_not_compared(tmp_path: Path) -> None:
    paths = [
        _save(tmp_path, _UNTUNED, {"nq_open": [1, 0, 1]}),
        _save(tmp_path, "m/t/real/seed1", {"nq_open": [1, 0]}),
    ]
    with pytest.raises(ValueError, match="different items of nq_open"):
        general_table(paths, **_HOW)


def test_missing_items_are_noticed(tmp_path: Path) -> None:
    path = _save(tmp_path, _UNTUNED, {"nq_open": [1, 0, 1]}, n=4)
    with pytest.raises(ValueError, match=r"counts 4 items of nq_open.*has 3"):
        general_table([path], **_HOW)


def test_one_untuned_run_is_needed(tmp_path: Path) -> None:
    tuned = _save(tmp_path, "m/t/real/seed1", {"mmlu": [1, 0]})
    with pytest.raises(ValueError, match="m has to be asked mmlu once without an adapter; found n"):
        general_table([tuned], **_HOW)
    untuned = [_save(tmp_path, f"m/{task}/untuned/seed0", {"mmlu": [1, 0]}) for task in "tu"]
    with pytest.raises(ValueError, match=r"m/t/untuned.*m/u/untuned"):
        general_table([tuned, *untuned], **_HOW)


def test_models_are_compared_with_their_own(tmp_path: Path) -> None:
    paths = [
        _save(tmp_path, run, {"mmlu": values})
        for run, values in {
            _UNTUNED: [1, 1], "m/t/real/seed1": [1, 0],
            "other/t/untuned/seed0": [0, 0], "other/t/real/seed1": [1, 0],
        }.items()
    ]  # fmt: skip
    table = general_table(paths, **_HOW)
    assert list(table[table["variant"] == "real"]["difference"]) == [-0.5, 0.5]


def test_the_command_writes_the_table(root: Path, tmp_path: Path) -> None:
    paths = [
        _save(tmp_path, _UNTUNED, {"nq_open": [1, 0, 1]}),
        _save(tmp_path, "m/t/real/seed1", {"nq_open": [0, 0, 1]}),
    ]
    (tmp_path / "train.jsonl").write_text('{"question": "nq_open 1"}\n', encoding="utf-8")
    output = tmp_path / "statistics/general.csv"
    subprocess.run(
        [
            sys.executable, root / "scripts/compare_general.py", "--results", *paths,
            "--trained-on", tmp_path / "train.jsonl", "--resamples", "100", "--margin", "0.1",
            "--output", output,
        ],
        cwd=root, check=True,
    )  # fmt: skip
    table = pd.read_csv(output)
    assert list(table.columns) == GENERAL_COLUMNS
    assert list(table["n"]) == [2, 2]
    assert table["difference"].iloc[1] == -0.5
    assert table["margin"].iloc[1] == 0.1
