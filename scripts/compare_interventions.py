"""Compare what masked and patched models answer with the plain answers, and with random heads.

Reads predictions and interventions under RESULTS; writes OUTPUT (interventions.csv), whose columns
are in docs/formats.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.command import execute
from needlework.evaluation.intervention_table import intervention_table


def main() -> None:
    args = _arguments()
    conditions = {run: list(args.masks) for run in args.masked}
    for run in args.patched:
        conditions.setdefault(run, []).extend(args.patches)
    answers, records = args.results / "predictions", args.results / "interventions"
    named = [Path(run) / name for run, names in conditions.items() for name in names]
    table = intervention_table(
        [answers / run / "plain.jsonl" for run in conditions],
        [answers / f"{path}.jsonl" for path in named],
        [records / f"{path}.json" for path in named],
        resamples=args.resamples,
        level=args.level,
        seed=args.seed,
    )
    write_text(args.output, table.to_csv(index=False, float_format="%.6g"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", type=Path, required=True, help="results folder of a study")
    add("--masked", nargs="*", default=[], help="runs, as <model>/<task>/<variant>/seed<n>")
    add("--masks", nargs="*", default=[], help="names of the conditions of those runs")
    add("--patched", nargs="*", default=[], help="runs, as above")
    add("--patches", nargs="*", default=[], help="names of their conditions")
    add("--resamples", type=int, default=10_000, help="bootstrap resamples (%(default)s)")
    add("--level", type=float, default=0.95, help="level of the intervals (%(default)s)")
    add("--seed", type=int, default=0, help="of the resamples (%(default)s)")
    add("--output", type=Path, required=True, help="table to write (CSV)")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
