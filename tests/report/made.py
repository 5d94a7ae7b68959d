"""A folder of results as a study writes it: made-up scores and answers, real tables of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from needlework.evaluation.correlations import correlation_table
from needlework.evaluation.depths import depth_table
from needlework.evaluation.intervention_table import intervention_table
from needlework.evaluation.scoring import score_tables
from needlework.examples import Document, Example, Needle, write_examples
from needlework.heads.differences import differences_table
from needlework.heads.reliability import reliability_table
from needlework.heads.run_scores import read_run
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
    scored_runs,
    tuned_runs,
)
from needlework.study.sections import Study
from needlework.training.summary import TRAINING_COLUMNS
from tests.report.made_answers import (
    NASTY,
    folder_of,
    write_answers,
    write_attention,
    write_corpus,
    write_probe,
)

__all__ = ["MODEL", "NASTY", "results", "study"]

MODEL = "tiny-0.1"
VIEWS = ("length128", "position1of3", "position3of3", "closed_book")


def study(tasks: tuple[str, ...] = ("factbook_lookup",), **more: Any) -> Study:
    """A study of three variants and two training seeds."""
    sizes = {"train": 2, "validation": 8, "test": 8}
    given = {
        "name": "made", "length": 256, "models": {MODEL: {"source": "tiny-random-llama"}},
        "tasks": dict.fromkeys(tasks, sizes), "training_seeds": [0, 1],
        "variants": ["real", "low_low", "symbolic", "real:0.5+symbolic:0.5"],
        "probe": {"top": 2},
    }  # fmt: skip
    return Study.model_validate(given | more)


def results(folder: Path, made: Study) -> Path:
    """Every file that `build_report` reads, below `folder`; returns the benchmark file."""
    for task in made.tasks.chosen():
        write_corpus(folder / "corpora" / task, task)
        _generation(folder / "generations" / task)
        for variant in made.variants:
            _dataset(folder / "datasets" / task / variant, task, variant)
    asked = runs(made)
    for run in asked:
        for place, condition in enumerate(("plain", *VIEWS)):
            write_answers(folder, run, condition, len(run.variant) + place)
    probed = scored_runs(made)
    scores = {run: write_probe(folder, run, i) for i, run in enumerate(probed)}
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
    for model, task in dict.fromkeys((run.model, run.task) for run in probed):
        first = [r for r in probed if r[:2] == (model, task) and r.seed == made.training_seeds[0]]
        write_attention(folder, first)
    _tables(folder, made)
    benchmark = folder / "benchmarks" / "compute_statistics.tsv"
    benchmark.parent.mkdir()
    benchmark.write_text("s\th:m:s\tmax_rss\n10\t0:00:10\t300\n", encoding="utf-8")
    return benchmark


def _keys(section: Any, *without: str) -> dict[str, Any]:
    return {key: value for key, value in section.model_dump().items() if key not in without}


def _intervene(folder: Path, run: Run, conditions: list[Intervention]) -> None:
    for place, each in enumerate(conditions):
        path = folder_of(folder, "interventions", run) / f"{each.name}.json"
        write_intervention(path, each)
        write_answers(folder, run, each.name, place)


def _tables(folder: Path, made: Study) -> None:
    answers = sorted((folder / "predictions").rglob("*.jsonl"))
    views = [folder_of(folder, "predictions", run) / f"{name}.jsonl"
             for run in runs(made) for name in ("plain", *VIEWS)]  # fmt: skip
    plain = [path for path in views if path.stem == "plain"]
    probes = [read_run(folder_of(folder, "heads", run) / "validation.json")
              for run in scored_runs(made)]  # fmt: skip
    scored = score_tables(
        views, reference="real", controls=made.controls, resamples=100, level=0.95, seed=0
    )
    similarity = similarity_table(probes, reference="real", top_count=2, resamples=20, seed=0)
    tables = {
        **scored._asdict(),
        "depths": depth_table(views, resamples=100, level=0.95, seed=0),
        "head_similarity": similarity,
        "correlations": correlation_table(scored.scores, similarity, reference="real"),
        "head_differences": differences_table(probes, reference="real", permutations=100, seed=0),
        "reliability": reliability_table(probes, top_count=2, draws=10, seed=0),
        "training": _training(made),
        "training_curves": _curves(made),
        "general": _general(made),
        "interventions": intervention_table(
            plain, [path for path in answers if path not in views],
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


def _curves(made: Study) -> pd.DataFrame:
    rows = [
        run._asdict() | {"step": step, "loss": 5.5 - step + run.seed / 4}
        for run in tuned_runs(made)
        for step in range(1, 5)
    ]
    return pd.DataFrame(rows, columns=[*Run._fields, "step", "loss"])


def _general(made: Study) -> pd.DataFrame:
    numbers = {
        "benchmark": "gsm8k", "metric": "exact_match", "mean": 0.25, "low": 0.125, "high": 0.375,
        "n": 40, "difference": -0.0625, "difference_low": -0.1, "difference_high": 0.02,
        "p": 0.03, "p_adjusted": 0.04, "detectable": 0.08, "margin": 0.02, "p_equivalence": 0.4,
        "p_equivalence_adjusted": 0.8, "shots": 8, "data": "hub", "left_out": 0,
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
    counts = {"real": 3, "considered": 3, "made": 2, "wanted": 2, "skipped": {NASTY: ["x"]}}
    record = {"task": task, "variant": variant, "splits": {"train": counts, "validation": counts}}
    (folder / "dataset.json").write_text(json.dumps(record), encoding="utf-8")


def _generation(folder: Path) -> None:
    usage = {"requests": 9, "retries": 1, "prompt_tokens": 1234, "completion_tokens": 56,
             "usd": 0.0125, "cached": 2, "failed": 0}  # fmt: skip
    record = {
        "kind": "rewrites", "model": NASTY, "server": "https://example.org/v1", "asked": 5,
        "kept": 4, "failed": 1, "failed_ids": ["x"], "attempts_at_most": 6,
        "refused_replies": {"lost the answer": 2}, "usage": usage,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "rewrites.json").write_text(json.dumps(record), encoding="utf-8")
