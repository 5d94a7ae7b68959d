"""Make one variant of a task's training data from its real examples.

Writes train.jsonl, validation.jsonl and dataset.json, which counts what came in, what went out, and
why the rest did not, to the OUTPUT folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from needlework.atomic import write_json
from needlework.examples import read_examples, write_examples
from needlework.synthesis.rewriting import read_rewrites
from needlework.synthesis.variants import MAKERS, make_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=MAKERS, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the real examples")
    parser.add_argument("--rewrites", type=Path, help="what rewrite_facts wrote, if needed")
    parser.add_argument("--train", type=int, required=True, help="training examples wanted")
    parser.add_argument("--validation", type=int, required=True, help="validation examples wanted")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    rewrites = read_rewrites(args.rewrites) if args.rewrites else []
    counts = {}
    for split, wanted in (("train", args.train), ("validation", args.validation)):
        real = read_examples(args.corpus / f"{split}.jsonl")
        made = make_dataset(args.variant, real, rewrites, wanted=wanted, seed=args.seed)
        write_examples(args.output / f"{split}.jsonl", made.examples)
        counts[split] = {
            "real": len(real), "wanted": wanted, "made": len(made.examples), "skipped": made.skipped
        }  # fmt: skip
        if len(made.examples) < wanted:
            print(
                f"{split}: {len(made.examples)} of {wanted} examples could be made; raise `spare`",
                file=sys.stderr,
            )
    write_json(args.output / "dataset.json", {"variant": args.variant, "seed": args.seed} | counts)


if __name__ == "__main__":
    main()
