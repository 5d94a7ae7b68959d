"""The explorer's data are the numbers of the tables, and small enough to stand in a page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from needlework.report.page.elements import script_json
from needlework.report.page.explorer_data import COUNTS, NUMBERS, explorer_data


def heads_table(
    scores: dict[str, list[list[float]]], model: str = "m", task: str = "t"
) -> pd.DataFrame:
    """Rows as `read_heads` gives them; NaN is a place without a head."""
    return pd.DataFrame(
        {"model": model, "task": task, "variant": variant, "layer": layer, "head": head,
         "there": not math.isnan(score), "kind": "copy", "role": "answer", "score": score, "n": 16}
        for variant, layers in scores.items()
        for layer, row in enumerate(layers)
        for head, score in enumerate(row)
    )  # fmt: skip


def similarity(pairs: list[tuple[str, str]], seeds: list[int], tasks: str = "tt") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for a, b in pairs:
        for seed_a in seeds:
            for seed_b in seeds:
                for group, measure in (
                    ("positive", "recall"), ("positive", "precision"), ("positive", "jaccard"),
                    ("top", "recall"), ("scores", "cosine"), ("scores", "spearman"),
                ):  # fmt: skip
                    numbers = dict(zip(NUMBERS, rng.random(4).round(6), strict=True))
                    counted = {} if group == "scores" else dict(zip(COUNTS, (2, 3, 4), strict=True))
                    rows.append(
                        {"model": "m", "task_a": tasks[0], "variant_a": a, "seed_a": seed_a,
                         "task_b": tasks[1], "variant_b": b, "seed_b": seed_b, "set": group,
                         "measure": measure} | numbers | counted
                    )  # fmt: skip
    return pd.DataFrame(rows)


def differences(heads: pd.DataFrame, reference: str = "real") -> pd.DataFrame:
    rng = np.random.default_rng(1)
    keys = ["model", "task", "layer", "head"]
    yardstick = heads[heads["variant"] == reference].set_index(keys)["score"]
    joined = heads[heads["variant"] != reference].join(yardstick, on=keys, rsuffix="_r")
    kept = joined[(joined["score"] > 0) | (joined["score_r"] > 0)].reset_index(drop=True)
    return pd.DataFrame({
        **{key: kept[key] for key in ("model", "task", "variant", "layer", "head")},
        "mean": kept["score"], "reference_mean": kept["score_r"],
        "difference": (kept["score"] - kept["score_r"]).round(6),
        "p": 0.01, "p_adjusted": rng.random(len(kept)).round(6), "n": 12, "n_clusters": 5,
    })  # fmt: skip


SCORES = {
    "untuned": [[0.0, 0.5], [0.00003, math.nan]],
    "low_low": [[0.25, 0.0], [0.1, math.nan]],
    "real": [[0.75, 0.125], [0.0, math.nan]],
}
PAIRS = [("untuned", "real"), ("low_low", "real"), ("low_low", "untuned")]


def tables(heads: pd.DataFrame, **more: Any) -> dict[str, pd.DataFrame]:
    given = {"head_similarity": similarity(PAIRS, [0]), "head_differences": differences(heads)}
    return given | more


def test_scores_are_in_the_order_of_places_and_keep_their_sign() -> None:
    heads = heads_table(SCORES)
    shuffled = pd.concat([part.sample(frac=1, random_state=0) for _, part in
                          heads.groupby("variant", sort=False)])  # fmt: skip
    (pair,) = explorer_data(shuffled, tables(heads), reference="real")["pairs"]
    assert (pair["layers"], pair["heads"]) == (2, 2)
    assert list(pair["variants"]) == list(SCORES)  # the order of the study
    assert pair["variants"]["untuned"] == {"n": 16, "scores": [0, 5000, 1, None]}
    assert pair["variants"]["real"]["scores"] == [7500, 1250, 0, None]
    assert pair["score"].startswith("the share of the needle's distinct tokens")


def test_a_negative_score_is_not_rounded_to_zero_either() -> None:
    heads = heads_table({"real": [[-0.00002, -0.5]]})
    data = explorer_data(heads, tables(heads, head_similarity=similarity([], [])
                                       .reindex(columns=similarity(PAIRS, [0]).columns)),
                         reference="real")  # fmt: skip
    assert data["pairs"][0]["variants"]["real"]["scores"] == [-1, -5000]


def test_agreement_names_the_row_of_every_number() -> None:
    heads = heads_table(SCORES)
    table = similarity(PAIRS, [0, 1])
    table.loc[0, "low"] = math.nan
    across = [similarity(PAIRS, [0], tasks=tasks) for tasks in ("ut", "tu")]
    both = pd.concat([*across, table], ignore_index=True)
    (pair,) = explorer_data(heads, tables(heads, head_similarity=both), reference="real")["pairs"]
    assert [(s["a"], s["b"], s["seeds"]) for s in pair["similar"]] == [
        (a, b, [i, j]) for a, b in PAIRS for i in (0, 1) for j in (0, 1)
    ]
    for found in pair["similar"]:
        named = [(m, NUMBERS, found[m]) for m in ("recall", "precision", "cosine")]
        for measure, columns, (row, *values) in [*named, ("recall", COUNTS, found["counts"])]:
            cells = both.loc[row]
            assert (cells["measure"], cells["variant_a"]) == (measure, found["a"])
            assert cells["set"] == ("scores" if measure == "cosine" else "positive")
            assert [cells["task_a"], cells["task_b"]] == ["t", "t"]
            assert [cells["seed_a"], cells["seed_b"]] == found["seeds"]
            expected = [None if math.isnan(x) else x for x in cells[columns]]
            assert values == expected


def test_differences_are_those_of_the_rows_they_name() -> None:
    heads = pd.concat([heads_table(SCORES, task="u"), heads_table(SCORES)])
    table = differences(heads)
    table.loc[0, "p_adjusted"] = math.nan
    data = explorer_data(heads, tables(heads, head_differences=table), reference="real")
    seen = set()
    for pair in data["pairs"]:
        assert set(pair["differences"]) == {"untuned", "low_low"}
        for variant, found in pair["differences"].items():
            for i, place in enumerate(found["places"]):
                cells = table.loc[found["row"] + i]
                seen.add(found["row"] + i)
                assert (cells["task"], cells["variant"]) == (pair["task"], variant)
                assert divmod(place, pair["heads"]) == (cells["layer"], cells["head"])
                assert found["difference"][i] == cells["difference"]
                p = cells["p_adjusted"]
                assert found["p_adjusted"][i] == (None if math.isnan(p) else p)
            assert found["n"] == 12
    assert seen == set(table.index)  # none is left out


def test_rows_that_do_not_follow_each_other_are_refused() -> None:
    heads = heads_table(SCORES)
    mixed = differences(heads).iloc[[0, 3, 1, 2]].reset_index(drop=True)
    with pytest.raises(ValueError, match=r"head_differences\.csv: the rows of 'untuned'"):
        explorer_data(heads, tables(heads, head_differences=mixed), reference="real")


def test_a_study_without_scored_heads_has_no_pairs() -> None:
    heads = heads_table(SCORES)
    assert explorer_data(heads.iloc[:0], {}, reference="real") == {
        "reference": "real", "pairs": []
    }  # fmt: skip


def test_a_large_study_stays_well_below_a_megabyte() -> None:
    rng = np.random.default_rng(0)
    names = ["untuned", "real", *(f"variant_{i}" for i in range(8))]
    parts = []
    for model in ("one", "two"):
        for task in "tuv":
            values = {
                name: (rng.random((32, 32)) * (rng.random((32, 32)) < 0.2)).tolist()
                for name in names
            }
            parts.append(heads_table(values, model, task))
    heads = pd.concat(parts, ignore_index=True)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    table = similarity(pairs, [0])
    same = [table.assign(model=m, task_a=t, task_b=t) for m in ("one", "two") for t in "tuv"]
    given = tables(heads, head_similarity=pd.concat(same, ignore_index=True))
    assert len(script_json(explorer_data(heads, given, reference="real"))) < 750_000
