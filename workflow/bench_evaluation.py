"""Time greedy answers in batches, as a study gives them, against plain generation one by one.

`make bench-evaluation` runs it: the bundled SmolLM2, 64 prompts of about 500 tokens, at most 24 new
ones, on a CPU. Both know the same end tokens. What is compared is run in turns in one process,
after a few prompts to warm up, and the median of the ratios turn by turn is given. The bar: 1.5
times the prompts a minute in batches of 8 or 16.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from needlework import models
from needlework.examples import Example

LENGTH, NEW_TOKENS, BATCHES = 512, 24, (8, 16)


def main() -> None:
    """Answer, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder, hub id or base.json; none: the bundled SmolLM2")
    parser.add_argument("--prompts", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns (%(default)s)")
    models.add_compute_flags(parser)
    parser.set_defaults(threads=2)
    args = parser.parse_args()
    models.limit_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.model is None:
            base = models.prepare("smollm2-135m-instruct", folder / "model")
        else:
            base = models.base_of(args.model)
        tokenizer = models.load_tokenizer(base)
        model = models.load_model(
            base, dtype=args.dtype, device=args.device, attention=args.attention
        )
        ways: dict[str, Callable[[list[Example]], list[str]]] = {
            f"batches of {size}": _batched(model, tokenizer, folder, size) for size in BATCHES
        }
        ways["one by one"] = _alone(model, tokenizer)
        _compare(ways, _examples(tokenizer, args.prompts), args.repeats)


def _examples(tokenizer: Any, count: int) -> list[Example]:
    from needlework.corpora.factbook_lookup import factbook_lookup
    from needlework.rendering.room import Room

    room = Room([tokenizer], LENGTH)
    return factbook_lookup(train=1, validation=1, test=count, seed=0, room=room).test


def _compare(
    ways: dict[str, Callable[[list[Example]], list[str]]], examples: list[Example], repeats: int
) -> None:
    for answer in ways.values():
        answer(examples[:2])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, list[str]] = {}
    for _ in range(repeats):
        for name, answer in ways.items():
            began = time.monotonic()
            texts[name] = answer(examples)
            seconds[name].append(time.monotonic() - began)
    alone = seconds.pop("one by one")
    print(f"one by one: {60 * len(examples) / median(alone):.1f} prompts a minute")
    for name, each in seconds.items():
        ratio = median(a / b for a, b in zip(alone, each, strict=True))
        same = sum(a == b for a, b in zip(texts[name], texts["one by one"], strict=True))
        print(
            f"{name}: {60 * len(examples) / median(each):.1f} prompts a minute, {ratio:.2f} times "
            f"as many; {same} of {len(examples)} answers are the same; bar of 1.5 "
            f"{'met' if ratio >= 1.5 else 'not met'}"
        )


def _batched(
    model: Any, tokenizer: Any, folder: Path, size: int
) -> Callable[[list[Example]], list[str]]:
    from needlework.evaluation.predict import predict

    def answer(examples: list[Example]) -> list[str]:
        rows = predict(
            model, tokenizer, examples, folder / "answers.jsonl",
            length=LENGTH, max_new_tokens=NEW_TOKENS, batch=size, identity="a benchmark",
        )  # fmt: skip
        return [row["prediction"] for row in rows]

    return answer


def _alone(model: Any, tokenizer: Any) -> Callable[[list[Example]], list[str]]:
    import torch

    from needlework.answering import end_tokens
    from needlework.rendering.prompt import render

    ends = sorted(end_tokens(model, tokenizer))

    def answer(examples: list[Example]) -> list[str]:
        texts = []
        for example in examples:
            ids = torch.tensor([render(example, tokenizer, LENGTH).prompt], device=model.device)
            made = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                max_new_tokens=NEW_TOKENS, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
            text = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
            texts.append(text.partition("\n")[0].strip())
        return texts

    return answer


if __name__ == "__main__":
    main()
