"""Answer the real test examples while heads of the model are masked, and controls.

Heads are chosen by the run's own SCORES, or are those of INTERVENTIONS, files written by hand.
Writes RECORDS/<condition>.json, what was masked, and OUTPUT/<condition>.jsonl, one row per example.
A killed run keeps the batches it had finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models, provenance
from needlework.command import execute
from needlework.evaluation.predict import add_answer_flags, add_condition_flags
from needlework.heads.score_file import read_scores
from needlework.interventions.conditions import mask_conditions
from needlework.interventions.record import Intervention, read_intervention


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.evaluation.intervened import run_conditions

    run_conditions(args, _conditions(args), target=args.adapter, probe=args.probe)


def _conditions(args: argparse.Namespace) -> list[Intervention]:
    if args.interventions:
        return [read_intervention(path) for path in args.interventions]
    return mask_conditions(
        read_scores(args.scores), top=args.top, kinds=args.kinds, during=args.during,
        controls=args.controls, draws=args.draws, layer_matched=args.layer_matched, seed=args.seed,
        origin={"scores_sha256": provenance.file_hash(args.scores)},
    )  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_answer_flags(parser)
    add_condition_flags(parser)
    add = parser.add_argument
    add("--probe", type=Path, help="examples over which masks of the kind mean take their mean")
    add("--top", type=int, nargs="+", default=[10], help="how many heads (%(default)s)")
    add("--kinds", nargs="+", default=["zero"], help="zero, uniform, mean (%(default)s)")
    add("--during", nargs="+", default=["decoding"], help="rows: decoding, prefill, both")
    add("--controls", nargs="*", default=[], help="random, lowest")
    models.add_compute_flags(parser)
    args = parser.parse_args()
    if bool(args.scores) == bool(args.interventions):
        parser.error("name either --scores, to choose heads by, or --interventions")
    return args


if __name__ == "__main__":
    execute(main)
