"""The table of general abilities: what fine-tuning did to each benchmark, on the same items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from needlework import stored
from needlework.evaluation.contrasts import detectable
from needlework.evaluation.general import question_key, read_items
from needlework.layout import Run
from needlework.statistics import PairedBootstrap, holm

GENERAL_COLUMNS = [
    "model", "task", "variant", "seed", "benchmark", "metric", "shots", "data", "mean", "low",
    "high", "n", "left_out", "difference", "difference_low", "difference_high", "p", "p_adjusted",
    "detectable", "margin", "p_equivalence", "p_equivalence_adjusted",
]  # fmt: skip

_UNTUNED = "untuned"
# What has to be the same in two results before their items can be compared.
_SETTINGS = ("metric", "filter", "shots", "version", "data")

Item = dict[str, Any]


class _Result(NamedTuple):
    """One run on one benchmark."""

    run: Run
    path: Path
    summary: dict[str, Any]
    items: dict[tuple[str, str], Item]


def general_table(
    paths: Sequence[Path],
    *,
    resamples: int,
    level: float,
    seed: int,
    margin: float = 0.02,
    left_out: Collection[str] = (),
) -> pd.DataFrame:
    """`general.csv`: each run's mean on each benchmark, and its difference from the untuned model.

    Items are resampled one by one, those of all subjects of MMLU together; all runs of one model
    and benchmark share their resamples. The untuned model counts for all tasks, wherever its run
    lies; its own row has no difference. Two p values stand side by side: of no difference at all,
    and (`p_equivalence`, two one-sided tests) of one of `margin` or more; where neither is small,
    the items are too few to tell. Both are adjusted by Holm over all runs of one model and
    benchmark.

    Args:
        paths: the general.json of every run, with its items beside it.
        resamples: resamples of the bootstrap.
        level: of the intervals.
        seed: of the resamples.
        margin: a difference below it counts as none.
        left_out: questions that no run is scored on, because some were trained on them; they are
            compared in their normal form, and counted in `left_out`.

    Raises:
        ValueError: a model has no untuned run or several; a run was asked other items than the
            untuned model, or in another way; all items of a benchmark are left out.
    """
    keys = {question_key(question) for question in left_out}
    groups: dict[tuple[str, str], list[_Result]] = {}
    for path in paths:
        for result in _results(path):
            groups.setdefault((result.run.model, result.summary["benchmark"]), []).append(result)
    rows: list[dict[str, Any]] = []
    for results in groups.values():
        rows += _of_benchmark(results, keys, resamples, level, seed, margin)
    table = pd.DataFrame(rows, columns=GENERAL_COLUMNS)
    families = table.groupby(["model", "benchmark"])
    for p in ("p", "p_equivalence"):
        table[f"{p}_adjusted"] = families[p].transform(lambda values: holm(list(values)))
    return table


def _results(path: Path) -> list[_Result]:
    record = stored.read_json(path)
    items: dict[str, dict[tuple[str, str], Item]] = {name: {} for name in record["benchmarks"]}
    for item in read_items(path):
        items[item["benchmark"]][item["subject"], item["id"]] = item
    for name, summary in record["benchmarks"].items():
        if len(items[name]) != summary["n"]:
            raise ValueError(
                f"{path} counts {summary['n']} items of {name}, the file of items beside it has "
                f"{len(items[name])}; remove both and run again"
            )
    return [
        _Result(Run.of(path), path, {"benchmark": name, **summary}, items[name])
        for name, summary in record["benchmarks"].items()
    ]


def _of_benchmark(
    results: list[_Result],
    left_out: set[str],
    resamples: int,
    level: float,
    seed: int,
    margin: float,
) -> list[dict[str, Any]]:
    """The rows of one model and benchmark, p not adjusted yet."""
    untuned = _untuned(results)
    for result in results:
        _check_same(result, untuned)
    kept = [key for key, item in untuned.items.items() if item["question"] not in left_out]
    if not kept:
        raise ValueError(f"{untuned.path}: all items of {untuned.summary['benchmark']} left out")
    values = np.array([[result.items[key]["score"] for result in results] for key in kept])
    units = ["/".join(key) for key in kept]
    both = PairedBootstrap(values, units, resamples=resamples, seed=seed)
    baseline = results.index(untuned)
    rows = []
    for column, result in enumerate(results):
        row = result.run._asdict() | both.interval(column, level)._asdict()
        row |= {key: result.summary[key] for key in ("benchmark", "metric", "shots", "data")}
        row |= {"n": both.n, "left_out": len(untuned.items) - both.n}
        if column != baseline:
            found = both.difference(column, baseline, level)
            row |= {"difference": found.difference, "p": found.p}
            row |= {"difference_low": found.low, "difference_high": found.high}
            row |= {"margin": margin, "p_equivalence": both.equivalence(column, baseline, margin)}
            (row["detectable"],) = detectable(values[:, [column]] - values[:, [baseline]], units)
        rows.append(row)
    return rows


def _untuned(results: Sequence[_Result]) -> _Result:
    found = [result for result in results if result.run.variant == _UNTUNED]
    if len(found) != 1:
        model, benchmark = results[0].run.model, results[0].summary["benchmark"]
        names = ", ".join(str(result.path) for result in found) or "none"
        raise ValueError(
            f"{model} has to be asked {benchmark} once without an adapter; found {names}. Give the "
            f"general.json of one run with the variant {_UNTUNED!r}"
        )
    return found[0]


def _check_same(result: _Result, untuned: _Result) -> None:
    name = result.summary["benchmark"]
    for key in _SETTINGS:
        if result.summary[key] != untuned.summary[key]:
            raise ValueError(
                f"{result.path}: {name} has {key} = {result.summary[key]!r}, the untuned model in "
                f"{untuned.path} {untuned.summary[key]!r}; ask one of them again"
            )
    if different := sorted(set(result.items) ^ set(untuned.items)):
        raise ValueError(
            f"{result.path} and {untuned.path} hold different items of {name}, "
            f"{different[0]} and {len(different) - 1} more; ask one of them again with the same "
            "limit"
        )
