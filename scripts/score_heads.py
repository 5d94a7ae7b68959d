"""Score all heads of a model on held-out real examples: which heads retrieve the answer?

Writes OUTPUT (JSON): every head's score on every example, the means, and what they belong to.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models, provenance
from needlework.examples import read_examples
from needlework.layout import Run


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.evaluation.metrics import main_metric, metrics_for
    from needlework.heads.scores import score_heads, write_scores

    base = models.Base.read(args.base)
    examples = read_examples(args.examples)
    model = models.load_model(base, dtype=args.dtype, device=args.device, adapter=args.adapter)
    instances = score_heads(
        model,
        models.load_tokenizer(base),
        examples,
        length=args.length,
        max_new_tokens=args.max_new_tokens,
    )
    task = examples[0].task
    score = metrics_for(task)[main_metric(task)]
    correct = [score(instance.generated, instance.answers) > 0.5 for instance in instances]
    metadata = {
        "run": Run.of(args.output)._asdict(),
        "base": base.model_dump(),
        "adapter_sha256": models.adapter_hash(args.adapter),
        "examples_sha256": provenance.file_hash(args.examples),
        "length": args.length,
        "max_new_tokens": args.max_new_tokens,
        "dtype": args.dtype,
        "score": "share of distinct needle tokens copied (Wu et al. 2024)",
        "versions": provenance.versions(),
    }
    write_scores(args.output, instances, correct, metadata)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="base.json of the model")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter; none: untuned")
    parser.add_argument("--examples", type=Path, required=True, help="real examples (JSONL)")
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--length", type=int, required=True, help="longest example in tokens")
    parser.add_argument("--max-new-tokens", type=int, required=True, help="longest answer")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
