"""Made-up test examples with hostile texts, answers to them, head scores, and what heads saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from needlework.examples import Document, Example, Needle, citation, write_examples
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.layout import Run

HEADS = (4, 0, 3)  # of each layer: one has none, one has fewer than the widest
ITEMS = 8
NASTY = "<img src=x onerror=alert(1)>"
"""A text that must never become an element."""
ENDING = "</script><script>alert('x')</script>"
"""A text that must not end a script in which it stands."""
TURNED = "\u202eabc \u05d0\u05d1\u05d2\u202c \"quoted\" 'once' & \u2028 twice"
"""A text that turns the direction of what follows it, unless that is prevented."""


def folder_of(results: Path, kind: str, run: Run) -> Path:
    """The folder of a run's files of a kind; it is there afterwards."""
    folder = results / kind / run.model / run.task / run.variant / f"seed{run.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_corpus(folder: Path, task: str) -> None:
    """corpus.json and the test examples of a task."""
    folder.mkdir(parents=True)
    write_examples(folder / "test.jsonl", [_example(task, number) for number in range(ITEMS)])
    skipped = {"train": {NASTY: 3, "field missing": 2}, "validation": {}, "test": {}}
    splits = {
        name: {"considered": 10, "made": 8, "not wanted": 0, "skipped": reasons}
        for name, reasons in skipped.items()
    }
    record = {"task": task, "seed": 0, "length": 256, "splits": splits}
    (folder / "corpus.json").write_text(json.dumps(record), encoding="utf-8")


@cache
def _example(task: str, number: int) -> Example:
    hostile = (NASTY, ENDING, TURNED)[number % 3]
    needle = f"Lima{number}"
    text = f"The capital {hostile} is {needle}.\nIt has {100 + number} squares."
    documents = [
        Document(
            id=f"d{number}-{i}", title=f"{hostile} {i}", text=f"Quito{i} {hostile}", gold=False
        )
        for i in range(3)
    ]
    gold = Document(id=f"g{number}", title=hostile, text=text, gold=True)
    documents.insert(number % 3, gold)
    start = text.index(needle)
    cites = [gold.id] if task.endswith("citation") else []
    return Example(
        id=f"q{number}", task=task, variant="real", question=f"Capital {number}? {hostile}",
        answers=[citation(documents, cites) if cites else needle],
        cluster=f"c{number // 2}", source={}, documents=documents, cites=cites,
        needles=[Needle(document=gold.id, start=start, end=start + len(needle),
                        role="insight" if cites else "answer")],
    )  # fmt: skip


def write_probe(results: Path, run: Run, number: int) -> HeadScores:
    """The head scores of a run, and what they are."""
    rng = np.random.default_rng(number)
    layers = [
        Layer(attention="full" if heads else "none", heads=heads, kv_heads=heads,
              unseen={"answer": 2} if heads == 3 else {})
        for heads in HEADS
    ]  # fmt: skip
    there = np.array([[head < heads for head in range(max(HEADS))] for heads in HEADS])
    values = rng.random((8, *there.shape)) * (rng.random(there.shape) < 0.7)
    scores = HeadScores(
        metadata={"probe": {"kind": "copy", "role": "answer", "instances": "all"}},
        layers=layers,
        instances=[Instance(id=f"p{i}", cluster=f"c{i}", generated=NASTY, correct=True)
                   for i in range(8)],
        measures={"copy/answer": np.where(there, values, np.nan)},
        failures={NASTY: ["lost"]} if run.variant == "real" else {},
    )  # fmt: skip
    write_scores(folder_of(results, "heads", run) / "validation.json", scores)
    return scores


def write_answers(results: Path, run: Run, condition: str, right: int) -> None:
    """A run's answers under a condition; the higher `right` modulo 9, the more are right."""
    wrong = "[4]" if run.task.endswith("citation") else f"Quito {ENDING}"
    rows = [
        {"id": f"q{i}", "cluster": example.cluster, "question": example.question,
         "answers": example.answers, "documents": 4, "gold": [i % 3 + 1], "depth": i / ITEMS,
         "prompt_tokens": 200,
         "stopped_by": "limit" if run.variant == "low_low" and i == 0 else "end",
         "prediction": example.answers[0] if (5 * i + 2 * run.seed) % 9 < right % 9 else wrong}
        for i, example in enumerate(_example(run.task, number) for number in range(ITEMS))
    ]  # fmt: skip
    path = folder_of(results, "predictions", run) / f"{condition}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_attention(results: Path, runs: Sequence[Run]) -> None:
    """Where the top heads of the first seed of every variant of a model and task looked."""
    examples = [_example(runs[0].task, number) for number in range(ITEMS)]
    record: dict[str, Any] = {
        "model": runs[0].model,
        "task": runs[0].task,
        "seed": {run.variant: run.seed for run in runs},
        "examples": [example.id for example in examples],
        "documents": {e.id: [document.id for document in e.documents] for e in examples},
        "runs": {
            run.variant: {
                "heads": [[0, 1, 0.75], [2, 0, 0.5]],
                "answers": {example.id: _seen(example) for example in examples},
            }
            for run in runs
        },
    }
    path = results / "attention" / runs[0].model / f"{runs[0].task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")


def _seen(example: Example) -> dict[str, Any]:
    (needle,) = example.needles
    distractor = next(document for document in example.documents if not document.gold)
    on_needle = [needle.document, needle.start, needle.end - 1]
    return {
        "tokens": ["Lima", example.answers[0][-1]],
        "spans": {
            "0-1": [[*on_needle, [0]], [needle.document, needle.end - 1, needle.end, [1]]],
            "2-0": [[distractor.id, 0, 5, [0]], [None, 0, 0, [1]]],
        },
    }
