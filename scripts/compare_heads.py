"""Compare the retrieval heads of all runs, and tell how far each run's scores can be relied on.

Writes head_similarity.csv and reliability.csv to the OUTPUT folder; the columns are in
docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.heads.reliability import reliability_table
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
    similarity = similarity_table(
        args.scores,
        reference=args.reference,
        top_count=args.top,
        resamples=args.resamples,
        level=args.level,
        seed=args.seed,
    )
    reliability = reliability_table(args.scores, top_count=args.top, seed=args.seed)
    for name, table in {"head_similarity": similarity, "reliability": reliability}.items():
        write_text(args.output / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    main()
