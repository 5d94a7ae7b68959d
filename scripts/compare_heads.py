"""Compare the retrieval heads of all runs, and tell how far each run's scores can be relied on.

Writes head_similarity.csv, reliability.csv and head_differences.csv to the OUTPUT folder; the
columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.command import execute
from needlework.heads.differences import differences_table
from needlework.heads.reliability import reliability_table
from needlework.heads.run_scores import read_run
from needlework.heads.similarity import similarity_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="probe files (JSON)")
    parser.add_argument("--reference", required=True, help="variant whose heads are the measure")
    parser.add_argument("--top", type=int, required=True, help="size of the top-k head sets")
    parser.add_argument("--resamples", type=int, required=True, help="bootstrap resamples")
    parser.add_argument("--level", type=float, required=True, help="level of the intervals")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    runs = [read_run(path) for path in args.scores]
    tables = {
        "head_similarity": similarity_table(
            runs,
            reference=args.reference,
            top_count=args.top,
            resamples=args.resamples,
            level=args.level,
            seed=args.seed,
        ),
        "reliability": reliability_table(runs, top_count=args.top, seed=args.seed),
        "head_differences": differences_table(runs, reference=args.reference, seed=args.seed),
    }
    for name, table in tables.items():
        write_text(args.output / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    execute(main)
