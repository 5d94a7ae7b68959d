"""Score all predictions, compare every variant with every other, and correlate scores with heads.

Predictions that do not answer every test example once are refused. Writes scores.csv, variants.csv,
comparisons.csv and correlations.csv to the OUTPUT folder; the columns are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from needlework import stored
from needlework.atomic import write_text
from needlework.command import execute
from needlework.evaluation.agreement import check_answered, ids_by_task
from needlework.evaluation.correlations import correlation_table
from needlework.evaluation.scoring import score_tables


def main() -> None:
    args = _arguments()
    check_answered(args.predictions, ids_by_task(args.examples))
    how = {
        "reference": args.reference,
        "resamples": args.resamples,
        "level": args.level,
        "seed": args.seed,
    }
    tables = score_tables(args.predictions, controls=args.controls, **how)._asdict()
    tables["correlations"] = correlation_table(
        tables["scores"], pd.read_csv(stored.check(args.similarity)), **how
    )
    for name, table in tables.items():
        write_text(args.output / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--predictions", type=Path, nargs="+", required=True, help="answers, in the study's order")
    add("--examples", type=Path, nargs="+", required=True, help="test examples of every task")
    add("--similarity", type=Path, required=True, help="head_similarity.csv")
    add("--reference", required=True, help="variant that the others, and heads, are compared with")
    add("--controls", nargs="*", default=[], help="variants that are trained otherwise")
    add("--resamples", type=int, required=True, help="bootstrap resamples, permutations of a test")
    add("--level", type=float, required=True, help="level of the intervals")
    add("--seed", type=int, required=True)
    add("--output", type=Path, required=True, help="folder to write to")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
