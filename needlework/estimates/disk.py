"""How many bytes the results of a study will have, by folder."""

from __future__ import annotations

from collections.abc import Mapping

from needlework import models
from needlework.estimates import work
from needlework.models.shapes import Shape
from needlework.study.runs import (
    masked_runs,
    own_tasks,
    patched_runs,
    recipe,
    runs,
    scored_runs,
    tuned_runs,
)
from needlework.study.sections import Study
from needlework.training.throughput import tuned_parameters

# JSON lines: text in tokens of large vocabularies, and the keys, ids and facts of a row.
_TOKEN, _EXAMPLE, _ANSWER = 4.5, 2000, 500
_HEAD = 5 * 2 * 6  # one head on one example: kinds of score, roles of needles, mostly "0.0, "
# In float32, a tuned weight is 4 bytes and Adam's moments 8; a checkpoint goes when the next one is
# whole.
_ADAPTER, _CHECKPOINT = 4, 2 * 12


def disk(study: Study, shapes: Mapping[str, Shape], jobs: int) -> dict[str, float]:
    """Bytes by folder of the results, and of the checkpoints of `jobs` trainings at a time.

    Args:
        study: the study.
        shapes: of its models; the weights and scores of others are left out.
        jobs: trainings that run at the same time.
    """
    tuned = _tuned(study, shapes)
    tasks = study.tasks.chosen()
    unpacked = [n for n in shapes if study.models[n].source in models.BUNDLED]
    scored = [run for run in scored_runs(study) if run.model in shapes]
    return {
        "models": sum(4.0 * shapes[name].parameters for name in unpacked),
        **_examples(study),
        "adapters": _ADAPTER * float(sum(tuned)),
        "heads": sum(
            float(_HEAD * shapes[run.model].layers * shapes[run.model].heads)
            * tasks[run.task].validation
            for run in scored
        ),
        "predictions": float(_ANSWER * _answers(study)),
        "checkpoints": float(_CHECKPOINT * jobs * max(tuned, default=0)),
    }


def _tuned(study: Study, shapes: Mapping[str, Shape]) -> list[int]:
    """Trained weights of every run."""
    counts = []
    for run in tuned_runs(study):
        if run.model in shapes:
            how = recipe(study, run.variant).training
            counts.append(
                tuned_parameters(
                    shapes[run.model],
                    method=how.method,
                    target_modules=how.target_modules,
                    rank=how.rank,
                )
            )
    return counts


def _examples(study: Study) -> dict[str, float]:
    corpora = datasets = 0.0
    for name, task in study.tasks.chosen().items():
        size = _TOKEN * work.whole_length(study, name) + _EXAMPLE
        tests = task.test * (1 + len(getattr(task, "test_distractors", [])))
        corpora += size * (task.train + task.spare + task.validation + tests)
        if name in own_tasks(study):
            datasets += size * len(study.variants) * (task.train + task.validation)
    return {"corpora": corpora, "datasets": datasets}


def _answers(study: Study) -> int:
    """Answers of all runs, under all conditions."""
    asked = [each for run in runs(study) for each in work.evaluation(study, run)]
    asked += [each for run in masked_runs(study) for each in work.masks(study, run)]
    asked += [next(work.patches(study, run)) for run in patched_runs(study)]
    return sum(each.examples * each.answers for each in asked)
