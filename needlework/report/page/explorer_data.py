"""What the head explorer of the page shows, small enough to stand in the page.

Whole numbers are scores in ten-thousandths, so that a score takes four characters at most; numbers
of tables come with their row, so that the page can say where each is from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from needlework.report.tables.extracts import PAIR
from needlework.report.wording import KIND_WORDS

_MEASURES = {"recall": "positive", "precision": "positive", "cosine": "scores"}
NUMBERS = ["value", "low", "high", "random"]
COUNTS = ["shared", "heads_a", "heads_b"]
_UNIT = 10_000


def explorer_data(
    heads: pd.DataFrame, tables: Mapping[str, pd.DataFrame], *, reference: str
) -> dict[str, Any]:
    """Scores of every model, task and data set, how they agree, and how they differ.

    Args:
        heads: `head_table.Heads.table`.
        tables: `head_similarity` and `head_differences`, indexed by the row of their CSV file.
        reference: the variant that the others are measured against.

    Returns:
        `reference`, and `pairs`: of each model and task `model`, `task`, `score` (what it is, in
        words), `layers`, `heads`, and

        - `variants`: name to `n` (probe examples) and `scores`: of each place, layer by layer, in
          ten-thousandths, rounded away from 0 where it would round to 0; None without a head;
        - `similar`: of each pair of runs `a`, `b` and `seeds`; `recall` and `precision` of their
          positive heads and `cosine` of all scores, each the row and the columns `NUMBERS`; and
          `counts` of the positive heads, the row and the columns `COUNTS`;
        - `differences`: variant to `row` (the first of its rows), `n`, and of each row `places`
          (layer x heads + head), `difference` and `p_adjusted`.

    Raises:
        ValueError: the rows of a variant in head_differences.csv do not follow each other.
    """
    pairs = [
        {"model": model, "task": task, "score": KIND_WORDS[own["kind"].iloc[0]]}
        | _scores(own)
        | {
            "similar": _similar(_of(tables["head_similarity"], model=model, task_a=task)),
            "differences": _differences(
                _of(tables["head_differences"], model=model, task=task),
                int(own["head"].max()) + 1,
            ),
        }
        for (model, task), own in heads.groupby(PAIR, sort=False)
    ]
    return {"reference": reference, "pairs": pairs}


def _of(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    return table


def _scores(heads: pd.DataFrame) -> dict[str, Any]:
    variants = {
        variant: {
            "n": round(float(own["n"].iloc[0]), 1),
            "scores": [
                _whole(score) if there else None
                for score, there in zip(own["score"], own["there"], strict=True)
            ],
        }
        for variant, own in heads.sort_values(["layer", "head"]).groupby("variant", sort=False)
    }
    order = heads["variant"].unique()
    return {
        "layers": int(heads["layer"].max()) + 1,
        "heads": int(heads["head"].max()) + 1,
        "variants": {variant: variants[variant] for variant in order},
    }


def _whole(score: float) -> int | None:
    if pd.isna(score):
        return None
    rounded = round(score * _UNIT)
    # A head counts as positive from any score above 0 on; rounding must not take that away.
    return rounded or (score > 0) - (score < 0)


def _similar(rows: pd.DataFrame) -> list[dict[str, Any]]:
    rows = rows[rows["task_b"] == rows["task_a"]]
    rows = rows[rows["measure"].map(_MEASURES) == rows["set"]]
    pairs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row, values in zip(rows.index, rows.to_dict("records"), strict=True):
        a, b, *seeds = (values[f"{name}_{side}"] for name in ("variant", "seed") for side in "ab")
        pair = pairs.setdefault((a, b, *seeds), {"a": a, "b": b, "seeds": [int(s) for s in seeds]})
        pair[values["measure"]] = [int(row), *(_plain(values[name]) for name in NUMBERS)]
        if values["measure"] == "recall":
            pair["counts"] = [int(row), *(_plain(values[name]) for name in COUNTS)]
    return list(pairs.values())


def _differences(rows: pd.DataFrame, width: int) -> dict[str, dict[str, Any]]:
    found = {}
    for variant, own in rows.groupby("variant", sort=False):
        first = int(own.index[0])
        if list(own.index) != list(range(first, first + len(own))):
            raise ValueError(
                f"head_differences.csv: the rows of {variant!r} do not follow each other, from row "
                f"{first} on; write the file again with compare_heads"
            )
        found[variant] = {
            "row": first,
            "n": int(own["n"].iloc[0]),
            "places": [int(place) for place in own["layer"] * width + own["head"]],
            "difference": [_plain(x) for x in own["difference"]],
            "p_adjusted": [_plain(x) for x in own["p_adjusted"]],
        }
    return found


def _plain(number: float) -> float | int | None:
    if math.isnan(number):
        return None
    return int(number) if float(number).is_integer() else float(number)
