"""Time and memory of every stage, from the benchmark files that the workflow wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def stage_table(paths: Sequence[Path], root: Path) -> pd.DataFrame:
    """One row per stage, as ordered in `paths`: jobs, seconds (their sum), memory_mb (highest).

    Args:
        paths: benchmark files, `root`/<stage>/....tsv or `root`/<stage>.tsv.
        root: the folder of the benchmarks.

    Memory is the peak resident memory of a job; a job too short to be measured counts as 0.
    """
    rows = []
    for path in paths:
        stage = path.relative_to(root).parts[0].removesuffix(".tsv")
        measured = pd.read_csv(path, sep="\t", na_values=["NA", "-"]).iloc[-1]
        memory = measured["max_rss"]
        rows.append(
            {
                "stage": stage,
                "jobs": 1,
                "seconds": float(measured["s"]),
                "memory_mb": 0.0 if pd.isna(memory) else float(memory),
            }
        )
    table = pd.DataFrame(rows, columns=["stage", "jobs", "seconds", "memory_mb"])
    return (
        table.groupby("stage", sort=False)
        .agg({"jobs": "sum", "seconds": "sum", "memory_mb": "max"})
        .reset_index()
    )
