"""Greedy answers of a model to examples, in files that a killed run goes on filling."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework import stored
from needlework.atomic import write_text
from needlework.evaluation.views import View, check_views, rendered
from needlework.examples import Example
from needlework.progress import say, track
from needlework.provenance import file_hash, value_hash, versions
from needlework.rendering.prompt import Rendered, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from needlework.answering import Batch

Row = dict[str, Any]


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    output: Path,
    *,
    length: int,
    max_new_tokens: int,
    batch: int,
    identity: str,
) -> list[Row]:
    """Answer every example and write one row each to `output`, in the order of the examples.

    A killed run goes on where it was: `fill` says how.

    Args:
        model: base model, with an adapter or without.
        tokenizer: its tokenizer.
        examples: what to answer.
        output: the JSONL file to write; its schema is in docs/formats.md.
        length: longest prompt and answer, in tokens.
        max_new_tokens: tokens after which an answer is cut.
        batch: examples answered together.
        identity: hash of model, adapter, examples and decoding.

    Returns:
        The rows written.
    """

    def answer(rest: Sequence[Example]) -> Iterator[dict[str, list[Row]]]:
        shown = [render(example, tokenizer, length) for example in rest]
        for rows in _answers(model, tokenizer, shown, max_new_tokens, batch):
            yield {"plain": rows}

    return fill({"plain": output}, examples, answer, batch=batch, identity=identity)["plain"]


def predict_views(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    views: Sequence[View],
    examples: Mapping[str, Sequence[Example]],
    folder: Path,
    *,
    max_new_tokens: int,
    batch: int,
    identity: str,
) -> dict[str, list[Row]]:
    """Answer every example in every view, and write `folder`/<name of it>.jsonl.

    The rows are those of `predict`. A killed run loses one batch of examples.

    Args:
        model: base model, with an adapter or without.
        tokenizer: its tokenizer.
        views: how the examples are shown.
        examples: what to answer, by split; the same ids in each.
        folder: where the files go.
        max_new_tokens: tokens after which an answer is cut.
        batch: examples answered together.
        identity: hash of model, adapter, examples, views and decoding.

    Returns:
        The rows written, by the name of the view.

    Raises:
        ValueError: an example cannot be shown in a view; before any is answered.
    """
    check_views(views, examples, tokenizer)
    by_id = {split: {each.id: each for each in given} for split, given in examples.items()}

    def answer(rest: Sequence[Example]) -> Iterator[dict[str, list[Row]]]:
        for start in range(0, len(rest), batch):
            answered: dict[str, list[Row]] = {}
            for view in views:
                given = [by_id[view.split][each.id] for each in rest[start : start + batch]]
                prompts = [rendered(view, each, tokenizer) for each in given]
                (answered[view.name],) = _answers(model, tokenizer, prompts, max_new_tokens, batch)
            yield answered

    outputs = {view.name: folder / f"{view.name}.jsonl" for view in views}
    return fill(outputs, next(iter(examples.values())), answer, batch=batch, identity=identity)


def fill(
    outputs: Mapping[str, Path],
    examples: Sequence[Example],
    answer: Callable[[Sequence[Example]], Iterator[Mapping[str, list[Row]]]],
    *,
    batch: int,
    identity: str,
) -> dict[str, list[Row]]:
    """Write a file of rows for each condition, in the order of the examples.

    Rows are kept in neighbours of the outputs as batches finish. A later run with the same
    `identity` (a hash of all that the answers depend on) takes over the examples that every
    condition has answered; another identity starts anew.

    Args:
        outputs: the JSONL file of each condition.
        examples: what to answer.
        answer: answers examples batch by batch, in any order: the rows of each condition.
        batch: examples answered together.
        identity: hash of all that the answers depend on.

    Returns:
        The rows written, by condition.
    """
    partials = {
        name: path.with_name(f".{path.stem}.{identity[:16]}.partial")
        for name, path in outputs.items()
    }
    for path in outputs.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    done = {name: _finished(path) for name, path in partials.items()}
    rest = [each for each in examples if not all(each.id in rows for rows in done.values())]
    if len(rest) < len(examples):
        say(f"{len(examples) - len(rest)} of {len(examples)} answers are there already")
    total = -(-len(rest) // batch)
    for answered in track(answer(rest), f"batches of {batch} answers", total=total):
        for name, rows in answered.items():
            done[name].update({row["id"]: row for row in rows})
            with partials[name].open("a", encoding="utf-8") as file:
                file.writelines(_sealed(_lines([row])) for row in rows)
    ordered = {name: [rows[each.id] for each in examples] for name, rows in done.items()}
    for name, path in outputs.items():
        write_text(path, _lines(ordered[name]))
    # Not before all outputs are whole: a row counts only if every condition has it.
    for path in partials.values():
        path.unlink(missing_ok=True)
    return ordered


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _sealed(line: str) -> str:
    """A line after its own hash: what a killed run left is taken over only as it was written."""
    return f"{sha256(line.encode()).hexdigest()} {line}"


def _finished(partial: Path) -> dict[str, Row]:
    """Rows of an earlier run; lines that are cut or damaged are dropped from the file, and said."""
    if not partial.is_file():
        return {}
    lines = partial.read_bytes().decode(encoding="utf-8", errors="replace").split("\n")
    whole = [each for line in lines if _sealed(each := f"{line[65:]}\n") == f"{line}\n"]
    if (damaged := len(lines) - 1 - len(whole)) > 0:
        say(f"{partial} has {damaged} damaged lines; their examples are answered again")
    write_text(partial, "".join(map(_sealed, whole)))
    return {row["id"]: row for row in map(json.loads, whole)}


def _answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    shown: Sequence[Rendered],
    max_new_tokens: int,
    batch: int,
) -> Iterator[list[Row]]:
    """The rows of each batch."""
    # Here, because tables are made from the rows where torch is not installed.
    from needlework.answering import batches, generate, prefill

    for each in batches(shown, tokenizer, batch, model.device):
        cache = prefill(model, each)
        made = generate(model, tokenizer, each, max_new_tokens, cache=cache)
        yield rows_of(model, tokenizer, each, made)


def rows_of(
    model: Any, tokenizer: PreTrainedTokenizerBase, batch: Batch, made: Sequence[Sequence[int]]
) -> list[Row]:
    """The rows of a batch, given the tokens of its answers."""
    from needlework.answering import answer_of, end_tokens

    ends = end_tokens(model, tokenizer)
    rows = []
    for shown, tokens in zip(batch.shown, made, strict=True):
        answer = answer_of(tokens, shown, tokenizer, ends)
        rows.append(row_of(shown, answer.text, answer.stopped_by))
    return rows


def row_of(shown: Rendered, text: str, stopped_by: str) -> Row:
    """The row of one answer, whatever made it: the keys of docs/formats.md.

    Args:
        shown: what the model read.
        text: its answer.
        stopped_by: what ended the answer: "end", "newline" or "limit".
    """
    example = shown.example
    answers = [start for needle, start, _ in shown.needles if needle.role == "answer"]
    return {
        "id": example.id,
        "cluster": example.cluster,
        "question": example.question,
        "answers": example.answers,
        "prediction": text,
        "stopped_by": stopped_by,
        "prompt_tokens": len(shown.prompt),
        "documents": len(example.documents),
        "gold": [i for i, document in enumerate(example.documents, start=1) if document.gold],
        "depth": min(answers) / len(shown.prompt) if answers else None,
    }


def read_predictions(path: Path) -> list[Row]:
    """The rows of a predictions file, in its order."""
    return stored.read_rows(path)


def add_answer_flags(parser: ArgumentParser) -> None:
    """The flags of every command that has a model answer the test examples."""
    add = parser.add_argument
    add("--base", required=True, help="base.json of a study, folder of a model, or hub id")
    add("--examples", type=Path, required=True, help="test examples (JSONL)")
    add("--length", type=int, required=True, help="longest example in tokens")
    add("--max-new-tokens", type=int, required=True, help="longest answer")
    add("--batch", type=int, default=1, help="examples answered together (%(default)s)")


def add_condition_flags(parser: ArgumentParser) -> None:
    """The flags of the commands that have a model answer under conditions."""
    add = parser.add_argument
    add("--adapter", type=Path, help="adapter of the model that answers; none: untuned")
    add("--test-examples", type=int, help="answer only so many examples")
    add("--interventions", type=Path, nargs="+", help="records of your own (JSON or YAML)")
    add("--scores", type=Path, help="head scores of the run (JSON), to choose heads by")
    add("--draws", type=int, default=10, help="random sets (%(default)s)")
    add("--layer-matched", action="store_true", help="random heads of the same layers")
    add("--seed", type=int, default=0, help="of the random sets (%(default)s)")
    add("--records", type=Path, required=True, help="folder for the conditions' records")
    add("--output", type=Path, required=True, help="folder for the answers")


def answer_identity(args: Namespace, *parts: Any) -> str:
    """Hash of all that answers depend on: `parts`, the examples, the flags and the versions.

    Args:
        args: the flags of `add_answer_flags` and `add_compute_flags`.
        parts: base model, hashes of adapters and files, conditions, as plain values.
    """
    flags = [args.length, args.max_new_tokens, args.batch]
    compute = [args.dtype, args.device, args.attention]
    return value_hash([list(parts), file_hash(args.examples), flags, compute, versions()])
