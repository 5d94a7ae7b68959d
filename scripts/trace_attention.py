"""Show where heads look: at which places of the documents, while a model gives its answers.

Takes the runs of one model on one task, the untuned model and its adapters, and the first test
examples. Writes OUTPUT (JSON): for each run its best heads, and for each token of its answers the
place of each head's highest attention. The base model is loaded once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from needlework import adapters, models
from needlework.atomic import write_text
from needlework.command import execute
from needlework.evaluation.predict import read_predictions
from needlework.examples import Example, iter_examples
from needlework.layout import Run
from needlework.progress import track
from needlework.study.values import UNTUNED


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    from needlework.heads.attended import top_heads, trace
    from needlework.heads.score_file import read_scores

    scores, predictions, folders = _matched(args)
    base = models.base_of(args.base)
    tokenizer = models.load_tokenizer(base)
    examples = list(islice(iter_examples(args.examples), args.count))
    shown, failures = _shown(examples, tokenizer, args.length)
    texts = {run: _answers(path, shown) for run, path in predictions.items()}
    best = {run: top_heads(read_scores(path), args.heads) for run, path in scores.items()}
    # What names an adapter in PyTorch holds no dot; a mixture's name does.
    names = {run: f"run{i}" for i, run in enumerate(folders)}
    model = models.load_model(base, dtype=args.dtype, device=args.device, attention=args.attention)
    model = adapters.attach(model, base, {names[run]: folder for run, folder in folders.items()})
    runs = {}
    for run, heads in track(best.items(), "runs", total=len(best)):
        with adapters.using(model, names.get(run)):
            answers = {
                name: trace(model, tokenizer, *shown[name], text, [head[:2] for head in heads])
                for name, text in texts[run].items()
            }
        runs[run.variant] = {"heads": heads, "answers": answers}
    first = next(iter(scores))
    result = {
        "model": first.model,
        "task": first.task,
        "seed": {run.variant: run.seed for run in scores},
        "examples": list(shown),
        "documents": {
            name: [document.id for document in rendered.example.documents]
            for name, (rendered, _) in shown.items()
        },
        "failures": failures,
        "runs": runs,
    }
    write_text(args.output, json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n")


def _matched(
    args: argparse.Namespace,
) -> tuple[dict[Run, Path], dict[Run, Path], dict[Run, Path]]:
    """Scores, predictions and adapters by run, checked to be those of the same runs."""
    scores = {Run.of(path): path for path in args.scores}
    predictions = {Run.of(path): path for path in args.predictions}
    folders = {Run.of(folder / "adapter"): folder for folder in args.adapters}
    tuned = [run for run in scores if run.variant != UNTUNED]
    for what, runs, wanted in (
        ("predictions", predictions, scores),
        ("adapters", folders, tuned),
    ):
        if set(runs) != set(wanted):
            raise ValueError(
                f"the {what} are of the runs {_names(runs)}, the scores ask for {_names(wanted)}; "
                "give one of each run"
            )
    if len({run[:2] for run in scores}) > 1 or len({run.variant for run in scores}) < len(scores):
        raise ValueError(
            f"the scores are of {_names(scores)}; give those of one model and task, one training "
            "seed of each variant"
        )
    return scores, predictions, folders


def _names(runs: Iterable[Run]) -> str:
    return ", ".join(sorted("{}/{}/{}/seed{}".format(*run) for run in runs)) or "none"


def _shown(
    examples: list[Example], tokenizer: Any, length: int
) -> tuple[dict[str, tuple[Any, list[Any]]], dict[str, str]]:
    """Each example's prompt and what its tokens show; the reasons of those that cannot be shown."""
    from needlework.heads.attended import token_places
    from needlework.rendering.prompt import Unrenderable, render

    shown, failures = {}, {}
    for example in examples:
        try:
            rendered = render(example, tokenizer, length)
        except Unrenderable as error:
            failures[example.id] = error.reason
        else:
            shown[example.id] = rendered, token_places(rendered, example, tokenizer)
    return shown, failures


def _answers(path: Path, shown: dict[str, tuple[Any, list[Any]]]) -> dict[str, str]:
    """What a run answered to each prompt that is shown."""
    rows = {row["id"]: row for row in read_predictions(path)}
    for name, (rendered, _) in shown.items():
        if name not in rows:
            raise ValueError(f"{path} has no answer to {name}; answer the test examples again")
        given = rows[name]["prompt_tokens"]
        if given != len(rendered.prompt):
            raise ValueError(
                f"{path}: {name} was answered from {given} tokens and is shown in "
                f"{len(rendered.prompt)}; give the --length and the examples that were answered"
            )
    return {name: rows[name]["prediction"] for name in shown}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--base", required=True, help="base.json of a study, folder of a model, or hub id")
    add("--adapters", type=Path, nargs="*", default=[], help="folders, one of each trained run")
    add("--scores", type=Path, nargs="+", required=True, help="head scores, one file of each run")
    add("--predictions", type=Path, nargs="+", required=True, help="answers, one of each run")
    add("--examples", type=Path, required=True, help="the test examples answered (JSONL)")
    add("--length", type=int, required=True, help="longest example in tokens, as answered")
    add("--count", type=int, default=8, help="examples, the first of the file (%(default)s)")
    add("--heads", type=int, default=20, help="heads of each run, the best (%(default)s)")
    add("--output", type=Path, required=True, help="places to write (JSON)")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
