"""The table of head similarity, worked out by hand from small probe files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from needlework.heads.scores import Instance, write_scores
from needlework.heads.similarity import similarity_table

_COLUMNS = [
    "model", "task", "variant", "seed", "cosine",
    "heads_positive", "recall_positive", "precision_positive",
    "heads_above", "recall_above", "precision_above",
    "heads_top", "recall_top", "precision_top",
]  # fmt: skip


def _probe(root: Path, run: str, means: list[list[float]]) -> Path:
    """A probe file whose mean scores are `means`, over two instances."""
    path = root / run / "probe.json"
    scores = np.array(means)
    instances = [Instance("a", [], "", scores * 2), Instance("b", [], "", scores * 0)]
    write_scores(path, instances, [True, False], {})
    return path


def test_one_row_by_hand(tmp_path: Path) -> None:
    paths = [
        _probe(tmp_path, "m/t/real/seed0", [[0.4, 0.2, 0.05], [0.0, 0.0, 0.3]]),
        _probe(tmp_path, "m/t/symbolic/seed0", [[0.5, 0.0, 0.02], [0.3, 0.04, 0.0]]),
    ]
    table = similarity_table(paths, reference="real", top_count=2)
    assert list(table.columns) == _COLUMNS
    row = table[table["variant"] == "symbolic"].iloc[0]
    assert tuple(row[["model", "task", "seed"]]) == ("m", "t", 0)
    # Positive: {00, 02, 10, 11} of the variant, {00, 01, 02, 12} of real data; 00 and 02 shared.
    assert (row.heads_positive, row.recall_positive, row.precision_positive) == (4, 2 / 4, 2 / 4)
    # Above 0.1: {00, 10}, {00, 01, 12}.
    assert (row.heads_above, row.recall_above, row.precision_above) == (2, 1 / 3, 1 / 2)
    # Top 2: {00, 10}, {00, 12}.
    assert (row.heads_top, row.recall_top, row.precision_top) == (2, 1 / 2, 1 / 2)
    dot, own, wanted = 0.4 * 0.5 + 0.05 * 0.02, 0.25 + 0.0004 + 0.09 + 0.0016, 0.16 + 0.04 + 0.0925
    assert row.cosine == pytest.approx(dot / math.sqrt(own * wanted))


def test_the_reference_resembles_itself(tmp_path: Path) -> None:
    path = _probe(tmp_path, "m/t/real/seed0", [[0.4, 0.2], [0.0, 0.05]])
    (row,) = similarity_table([path], reference="real", top_count=2).to_dict("records")
    assert [row[name] for name in row if "recall" in name or "precision" in name] == [1.0] * 6
    assert row["cosine"] == pytest.approx(1)


def test_seeds_of_the_reference_are_averaged(tmp_path: Path) -> None:
    paths = [
        _probe(tmp_path, "m/t/real/seed0", [[0.3, 0.0], [0.06, 0.0]]),
        _probe(tmp_path, "m/t/real/seed1", [[0.1, 0.16], [0.06, 0.0]]),
        _probe(tmp_path, "m/t/low_low/seed0", [[0.2, 0.08], [0.06, 0.0]]),
        _probe(tmp_path, "m/t/low_low/seed1", [[0.0, 0.3], [0.0, 0.0]]),
    ]
    table = similarity_table(paths, reference="real", top_count=1).set_index(["variant", "seed"])
    assert len(table) == 4  # a row for each run, none for the mean
    # The mean of the reference is [[0.2, 0.08], [0.06, 0]], the scores of the first low_low run.
    assert table.loc[("low_low", 0), "cosine"] == pytest.approx(1)
    assert table.loc[("low_low", 0), "recall_positive"] == 1
    assert table.loc[("low_low", 1), "recall_positive"] == pytest.approx(1 / 3)
    assert table.loc[("low_low", 1), "recall_top"] == 0
    # Head 01 is above 0.1 in the second seed, but not in the mean.
    assert table.loc[("real", 1), "precision_above"] == 0  # its one head above 0.1 is 01
    assert table.loc[("real", 0), "precision_above"] == 1


def test_each_model_and_task_has_its_own_reference(tmp_path: Path) -> None:
    paths = [
        _probe(tmp_path, f"{model}/{task}/{variant}/seed0", scores)
        for model, task, scores in [
            ("m", "t", [[0.4, 0.0]]),
            ("m", "u", [[0.0, 0.4]]),
            ("n", "t", [[0.0, 0.4]]),
        ]
        for variant in ("real", "symbolic")
    ]
    table = similarity_table(paths, reference="real", top_count=1)
    assert len(table) == 6
    assert (table["recall_positive"] == 1).all()


def test_sets_that_are_empty_give_no_number(tmp_path: Path) -> None:
    paths = [
        _probe(tmp_path, "m/t/real/seed0", [[0.05, 0.0]]),
        _probe(tmp_path, "m/t/untuned/seed0", [[0.0, 0.0]]),
    ]
    table = similarity_table(paths, reference="real", top_count=1).set_index("variant")
    untuned = table.loc["untuned"]
    assert untuned.heads_positive == 0
    assert untuned.recall_positive == 0
    assert math.isnan(untuned.precision_positive)
    assert math.isnan(untuned.cosine)
    # No head of the reference is above 0.1: nothing could be found.
    assert table["recall_above"].isna().all()
    assert table["precision_above"].isna().all()


def test_a_study_without_the_reference_is_refused(tmp_path: Path) -> None:
    path = _probe(tmp_path, "m/t/symbolic/seed0", [[0.1, 0.2]])
    with pytest.raises(ValueError, match="no probe of the variant 'real' for m, t"):
        similarity_table([path], reference="real", top_count=1)
