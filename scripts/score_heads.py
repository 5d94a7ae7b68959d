"""Score all heads of a model on held-out examples: which heads retrieve the answer?

Writes one OUTPUT (JSON) per adapter, or one for the model itself: every head's score on every
example, the means, and what they belong to. The base model is loaded once.

    python scripts/score_heads.py --base path/to/model --questions mine.jsonl --output heads.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import adapters, models, provenance
from needlework.command import execute
from needlework.corpora.jsonl import read_questions
from needlework.examples import read_examples


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.attention.intercept import backend
    from needlework.evaluation.metrics import judge
    from needlework.heads.probe import Probe
    from needlework.heads.score_file import write_scores
    from needlework.heads.scores import score_heads

    base = models.base_of(args.base)
    source = args.examples or args.questions
    examples = read_examples(source) if args.examples else read_questions(source)
    if not examples:
        raise ValueError(f"{source} has no row; it takes one example a line")
    correct = judge(examples[0].task)
    options = {key: getattr(args, key) for key in Probe.__dataclass_fields__}
    probe = Probe(**options | {"length": args.length or base.positions})
    folders = {f"adapter{i}": folder for i, folder in enumerate(args.adapter)}
    adapters.check(base, folders)
    tokenizer = models.load_tokenizer(base)
    model = models.load_model(base, dtype=args.dtype, device=args.device, attention=args.attention)
    model = adapters.attach(model, base, folders)
    for output, name in zip(args.output, folders or [None], strict=True):
        folder = folders.get(name)
        metadata = {
            "base": base.model_dump(),
            "adapter": folder and str(folder),
            "adapter_sha256": adapters.adapter_hash(folder),
            "seed": adapters.training_seed(folder),  # scoring itself draws nothing
            "examples": source.name,
            "examples_sha256": provenance.file_hash(source),
            "template_sha256": provenance.value_hash(tokenizer.chat_template),
            "attention": backend(model),
            "dtype": models.resolve_dtype(args.dtype, args.device),
            "device": args.device,
            "versions": provenance.versions(),
        }
        with adapters.using(model, name):
            scores = score_heads(
                model, tokenizer, examples, probe, correct=correct, metadata=metadata
            )
        write_scores(output, scores)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--base", required=True, help="base.json of a study, folder of a model, or hub id")
    add("--adapter", type=Path, nargs="*", default=[], help="folders of adapters; none: untuned")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--examples", type=Path, help="examples of a study (JSONL)")
    data.add_argument("--questions", type=Path, help="questions of your own (docs/formats.md)")
    add("--output", type=Path, nargs="+", required=True, help="scores (JSON), one per adapter")
    add("--length", type=int, help="longest example in tokens (all that the model can)")
    add("--max-new-tokens", type=int, default=24, help="longest answer (%(default)s)")
    add("--kind", default="copy", help="score that counts; all are written (%(default)s)")
    add("--role", default="answer", help="needles that count (%(default)s)")
    add("--answers", choices=["own", "gold"], default="own", help="whose answer (%(default)s)")
    add("--instances", choices=["all", "correct"], default="all", help="(%(default)s)")
    add("--mass-rows", choices=["answer", "question"], default="answer", help="(%(default)s)")
    add("--mass-span", choices=["needle", "document"], default="needle", help="(%(default)s)")
    add("--null-question", action="store_true", help="mass less that of a null question")
    add("--batch", type=int, default=1, help="examples answered together (%(default)s)")
    models.add_compute_flags(parser)
    args = parser.parse_args()
    if len(args.output) != max(1, len(args.adapter)):
        parser.error(f"{len(args.adapter)} adapters and {len(args.output)} outputs; name as many")
    if len(set(args.output)) < len(args.output):
        parser.error("two outputs are one file; give each adapter its own")
    return args


if __name__ == "__main__":
    execute(main)
