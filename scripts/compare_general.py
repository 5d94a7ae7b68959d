"""Compare the general abilities of every run of a study with those of its untuned model.

Reads the general.json of every run and the items beside it; writes OUTPUT (general.csv), whose
columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import stored
from needlework.atomic import write_text
from needlework.command import execute
from needlework.evaluation.general_table import general_table


def main() -> None:
    args = _arguments()
    table = general_table(
        args.results,
        resamples=args.resamples,
        level=args.level,
        seed=args.seed,
        margin=args.margin,
        left_out=[question for path in args.trained_on for question in _questions(path)],
    )
    write_text(args.output, table.to_csv(index=False, float_format="%.6g"))


def _questions(path: Path) -> list[str]:
    return [row["question"] for row in stored.read_rows(path)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", type=Path, nargs="+", required=True, help="general.json of every run")
    add("--trained-on", type=Path, nargs="*", default=[], help="examples (JSONL) whose questions "
        "are left out for every run: NQ-Open holds those of MDQA")  # fmt: skip
    add("--resamples", type=int, default=10_000, help="bootstrap resamples (%(default)s)")
    add("--level", type=float, default=0.95, help="level of the intervals (%(default)s)")
    add("--seed", type=int, default=0, help="of the resamples (%(default)s)")
    add("--margin", type=float, default=0.02, help="a difference below it is none (%(default)s)")
    add("--output", type=Path, required=True, help="table to write (CSV)")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
