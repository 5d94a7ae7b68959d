"""Greedy answers of a model to examples, in a file that a killed run goes on filling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needlework.atomic import write_text
from needlework.examples import Example
from needlework.progress import say, track
from needlework.rendering.prompt import Rendered, render
from needlework.rendering.styles import style_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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

    Rows are kept in a neighbour of `output` as batches finish. A later run with the same
    `identity` (a hash of all that the answers depend on) takes them over; another identity
    starts anew.

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
    partial = output.with_name(f".{output.stem}.{identity[:16]}.partial.jsonl")
    output.parent.mkdir(parents=True, exist_ok=True)
    done = _finished(partial)
    if done:
        say(f"{len(done)} of {len(examples)} answers are there already")
    rest = [example for example in examples if example.id not in done]
    with partial.open("a", encoding="utf-8") as file:
        for rows in track(
            _answers(model, tokenizer, rest, length, max_new_tokens, batch),
            f"batches of {batch} answers",
            total=-(-len(rest) // batch),
        ):
            done.update({row["id"]: row for row in rows})
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            file.flush()
    ordered = [done[example.id] for example in examples]
    write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered))
    partial.unlink()
    return ordered


def _finished(partial: Path) -> dict[str, Row]:
    """Rows of an earlier run; a last line that was cut by a kill is dropped from the file."""
    if not partial.is_file():
        return {}
    lines = partial.read_text(encoding="utf-8").split("\n")[:-1]
    write_text(partial, "".join(line + "\n" for line in lines))
    return {row["id"]: row for row in map(json.loads, lines)}


def _answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    length: int,
    max_new_tokens: int,
    batch: int,
) -> Iterator[list[Row]]:
    import torch

    rendered = [(example, render(example, tokenizer, length)) for example in examples]
    ends = _end_tokens(model)
    at_end = any(style_of(example).stop == "end" for example in examples)
    # Neighbours in length share a batch, so little of it is padding.
    rendered.sort(key=lambda pair: len(pair[1].prompt))
    for start in range(0, len(rendered), batch):
        chunk = rendered[start : start + batch]
        widest = max(len(r.prompt) for _, r in chunk)
        ids = torch.full((len(chunk), widest), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, (_, r) in enumerate(chunk):  # padding on the left, so that answers start together
            ids[row, widest - len(r.prompt) :] = torch.tensor(r.prompt)
            mask[row, widest - len(r.prompt) :] = 1
        made = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            stop_strings=None if at_end else ["\n"],
            tokenizer=tokenizer,
        )[:, widest:]
        yield [
            _row(r, tokens, tokenizer, ends, at_end)
            for (_, r), tokens in zip(chunk, made.tolist(), strict=True)
        ]


def _end_tokens(model: Any) -> set[int]:
    """The tokens that end a generation; a chat model may have several."""
    ends = model.generation_config.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ())


def _row(
    shown: Rendered,
    tokens: list[int],
    tokenizer: PreTrainedTokenizerBase,
    ends: set[int],
    at_end: bool,
) -> Row:
    ended = not ends.isdisjoint(tokens)
    text = tokenizer.decode(tokens, skip_special_tokens=True).strip(" ")
    line, newline, _ = (text, "", "") if at_end else text.partition("\n")
    return {
        "id": shown.example.id,
        "cluster": shown.example.cluster,
        "question": shown.example.question,
        "answers": shown.example.answers,
        "prediction": line.strip(),
        "stopped_by": "newline" if newline else "end" if ended else "limit",
        "prompt_tokens": len(shown.prompt),
    }


def read_predictions(path: Path) -> list[Row]:
    """The rows of a predictions file, in its order."""
    with path.open(encoding="utf-8") as file:  # str.splitlines would also break at U+2028
        return [json.loads(line) for line in file]
