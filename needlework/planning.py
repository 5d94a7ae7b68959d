"""From a configuration to a study that can be run: what no single section can know is checked here.

A missing file or a length above a model's positions stops before the first job.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from needlework import models
from needlework.corpora.downloads import load_sources
from needlework.layout import mixture_of
from needlework.study.parsing import StudyError, parse_study, problem_list
from needlework.study.runs import recipe, trained_variants
from needlework.study.sections import Study
from needlework.synthesis.variants import possible_variants


def load_study(config: Mapping[str, Any]) -> Study:
    """Parse and check a study; reads no corpus and no weights.

    Raises:
        StudyError: with one line for each reason why the study cannot be run.
    """
    study = parse_study(config)
    checks = (_unseen_heads, _beyond_vllm, _missing_files, _untrainable, _too_long)
    problems = [problem for check in checks for problem in check(study)]
    if problems:
        raise StudyError(problem_list(problems))
    return study


def _unseen_heads(study: Study) -> Iterable[str]:
    if all(model.hosted is not None for model in study.models.values()):
        yield (
            "models: all are hosted, and no head of such a model can be seen; add one that runs "
            "here, such as smollm2-135m-instruct"
        )


def _beyond_vllm(study: Study) -> Iterable[str]:
    """Views and masks are answered by transformers; what they are compared with must be, too."""
    asked = study.evaluation
    if asked.backend != "vllm":
        return
    tasks = study.tasks.chosen().values()
    views = asked.lengths or asked.closed_book
    views = views or any(getattr(task, "positions", None) for task in tasks)
    views = views or any(getattr(task, "test_distractors", None) for task in tasks)
    if views or study.masking or study.patching:
        yield (
            "evaluation.backend: vllm answers the plain test only; other lengths, positions, "
            "distractors, the closed book, masks and patches take transformers"
        )
    if any(recipe(study, name).training.method == "full" for name in trained_variants(study)):
        yield (
            "evaluation.backend: vllm serves no adapter of whole weights (training.method full); "
            "take transformers, or merge them by scripts/export_model.py and serve that"
        )


def _missing_files(study: Study) -> Iterable[str]:
    general = study.general.data if study.general else None
    if general is not None and not Path(general).is_dir():
        yield f"general.data: there is no folder {general}; name one, or null for the hub's"
    downloaded = {
        f"data/{source.name}/{file.path}"
        for source in load_sources().values()
        for file in source.files
    }
    for name, task in study.tasks.chosen().items():
        for key in ("path", "test_path", "passages"):
            path = getattr(task, key, None)
            if path is not None and not Path(path).exists() and path not in downloaded:
                yield f"tasks.{name}.{key}: there is no {path}; name a file, or null to download"


def _untrainable(study: Study) -> Iterable[str]:
    for name, task in study.tasks.chosen().items():
        if task.trained_on is not None:
            continue
        for key in ("train", "validation"):
            if not getattr(task, key):
                yield (
                    f"tasks.{name}.{key}: got 0; a task trains and probes models, or names another "
                    "as trained_on"
                )
        for variant in study.variants:
            refused = sorted(set(mixture_of(variant)) - possible_variants(name))
            if refused:
                yield f"variants: {', '.join(refused)} cannot be made of {name}; leave one out"


def _too_long(study: Study) -> Iterable[str]:
    for name, model in study.models.items():
        if model.context is not None and (model.context.length or study.length) < study.length:
            yield (
                f"models.{name}.context.length: {model.context.length} is below the study's length "
                f"of {study.length}"
            )
        if model.hosted is not None or model.context is not None:
            continue
        try:
            positions = models.positions(model.source)
        except ValueError as error:
            yield f"models.{name}.source: {error}"
            continue
        if positions is not None and study.length > positions:
            yield (
                f"length: got {study.length}, above the {positions} positions of models.{name} "
                f"({model.source}); take at most {positions}, or extend its context"
            )


def flags(section: BaseModel, *leave_out: str) -> str:
    """A section's keys as the flags of the script that uses them, quoted for a shell.

    So a rule's parameters are the keys its script takes, and nothing else makes it stale.
    """
    parts = []
    for key, value in section.model_dump().items():
        if key in leave_out or value is None or value is False:
            continue
        flag = f"--{key.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        parts.append(flag if value is True else shlex.join([flag, *map(str, values)]))
    return " ".join(parts)
