"""Score all predictions, compare every variant with every other, and correlate scores with heads.

Predictions that do not answer every test example once are refused. Writes scores.csv,
comparisons.csv and correlations.csv to the OUTPUT folder; the columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from needlework.atomic import write_text
from needlework.evaluation.agreement import check_answered, ids_by_task
from needlework.evaluation.correlations import correlation_table
from needlework.evaluation.scoring import score_tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--predictions", type=Path, nargs="+", required=True, help="answers")
    parser.add_argument(
        "--examples", type=Path, nargs="+", required=True, help="test examples of every task"
    )
    parser.add_argument("--similarity", type=Path, required=True, help="head_similarity.csv")
    parser.add_argument("--reference", required=True, help="variant whose heads are the measure")
    parser.add_argument("--resamples", type=int, required=True, help="bootstrap resamples")
    parser.add_argument("--level", type=float, required=True, help="level of the intervals")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    check_answered(args.predictions, ids_by_task(args.examples))
    scores, comparisons = score_tables(
        args.predictions, resamples=args.resamples, level=args.level, seed=args.seed
    )
    correlations = correlation_table(
        scores, pd.read_csv(args.similarity), reference=args.reference, level=args.level
    )
    tables = {"scores": scores, "comparisons": comparisons, "correlations": correlations}
    for name, table in tables.items():
        write_text(args.output / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    main()
