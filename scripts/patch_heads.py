"""Answer the real test examples while heads of the model give what they give in another run.

Heads are chosen by the scores of both runs, or are those of INTERVENTIONS, files written by hand.
Source and target are two adapters on one base model, decoded in lock-step. Writes
RECORDS/<condition>.json, what was patched, and OUTPUT/<condition>.jsonl, one row per example. A
killed run keeps the batches it had finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models, provenance
from needlework.command import execute
from needlework.evaluation.predict import add_answer_flags, add_condition_flags
from needlework.heads.score_file import read_scores
from needlework.heads.sets import WU_THRESHOLD
from needlework.interventions.conditions import patch_conditions
from needlework.interventions.record import Intervention, read_intervention
from needlework.interventions.selection import HeadSet


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.evaluation.intervened import run_conditions

    run_conditions(args, _conditions(args), target=args.adapter, source=args.source_adapter)


def _conditions(args: argparse.Namespace) -> list[Intervention]:
    if args.interventions:
        return [read_intervention(path) for path in args.interventions]
    rules = {
        "positive": HeadSet(),
        "above": HeadSet(threshold=WU_THRESHOLD),
        "top": HeadSet(count=args.top),
    }
    return patch_conditions(
        read_scores(args.source_scores), read_scores(args.scores),
        source_name=args.source, heads=rules[args.heads], sets=args.sets,
        positions=args.positions, draws=args.draws, layer_matched=args.layer_matched,
        equal_sizes=args.equal_sizes, seed=args.seed,
        origin={
            "source_scores_sha256": provenance.file_hash(args.source_scores),
            "target_scores_sha256": provenance.file_hash(args.scores),
        },
    )  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_answer_flags(parser)
    add_condition_flags(parser)
    add = parser.add_argument
    add("--source-adapter", type=Path, help="adapter that gives outputs; none: untuned")
    add("--source", default="source", help="its variant, for the record (%(default)s)")
    add("--source-scores", type=Path, help="head scores of the source (JSON)")
    add("--heads", choices=["positive", "above", "top"], default="positive", help="(%(default)s)")
    add("--top", type=int, default=20, help="size of the sets of --heads top (%(default)s)")
    add("--sets", nargs="+", default=["intersection"], help="intersection, complement, random")
    add("--positions", nargs="+", default=["last"], help="last, all (%(default)s)")
    add("--equal-sizes", action="store_true", help="cut sets to the smaller of the two")
    models.add_compute_flags(parser)
    args = parser.parse_args()
    if not args.interventions and not (args.scores and args.source_scores):
        parser.error("name --interventions, or --scores and --source-scores")
    return args


if __name__ == "__main__":
    execute(main)
