"""Score all predictions by the depth of the needle, and by the place of the gold document.

Writes the OUTPUT table (CSV); its columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.command import execute
from needlework.evaluation.depths import depth_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--predictions", type=Path, nargs="+", required=True, help="answers")
    add("--resamples", type=int, required=True, help="bootstrap resamples")
    add("--level", type=float, required=True, help="level of the intervals")
    add("--seed", type=int, required=True)
    add("--output", type=Path, required=True, help="table to write (CSV)")
    args = parser.parse_args()
    table = depth_table(
        args.predictions, resamples=args.resamples, level=args.level, seed=args.seed
    )
    write_text(args.output, table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    execute(main)
