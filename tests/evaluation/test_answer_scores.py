"""Every answer is scored by every metric of its task, whoever gave it."""

from __future__ import annotations

from typing import Any

import numpy as np

from needlework.evaluation.answer_scores import answer_scores


def _row(prediction: str, *answers: str) -> dict[str, Any]:
    return {"prediction": prediction, "answers": list(answers)}


def test_scores_stand_by_item_and_table() -> None:
    tables = [
        [_row("Lima", "Lima"), _row("in Lima", "Lima"), _row("Lima", "Quito")],
        [_row("Lima", "Lima"), _row("Quito", "Lima"), _row("Lima", "Quito", "Lima")],
    ]
    scores = answer_scores("mdqa", tables)
    assert list(scores) == ["f1", "exact_match", "best_subspan_em"]
    np.testing.assert_allclose(scores["f1"], [[1.0, 1.0], [2 / 3, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(scores["exact_match"], [[1, 1], [0, 0], [0, 1]])
    np.testing.assert_array_equal(scores["best_subspan_em"], [[1, 1], [1, 0], [0, 1]])
