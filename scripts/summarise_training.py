"""Gather what the trainings of a study took and reached into two tables.

Reads training.json files; writes OUTPUT (training.csv, one row per training) and CURVES
(training_curves.csv, one row per step), whose columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.command import execute
from needlework.training.summary import curve_table, training_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--records", type=Path, nargs="*", default=[], help="training.json files of the runs")
    add("--output", type=Path, required=True, help="table to write (CSV)")
    add("--curves", type=Path, required=True, help="table of the losses to write (CSV)")
    args = parser.parse_args()
    tables = {args.output: training_table, args.curves: curve_table}
    for path, table_of in tables.items():
        write_text(path, table_of(args.records).to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    execute(main)
