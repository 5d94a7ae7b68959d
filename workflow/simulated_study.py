"""A study's results as its GPU jobs would leave them, with invented answers, scores and contexts.

Sizes are those of the study: runs, views, conditions, items, heads, tokens. Only what the stages of
tables and report read is made; Snakemake names every file that lacks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from needlework.evaluation.views import has_closed_book, views_of
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.interventions.conditions import mask_conditions, patch_conditions
from needlework.interventions.record import Intervention, write_intervention
from needlework.interventions.selection import HeadSet
from needlework.layout import Run
from needlework.provenance import derived_seed
from needlework.study.runs import (
    general_runs,
    masked_runs,
    own_tasks,
    patch_source,
    patched_runs,
    recipe,
    runs,
    scored_runs,
    trained_variants,
    tuned_runs,
)
from needlework.study.sections import Study
from needlework.study.values import UNTUNED

LAYERS, HEADS, KV_HEADS = 32, 32, 8  # of both models of the paper
CHARACTERS = 4  # per token of English
DOCUMENT = 800  # characters
# Items of lm-eval's tasks.
BENCHMARKS = {
    "mmlu": 14_042, "hellaswag": 10_042, "gsm8k": 1_319, "triviaqa": 17_944, "nq_open": 3_610,
}  # fmt: skip
KINDS = {"copy": 0.5, "copy_repeats": 0.5, "argmax": 0.8, "mass": 1.0, "topk": 1.0}


class Item(NamedTuple):
    """What every answer to a test example has in common, as two parts of a line of JSON."""

    before: str
    right: str
    wrong: str
    after: str


def simulate(study: Study, folder: Path) -> None:
    """Write the results of every job that the tables and the report of a study rest on."""
    for task in own_tasks(study):
        _corpus(study, folder, task)
    items = {task: _items(folder / "corpora" / task / "test.jsonl") for task in own_tasks(study)}
    for run in runs(study):
        for name in ["plain", *(view.name for view in _views(study, run.task))]:
            _answers(folder, run, name, items[run.task])
    _heads_and_conditions(study, folder, items)
    for run in tuned_runs(study):
        _write(_path(folder, "adapters", run, "training.json"), _training(study, run))
    for run in general_runs(study):
        _general(folder, run)
    for model in study.models:
        for task in own_tasks(study):
            _attention(study, folder, model, task)
    _benchmarks(study, folder / "benchmarks")


def _path(folder: Path, kind: str, run: Run, name: str) -> Path:
    path = folder / kind / run.model / run.task / run.variant / f"seed{run.seed}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")


def _rng(*parts: Any) -> np.random.Generator:
    return np.random.default_rng(derived_seed("simulated", *parts))


# --- Corpora and datasets ------------------------------------------------------------------------


def _corpus(study: Study, folder: Path, task: str) -> None:
    """Contexts of the study's length, and the datasets made of them, whose texts are the same."""
    section = study.tasks.chosen()[task]
    corpus = folder / "corpora" / task
    corpus.mkdir(parents=True)
    others = [f"test-{name}" for name in getattr(section, "test_distractors", [])]
    for split, count in {"train": section.train, "test": section.test}.items():
        with (corpus / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in _examples(study, task, split, count))
    for name in others:
        (corpus / f"{name}.jsonl").symlink_to("test.jsonl")
    (corpus / "validation.jsonl").symlink_to("train.jsonl")
    reasons = {"field missing": 12, "answer in the question": 9}
    counts = {"considered": 5000, "made": section.train, "skipped": reasons}
    _write(
        corpus / "corpus.json", {"task": task, "splits": dict.fromkeys(("train", "test"), counts)}
    )
    for variant in study.variants:
        dataset = folder / "datasets" / task / variant
        dataset.mkdir(parents=True)
        for split in ("train", "validation"):
            (dataset / f"{split}.jsonl").symlink_to(corpus / "train.jsonl")
        made = {"real": 1500, "considered": 1300, "wanted": section.train, "made": section.train,
                "skipped": {"shorter than 99 % of the length": ["a", "b"]}}  # fmt: skip
        splits = {"train": made, "validation": made}
        _write(dataset / "dataset.json", {"task": task, "variant": variant, "splits": splits})
    for kind in ("rewrites", "documents"):
        _write(folder / "generations" / task / f"{kind}.json", _generation(kind, task))


