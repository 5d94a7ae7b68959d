"""Gather what the trainings of a study took and reached into one table.

Reads training.json files; writes OUTPUT (training.csv), whose columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.training.summary import training_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--records", type=Path, nargs="*", default=[], help="training.json files of the runs")
    add("--output", type=Path, required=True, help="table to write (CSV)")
    args = parser.parse_args()
    table = training_table(args.records)
    write_text(args.output, table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    main()
