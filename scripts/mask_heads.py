"""Answer the real test examples while heads of the model are masked, and controls.

Heads are chosen by the run's own SCORES, or are those of INTERVENTIONS, files written by hand.
Writes RECORDS/<condition>.json, what was masked, and OUTPUT/<condition>.jsonl, one row per example.
A killed run keeps the batches it had finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from needlework import adapters, models, provenance
from needlework.evaluation.predict import add_answer_flags, answer_identity
from needlework.examples import read_examples
from needlework.heads.score_file import read_scores
from needlework.interventions.conditions import mask_conditions
from needlework.interventions.record import read_intervention, write_intervention

if TYPE_CHECKING:
    from needlework.interventions.record import Intervention


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.evaluation.intervened import predict_conditions

    conditions = _conditions(args)
    for condition in conditions:
        write_intervention(args.records / f"{condition.name}.json", condition)
    base = models.base_of(args.base)
    folders = {"run": args.adapter} if args.adapter else {}
    model = models.load_model(base, dtype=args.dtype, device=args.device)
    predict_conditions(
        adapters.attach(model, base, folders),
        models.load_tokenizer(base),
        read_examples(args.examples)[: args.test_examples],
        conditions,
        args.output,
        target=next(iter(folders), None),
        source=None,
        probe=read_examples(args.probe) if args.probe else [],
        length=args.length,
        max_new_tokens=args.max_new_tokens,
        batch=args.batch,
        identity=answer_identity(
            args,
            base.model_dump(),
            adapters.adapter_hash(args.adapter),
            provenance.file_hash(args.probe) if args.probe else None,
            [condition.model_dump() for condition in conditions],
            args.test_examples,
        ),
    )


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
    add = parser.add_argument
    add("--adapter", type=Path, help="folder of an adapter; none: untuned")
    add("--test-examples", type=int, help="answer only so many examples")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--scores", type=Path, help="the run's own head scores (JSON)")
    chosen.add_argument("--interventions", type=Path, nargs="+", help="masks (JSON or YAML)")
    add("--probe", type=Path, help="examples over which masks of the kind mean take their mean")
    add("--top", type=int, nargs="+", default=[10], help="how many heads (%(default)s)")
    add("--kinds", nargs="+", default=["zero"], help="zero, uniform, mean (%(default)s)")
    add("--during", nargs="+", default=["decoding"], help="rows: decoding, prefill, both")
    add("--controls", nargs="*", default=[], help="random, lowest")
    add("--draws", type=int, default=10, help="random sets per size (%(default)s)")
    add("--layer-matched", action="store_true", help="random heads of the same layers")
    add("--seed", type=int, default=0, help="of the random sets (%(default)s)")
    add("--records", type=Path, required=True, help="folder for what was masked")
    add("--output", type=Path, required=True, help="folder for the answers")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
