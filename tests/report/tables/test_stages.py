"""Benchmark files add up to the stages of a study."""

from __future__ import annotations

from pathlib import Path

from needlework.report.tables.stages import stage_table

HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"


def test_seconds_are_summed_and_memory_is_the_highest(tmp_path: Path) -> None:
    written = {"train/a.tsv": "10.5\t0:00:10\t900\t1", "train/b.tsv": "1.5\t0:00:01\t1200\t1",
               "report.tsv": "0.1\t0:00:00\tNA\tNA"}  # fmt: skip
    for name, row in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HEADER + row + "\n")
    table = stage_table([tmp_path / name for name in written], tmp_path)
    assert table.to_dict("records") == [
        {"stage": "train", "jobs": 2, "seconds": 12.0, "memory_mb": 1200.0},
        {"stage": "report", "jobs": 1, "seconds": 0.1, "memory_mb": 0.0},
    ]
