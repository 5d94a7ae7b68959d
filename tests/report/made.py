"""A folder of results as a study writes it: made-up scores and answers, real tables of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from needlework.evaluation.correlations import correlation_table
from needlework.evaluation.intervention_table import intervention_table
from needlework.evaluation.scoring import score_tables
from needlework.examples import Document, Example, Needle, write_examples
from needlework.heads.reliability import reliability_table
from needlework.heads.score_file import HeadScores, Instance, Layer, write_scores
from needlework.heads.similarity import similarity_table
from needlework.interventions.conditions import mask_conditions, patch_conditions
from needlework.interventions.record import Intervention, write_intervention
from needlework.interventions.selection import HeadSet
from needlework.layout import Run
from needlework.study.runs import (
    general_runs,
    masked_runs,
    patch_source,
    patched_runs,
    runs,
    tuned_runs,
)
from needlework.study.sections import Study
from needlework.training.summary import TRAINING_COLUMNS

MODEL = "tiny-0.1"
HEADS = (4, 0, 3)  # of each layer: one has none, one has fewer than the widest
ITEMS = 6
NASTY = "<img src=x onerror=alert(1)>"


def study(tasks: tuple[str, ...] = ("factbook_lookup",), **more: Any) -> Study:
    """A study of three variants and two training seeds."""
    sizes = {"train": 2, "validation": 8, "test": ITEMS}
    given = {
        "name": "made", "length": 256, "models": {MODEL: {"source": "tiny-random-llama"}},
        "tasks": dict.fromkeys(tasks, sizes), "training_seeds": [0, 1],
        "variants": ["real", "low_low", "real:0.5+symbolic:0.5"], "probe": {"top": 2},
    }  # fmt: skip
    return Study.model_validate(given | more)


def results(folder: Path, made: Study) -> Path:
    """Every file that `build_report` reads, below `folder`; returns the benchmark file."""
    scores = {run: _scores(i, run) for i, run in enumerate(runs(made))}
    for run, own in scores.items():
        write_scores(_path(folder, "heads", run, "validation.json"), own)
        _answers(folder, run, "plain", len(run.variant))
    for run in masked_runs(made):
        own = mask_conditions(
            scores[run], **_keys(made.masking, "variants", "examples", "test_examples"),
            seed=0, origin={},
        )  # fmt: skip
        _intervene(folder, run, own)
    for run in patched_runs(made):
        source = Run(run.model, run.task, patch_source(made), run.seed)
        own = patch_conditions(
            scores[source], scores[run], source_name=source.variant, seed=0, origin={},
            **_keys(made.patching, "source", "targets", "examples", "test_examples")
            | {"heads": HeadSet(count=2)},
        )  # fmt: skip
        _intervene(folder, run, own)
    _tables(folder, made)
    for task in made.tasks.chosen():
        for variant in made.variants:
            _dataset(folder / "datasets" / task / variant, task, variant)
    benchmark = folder / "benchmarks" / "compute_statistics.tsv"
    benchmark.parent.mkdir()
    benchmark.write_text("s\th:m:s\tmax_rss\n10\t0:00:10\t300\n", encoding="utf-8")
    return benchmark


def _keys(section: Any, *without: str) -> dict[str, Any]:
    return {key: value for key, value in section.model_dump().items() if key not in without}


def _path(folder: Path, kind: str, run: Run, name: str) -> Path:
    path = folder / kind / run.model / run.task / run.variant / f"seed{run.seed}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _scores(number: int, run: Run) -> HeadScores:
    rng = np.random.default_rng(number)
    layers = [
        Layer(attention="full" if heads else "none", heads=heads, kv_heads=heads,
              unseen={"answer": 2} if heads == 3 else {})
        for heads in HEADS
    ]  # fmt: skip
    there = np.array([[head < heads for head in range(max(HEADS))] for heads in HEADS])
    values = rng.random((8, *there.shape)) * (rng.random(there.shape) < 0.7)
    return HeadScores(
        metadata={"probe": {"kind": "copy", "role": "answer", "instances": "all"}},
        layers=layers,
        instances=[Instance(id=f"p{i}", cluster=f"c{i}", generated=NASTY, correct=True)
                   for i in range(8)],
        measures={"copy/answer": np.where(there, values, np.nan)},
        failures={NASTY: ["lost"]} if run.variant == "real" else {},
    )  # fmt: skip


def _answers(folder: Path, run: Run, condition: str, right: int) -> Path:
    rows = [
        {"id": f"q{i}", "cluster": f"c{i}", "question": "?", "answers": ["Lima"],
         "stopped_by": "limit" if run.variant == "low_low" and i == 0 else "end",
         "prediction": "Lima" if (i + run.seed) % 7 < right % 7 else "Quito"}
        for i in range(ITEMS)
    ]  # fmt: skip
    path = _path(folder, "predictions", run, f"{condition}.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _intervene(folder: Path, run: Run, conditions: list[Intervention]) -> None:
    for place, each in enumerate(conditions):
        write_intervention(_path(folder, "interventions", run, f"{each.name}.json"), each)
        _answers(folder, run, each.name, place)


def _tables(folder: Path, made: Study) -> None:
    answers = sorted((folder / "predictions").rglob("*.jsonl"))
    plain = [_path(folder, "predictions", run, "plain.jsonl") for run in runs(made)]
    probes = [_path(folder, "heads", run, "validation.json") for run in runs(made)]
    scores, comparisons = score_tables(plain, resamples=100, level=0.95, seed=0)
    similarity = similarity_table(probes, reference="real", top_count=2, resamples=20, seed=0)
    tables = {
        "scores": scores,
        "comparisons": comparisons,
        "head_similarity": similarity,
        "correlations": correlation_table(scores, similarity, reference="real"),
        "reliability": reliability_table(probes, top_count=2, draws=10, seed=0),
        "training": _training(made),
        "general": _general(made),
        "interventions": intervention_table(
            plain, [path for path in answers if path not in plain],
            sorted((folder / "interventions").rglob("*.json")),
            resamples=100, level=0.95, seed=0,
        ),
    }  # fmt: skip
    (folder / "statistics").mkdir()
    for name, table in tables.items():
        table.to_csv(folder / "statistics" / f"{name}.csv", index=False, float_format="%.6g")


def _training(made: Study) -> pd.DataFrame:
    numbers = {
        "examples": 2, "steps": 4, "tokens": 12_345, "seconds": 61.0, "tokens_per_second": 202.4,
        "tflops_per_second": 0.0123, "roofline_share": None, "peak_memory_gb": 1.25,
        "attention": "sdpa", "dtype": "float32", "checkpointing": "none", "method": "lora",
        "trainable_parameters": 6_144, "loss_first": 5.5, "loss_last": 2.25, "validation_loss": 3.5,
    }  # fmt: skip
    rows = [run._asdict() | numbers for run in tuned_runs(made)]
    return pd.DataFrame(rows, columns=TRAINING_COLUMNS)


def _general(made: Study) -> pd.DataFrame:
    numbers = {
        "benchmark": "gsm8k", "metric": "exact_match", "mean": 0.25, "low": 0.125, "high": 0.375,
        "n": 40, "difference": -0.0625, "difference_low": -0.1, "difference_high": 0.02,
        "p": 0.03, "p_adjusted": 0.04,
    }  # fmt: skip
    return pd.DataFrame([run._asdict() | numbers for run in general_runs(made)])


def _dataset(folder: Path, task: str, variant: str) -> None:
    text = f"The capital {NASTY} is Lima."
    example = Example(
        id="e", task=task, variant="real", question=NASTY, answers=["Lima"], cluster="c", source={},
        documents=[Document(id="d", title=NASTY, text=text, gold=True)],
        needles=[Needle(document="d", start=text.index("Lima"), end=text.index("Lima") + 4,
                        role="answer")],
    )  # fmt: skip
    folder.mkdir(parents=True)
    write_examples(folder / "train.jsonl", [example])
    counts = {"made": 2, "wanted": 2, "skipped": {NASTY: ["x"]}}
    record = {"variant": variant, "splits": {"train": counts, "validation": counts}}
    (folder / "dataset.json").write_text(json.dumps(record), encoding="utf-8")
