"""From a configuration to a study that can be run: what no single section can know is checked here.

A test set larger than the corpus or a length above a model's positions stops before the first job.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from needlework import models
from needlework.corpora.tasks import TASKS
from needlework.study import Study, StudyError, parse_study, problem_list


def load_study(config: Mapping[str, Any]) -> Study:
    """Parse and check a study; reads corpora that come with the installation, no weights.

    Raises:
        StudyError: with one line for each reason why the study cannot be run.
    """
    study = parse_study(config)
    problems = [*_too_few_examples(study), *_too_long(study)]
    if problems:
        raise StudyError(problem_list(problems))
    return study


def _too_few_examples(study: Study) -> Iterable[str]:
    for name, task in study.tasks.items():
        capacity = TASKS[name].capacity(documents=task.documents, seed=study.seed)
        wanted = {
            "train": task.train + task.spare, "validation": task.validation, "test": task.test
        }  # fmt: skip
        for split, count in wanted.items():
            if count > capacity[split]:
                key = "train + spare" if split == "train" else split
                yield (
                    f"tasks.{name}.{key}: got {count}, the corpus has {capacity[split]} examples "
                    f"of {task.documents} documents in this split; take at most that many"
                )


def _too_long(study: Study) -> Iterable[str]:
    for name, model in study.models.items():
        try:
            positions = models.positions(model.source)
        except ValueError as error:
            yield f"models.{name}.source: {error}"
            continue
        if positions is not None and study.length > positions:
            yield (
                f"length: got {study.length}, above the {positions} positions of models.{name} "
                f"({model.source}); take at most {positions}"
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