def _generation(kind: str, task: str) -> dict[str, Any]:
    usage = {
        "requests": 900, "retries": 3, "prompt_tokens": 400_000, "completion_tokens": 50_000,
        "usd": 1.25, "cached": 0, "failed": 0,
    }  # fmt: skip
    return {
        "kind": kind, "task": task, "model": "gpt-4o-mini", "server": "https://api.openai.com/v1",
        "asked": 900, "kept": 897, "failed": 3 if kind == "rewrites" else {"empty": 3},
        "failed_ids": ["x", "y", "z"], "attempts_at_most": 6,
        "refused_replies": {"lost the answer": 40}, "usage": usage,
    }  # fmt: skip


def _examples(study: Study, task: str, split: str, count: int) -> Iterator[dict[str, Any]]:
    rng = _rng(task, split)
    words = ["".join(rng.choice(list("aeioulmnrst"), size)) for size in rng.integers(2, 11, 4000)]
    texts = [" ".join(rng.choice(words, DOCUMENT // 7)) for _ in range(600)]
    shown = study.length * CHARACTERS // DOCUMENT
    for number in range(count):
        chosen = rng.integers(0, len(texts), shown)
        gold = int(rng.integers(0, shown))
        documents = [
            {
                "id": f"d{i}",
                "title": f"Page {k}",
                "text": texts[k],
                "gold": i == gold,
                "unit": "word",
            }
            for i, k in enumerate(map(int, chosen))
        ]
        cites = task == "summhay"
        answer = f"[{gold + 1}]" if cites else f"Zqx{number} Xyzzy"
        said = f" The answer is {answer}."
        start = len(texts[int(chosen[gold])])
        documents[gold]["text"] = f"{documents[gold]['text']}{said}"
        role = "insight" if cites else "answer"
        yield {
            "id": f"{task}-{split}-{number:04}", "task": task, "variant": "real",
            "question": f"Which word of page {number} is it that says {texts[number % 600][:60]}?",
            "answers": [answer], "documents": documents, "cluster": f"c{number // 2}",
            "needles": [{"document": f"d{gold}", "start": start, "end": start + len(said),
                         "role": role, "hop": 1, "relation": None}],
            "source": {}, "facts": [], "cites": [f"d{gold}"] if cites else [],
            "style": "articles" if cites else "documents",
        }  # fmt: skip


# --- Answers -------------------------------------------------------------------------------------


def _views(study: Study, task: str) -> Sequence[Any]:
    section = study.tasks.chosen()[task]
    return views_of(
        positions=getattr(section, "positions", None),
        lengths=study.evaluation.lengths,
        closed_book=study.evaluation.closed_book and has_closed_book(task),
        distractor_sets=getattr(section, "test_distractors", []),
        length=study.length,
    )


def _items(path: Path) -> list[Item]:
    items = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            example = json.loads(line)
            (answer,) = example["answers"]
            (gold,) = (i for i, each in enumerate(example["documents"], 1) if each["gold"])
            before = {key: example[key] for key in ("id", "cluster", "question", "answers")}
            after = {
                "stopped_by": "end", "prompt_tokens": 32_600, "documents": 160, "gold": [gold],
                "depth": gold / 161 if example["needles"][0]["role"] == "answer" else None,
            }  # fmt: skip
            items.append(Item(
                json.dumps(before)[:-1] + ', "prediction": ', json.dumps(answer),
                json.dumps(f"[{gold % 7 + 1}][{gold % 11 + 2}] Xyzzy of another page"),
                ", " + json.dumps(after)[1:] + "\n",
            ))  # fmt: skip
    return items


def _answers(folder: Path, run: Run, condition: str, items: Sequence[Item]) -> None:
    """A model's answers: better after some data than after other, and seeds differ a little."""
    ability = 0.2 if run.variant == UNTUNED else _rng(run.variant).uniform(0.35, 0.8)
    ability += _rng(*run, condition).normal(0, 0.03)
    hard = _rng(run.task, len(items)).normal(0, 0.25, len(items))  # the same items for everyone
    right = _rng(*run, condition, "items").random(len(items)) < ability + hard
    path = _path(folder, "predictions", run, f"{condition}.jsonl")
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            item.before + (item.right if fine else item.wrong) + item.after
            for item, fine in zip(items, right, strict=True)
        )


# --- Heads ---------------------------------------------------------------------------------------


def _heads_and_conditions(study: Study, folder: Path, items: dict[str, list[Item]]) -> None:
    masked, patched = set(masked_runs(study)), set(patched_runs(study))
    sources: dict[Run, HeadScores] = {}
    for run in scored_runs(study):
        scores = _scores(study, run)
        write_scores(_path(folder, "heads", run, "validation.json"), scores)
        if run.variant == patch_source(study):
            sources[run] = scores
        conditions: list[tuple[int | None, list[Intervention]]] = []
        if run in masked and study.masking:
            own = _keys(study.masking, "variants", "test_examples")
            conditions.append(
                (study.masking.test_examples, mask_conditions(scores, **own, seed=0, origin={}))
            )
        if run in patched and study.patching:
            own = _keys(study.patching, "source", "targets", "test_examples") | {"heads": HeadSet()}
            source = run._replace(variant=patch_source(study))
            found = patch_conditions(
                sources[source], scores, source_name=source.variant, seed=0, origin={}, **own
            )
            conditions.append((study.patching.test_examples, found))
        for count, records in conditions:
            for record in records:
                write_intervention(
                    _path(folder, "interventions", run, f"{record.name}.json"), record
                )
                _answers(folder, run, record.name, items[run.task][:count])


def _keys(section: Any, *without: str) -> dict[str, Any]:
    return {key: value for key, value in section.model_dump().items() if key not in without}


def _scores(study: Study, run: Run) -> HeadScores:
    """A few heads that retrieve, much the same ones after any data."""
    instances = study.tasks.chosen()[run.task].validation
    own, shape = _rng(*run), (LAYERS, HEADS)
    strength = np.where(_rng(run.model).random(shape) < 0.05, _rng(run.model, 1).random(shape), 0.0)
    strength = np.where(own.random(shape) < 0.02, own.random(shape), strength)
    role = study.probe.role
    roles = [role, "bridge"] if run.task == "musique" else [role]
    measures = {}
    for kind, often in KINDS.items():
        for each in roles:
            values = own.integers(1, 7, (instances, *shape)) / 6 * strength
            values *= own.random(values.shape) < often
            if kind in ("mass", "topk"):
                values += own.random(values.shape) * 0.01
            measures[f"{kind}/{each}"] = values
    return HeadScores(
        metadata={"probe": study.probe.model_dump(include={"kind", "role", "instances"})},
        layers=[Layer(attention="full", heads=HEADS, kv_heads=KV_HEADS) for _ in range(LAYERS)],
        instances=[
            Instance(id=f"v{i}", cluster=f"c{i}", generated="Xyzzy", correct=True)
            for i in range(instances)
        ],
        measures=measures,
        failures={},
    )


def _attention(study: Study, folder: Path, model: str, task: str) -> None:
    """Where the top heads of every variant look while eight test examples are answered."""
    with (folder / "corpora" / task / "test.jsonl").open(encoding="utf-8") as file:
        examples = [json.loads(next(file)) for _ in range(8)]
    answered: dict[str, Any] = {}
    variants = trained_variants(study)
    for variant in variants:
        rng = _rng(model, task, variant)
        heads = [[layer, int(rng.integers(HEADS)), 0.5] for layer in range(study.probe.top)]
        answers = {}
        for example in examples:
            tokens = example["answers"][0].split(" ") * 4
            looks = {
                f"{layer}-{head}": [
                    [f"d{document}", int(start), int(start) + 5, [row]]
                    for row, (document, start) in enumerate(rng.integers(0, 150, (len(tokens), 2)))
                ]
                for layer, head, _ in heads
            }
            answers[example["id"]] = {"tokens": tokens, "spans": looks}
        answered[variant] = {"heads": heads, "answers": answers}
    seeds = {v: 0 if v == UNTUNED else study.training_seeds[0] for v in variants}
    shown = {each["id"]: [document["id"] for document in each["documents"]] for each in examples}
    _write(folder / "attention" / model / f"{task}.json", {
        "model": model, "task": task, "seed": seeds, "examples": list(shown), "documents": shown,
        "runs": answered,
    })  # fmt: skip


# --- Training and general abilities --------------------------------------------------------------


def _training(study: Study, run: Run) -> dict[str, Any]:
    chosen = recipe(study, run.variant)
    count = chosen.examples or study.tasks.chosen()[run.task].train
    steps = math.ceil(count * chosen.training.epochs / chosen.training.batch)
    curve = [[i, 4 * math.exp(-i / 50) + 0.1 * _rng(*run, i).random()] for i in range(1, steps + 1)]
    return {
        "examples": {"train": count, "validation": 40}, "steps": steps,
        "tokens": {"prompt": count * chosen.length, "answer": count * 8},
        "seconds": 5000.0, "tokens_per_second": 8000.0, "tflops_per_second": 450.0,
        "roofline_share": 0.45, "peak_memory_bytes": 70_000_000_000, "attention": "sdpa",
        "dtype": "bfloat16", "checkpointing": "full", "settings": {"method": "lora"},
        "trainable_parameters": 3_400_000, "validation_loss": None,
        "loss": {"first": curve[0][1], "last": curve[-1][1], "curve": curve},
    }  # fmt: skip


def _general(folder: Path, run: Run) -> None:
    lines: list[str] = []
    summaries = {}
    for name, count in BENCHMARKS.items():
        right = _rng(*run, name).random(count) < 0.5
        lines += (
            f'{{"benchmark": "{name}", "subject": "", "id": "{i}-{i:08x}", '
            f'"question": "{i:016x}", "prediction": "Xyzzy", "score": {score:.1f}}}\n'
            for i, score in enumerate(right)
        )
        summaries[name] = {
            "metric": "exact_match", "filter": "none", "shots": 5, "shots_from": "the hub's",
            "version": 1, "data": "hub", "value": float(right.mean()), "stderr": 0.01, "n": count,
            "cut": 0,
        }  # fmt: skip
    _path(folder, "general", run, "items.jsonl").write_text("".join(lines), encoding="utf-8")
    _write(_path(folder, "general", run, "general.json"), {"benchmarks": summaries})


# --- Time and memory -----------------------------------------------------------------------------


def _benchmarks(study: Study, folder: Path) -> None:
    """Snakemake's measurements of every job that is made up here."""
    of_runs = {
        "train_adapter": tuned_runs(study), "score_heads": scored_runs(study),
        "predict_answers": runs(study), "predict_views": runs(study),
        "mask_heads": masked_runs(study), "patch_heads": patched_runs(study),
        "evaluate_general": general_runs(study),
    }  # fmt: skip
    named = [
        *(f"prepare_model/{model}" for model in study.models),
        *(f"build_dataset/{task}/{name}" for task in own_tasks(study) for name in study.variants),
        *(f"{rule}/{task}" for task in own_tasks(study)
          for rule in ("build_corpus", "rewrite_facts", "write_documents")),
        *(f"trace_attention/{model}/{task}" for model in study.models for task in own_tasks(study)),
        *(f"{rule}/{run.model}/{run.task}/{run.variant}/seed{run.seed}"
          for rule, chosen in of_runs.items() for run in chosen),
    ]  # fmt: skip
    for name in named:
        path = folder / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("s\th:m:s\tmax_rss\n100\t0:01:40\t3000\n", encoding="utf-8")
