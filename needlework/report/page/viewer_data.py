"""What the example viewer of the page shows: test examples, every run's answer, attended places.

Small enough to stand in the page: of a long document only what matters is kept, and how much was
left out is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from needlework import stored
from needlework.evaluation.metrics import judge, main_metric, metrics_for
from needlework.examples import Document, Example, citation, iter_examples
from needlework.layout import Run
from needlework.report.page.excerpt import GOLD_HEAD, HEAD, Span, head_of, kept_parts
from needlework.report.wording import metric_words
from needlework.study.runs import runs
from needlework.study.sections import Study

EXAMPLES = 24
"""The first of each task's test examples that are shown: as they come, none picked."""

_ANSWER = (200, 100)  # a chain of thought ends with the answer, so its end is kept, too


def viewer_data(results: Path, study: Study) -> dict[str, Any]:
    """The first examples of every task's test, with all answers.

    Args:
        results: the study's folder. Read: corpora/<task>/test.jsonl, predictions/<run>/plain.jsonl
            and, where it is there, attention/<model>/<task>.json.
        study: the study whose runs are shown.

    Returns:
        `tasks`, a list of `task`, `metric` (in words), `total` (examples of the test), `runs` (list
        of model, variant, seed), `shown_to` (the model whose documents are shown where its
        attention was traced, None: all documents, always), `attention` and `examples`:

        - an example has `id`, `question`, `answers`, `documents`, `runs` (of each run None, or
          score, whether that counts as right, and the answer: its text, or its beginning, how many
          characters are left out, its end), `count` (model to how many documents it was shown) and
          `accepted` (model to its answers, where others: citations count the documents shown);
        - a document is title, length in characters, whether it is gold, parts (start, text) and
          needles (start, end, role, hop);
        - `attention` is model to variant to `seed`, `heads` (layer, head, score) and `answers`: id
          of the example to `tokens` and `spans`, by "layer-head" lists of document (its place; -1:
          not among those listed; None: outside of all documents), start, end, and the numbers of
          the answer's tokens that looked there.

        Places in a text are counted in characters, which a browser counts otherwise.

    Raises:
        ValueError: a row of test.jsonl is no whole example.
    """
    return {"tasks": [_task(results, study, task) for task in study.tasks.chosen()]}


def _task(results: Path, study: Study, task: str) -> dict[str, Any]:
    path = results / "corpora" / task / "test.jsonl"
    examples = list(islice(iter_examples(path), EXAMPLES))
    own = [run for run in runs(study) if run.task == task]
    rows = {run: _predictions(results, run, {e.id for e in examples}) for run in own}
    traced = {
        model: stored.read_json(file)
        for model in study.models
        if (file := results / "attention" / model / f"{task}.json").is_file()
    }
    shown = [_as_shown(example, traced) for example in examples]
    attention = {model: _attention(trace, shown) for model, trace in traced.items()}
    return {
        "task": task,
        "metric": metric_words(main_metric(task)),
        "total": _lines(path),
        "runs": [[run.model, run.variant, run.seed] for run in own],
        "shown_to": next(iter(traced), None),
        "attention": attention,
        "examples": [_example(task, example, rows, attention) for example in shown],
    }


def _predictions(results: Path, run: Run, wanted: set[str]) -> dict[str, dict[str, Any]]:
    folder = results / "predictions" / run.model / run.task / run.variant / f"seed{run.seed}"
    rows = stored.read_rows(folder / "plain.jsonl")
    return {row["id"]: row for row in rows if row["id"] in wanted}


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _as_shown(example: Example, traced: dict[str, Any]) -> Example:
    """The example with the documents, in the order, that the first traced model was shown."""
    ids = next(iter(traced.values()))["documents"].get(example.id) if traced else None
    if ids is None:
        return example
    by_id = {document.id: document for document in example.documents}
    documents = [by_id[key] for key in ids]
    cited = {"answers": [citation(documents, example.cites)]} if example.cites else {}
    return example.model_copy(update={"documents": documents} | cited)


def _attention(trace: dict[str, Any], examples: Iterable[Example]) -> dict[str, Any]:
    places = {e.id: {d.id: i for i, d in enumerate(e.documents)} for e in examples}
    return {
        variant: {
            "seed": trace["seed"][variant],
            "heads": [[layer, head, round(score, 4)] for layer, head, score in run["heads"]],
            "answers": {
                key: {
                    "tokens": answer["tokens"],
                    "spans": {
                        head: [
                            [None if name is None else places[key].get(name, -1), *rest]
                            for name, *rest in spans
                        ]
                        for head, spans in answer["spans"].items()
                    },
                }
                for key, answer in run["answers"].items()
                if key in places
            },
        }
        for variant, run in trace["runs"].items()
    }


def _example(
    task: str,
    example: Example,
    rows: dict[Run, dict[str, dict[str, Any]]],
    attention: dict[str, Any],
) -> dict[str, Any]:
    answers = {run: own.get(example.id) for run, own in rows.items()}
    asked = {run.model: row for run, row in answers.items() if row}  # of a model all the same
    attended: dict[int, list[Span]] = {}
    for place, start, end in _spans(attention, example.id):
        attended.setdefault(place, []).append((start, end))
    gold = sum(document.gold for document in example.documents)
    heads = (head_of(HEAD, len(example.documents)), head_of(GOLD_HEAD, gold))
    return {
        "id": example.id,
        "question": example.question,
        "answers": example.answers,
        "count": {model: row["documents"] for model, row in asked.items() if "documents" in row},
        "accepted": {
            model: row["answers"]
            for model, row in asked.items()
            if row["answers"] != example.answers
        },
        "runs": [_answer(task, row) for row in answers.values()],
        "documents": [
            _document(document, example, attended.get(place, []), heads[document.gold])
            for place, document in enumerate(example.documents)
        ],
    }


def _spans(attention: dict[str, Any], key: str) -> Iterator[tuple[int, int, int]]:
    for runs_of_model in attention.values():
        for run in runs_of_model.values():
            for spans in run["answers"].get(key, {"spans": {}})["spans"].values():
                yield from ((place, start, end) for place, start, end, _ in spans
                            if place is not None and place >= 0)  # fmt: skip


def _answer(task: str, row: dict[str, Any] | None) -> list[Any] | None:
    if row is None:
        return None
    text, accepted = row["prediction"], row["answers"]
    score = metrics_for(task)[main_metric(task)](text, accepted)
    first, last = _ANSWER
    shown = [text]
    if len(text) > first + last:
        shown = [text[:first], len(text) - first - last, text[-last:]]
    return [round(score, 4), judge(task)(text, accepted), *shown]


def _document(document: Document, example: Example, attended: list[Span], head: int) -> list[Any]:
    needles = sorted(
        (n.start, n.end, n.role, n.hop) for n in example.needles if n.document == document.id
    )
    around = [*((start, end) for start, end, *_ in needles), *attended]
    kept = kept_parts(len(document.text), head, around)
    return [
        document.title,
        len(document.text),
        int(document.gold),
        [[start, document.text[start:end]] for start, end in kept],
        needles,
    ]
