"""From a configuration to a study that can be run: what no single section can know is checked here.

A missing file or a length above a model's positions stops before the first job.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from needlework import given, models
from needlework.corpora.downloads import load_sources
from needlework.corpora.jsonl import check_beginning
from needlework.layout import mixture_of
from needlework.models.shapes import known_shape
from needlework.study.files import StudyError, problem_list
from needlework.study.parsing import parse_study
from needlework.study.runs import recipe, trained_variants
from needlework.study.sections import Study
from needlework.synthesis.variants import possible_variants

_MARKS = set("{}<>")  # in a path, of Snakemake's wildcards


def load_study(config: Mapping[str, Any]) -> Study:
    """Parse and check a study; reads no corpus and no weights.

    Raises:
        StudyError: with one line for each reason why the study cannot be run.
    """
    study = parse_study(config)
    checks = (_unseen_heads, _beyond_vllm, _missing_files, _untrainable, _too_long)
    problems = [problem for check in (*checks, _unknown_modules) for problem in check(study)]
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
    if general is not None and not os.path.isdir(general):
        yield f"general.data: there is no folder {general}; name one, or null for the hub's"
    downloaded = {
        f"data/{source.name}/{file.path}"
        for source in load_sources().values()
        for file in source.files
    }
    for name, task in study.tasks.chosen().items():
        for key in ("path", "test_path", "passages"):
            path = getattr(task, key, None)
            if path is None or (path in downloaded and not os.path.lexists(path)):
                continue
            if not path.isprintable() or set(path) & _MARKS:
                yield (
                    f"tasks.{name}.{key}: {given.shown(path)} has a control character or one of "
                    f"{' '.join(sorted(_MARKS))}, which mean something else in a workflow; rename "
                    "the file"
                )
            elif not os.path.lexists(path):
                what = given.shown(path)[1:-1]
                yield f"tasks.{name}.{key}: there is no {what}; name a file, or null to download"
            elif problem := _unreadable(name, key, Path(path)):
                yield f"tasks.{name}.{key}: {problem}"


def _unreadable(task: str, key: str, path: Path) -> str | None:
    """Why a file of the user's cannot be read, by its first lines; all of it is read later."""
    try:
        if task == "summhay":
            if not path.is_dir():
                return f"{path} is no folder; name that of the topic files"
        elif task == "jsonl":
            check_beginning(path)
        elif task == "flenqa" or ".tsv" in path.suffixes:
            given.check_file(path)
        else:
            next(given.rows(path), None)
    except ValueError as error:
        return str(error)
    return None


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


def _unknown_modules(study: Study) -> Iterable[str]:
    """Modules to be tuned that no layer of a model has, as far as its shape is known."""
    shapes = {
        name: known_shape(model.source, model.revision)
        for name, model in study.models.items()
        if model.hosted is None
    }
    named = {variant: recipe(study, variant).training for variant in trained_variants(study)}
    for name, shape in shapes.items():
        known = [*shape.projections, "lm_head"] if shape else []
        for variant, training in named.items():
            targets = training.target_modules
            lost = [t for t in targets if known and t.rpartition(".")[2] not in known]
            if lost and not isinstance(targets, str):
                where = f"controls.{variant}." if variant in study.controls else ""
                yield (
                    f"{where}training.target_modules: {given.shown(lost[0])} is no module of "
                    f"models.{name}; it has {', '.join(known)}"
                )
                if not where:  # the same for all variants
                    break


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
    for key, values in _given(section, leave_out).items():
        flag = f"--{key.replace('_', '-')}"
        alone = values and values[0] is True
        parts.append(flag if alone else shlex.join([flag, *map(str, values)]))
    return " ".join(parts)


@dataclass(frozen=True)
class Flags:
    """A rule's parameter for its command only: Snakemake records nothing but builtin types."""

    text: str

    def __str__(self) -> str:
        return self.text


class Said(tuple[Any, ...]):
    """A rule's parameter that its command shows as values, and Snakemake's record as words.

    Snakemake compares the `repr` of parameters with what it recorded, and prints those that
    differ: they are the reason that a dry run gives.
    """

    name: str

    def __new__(cls, name: str, *values: Any) -> Said:
        """The values of what is called `name` in the study."""
        made = super().__new__(cls, values)
        made.name = name
        return made

    def __repr__(self) -> str:
        return f"{self.name}: {' '.join(map(str, self))}"


def parameters(
    name: str, section: BaseModel, *leave_out: str, path: str | None = None
) -> dict[str, Flags | Said]:
    """A section's `flags` as the parameter `name`, and each of its keys as one to record.

    `path` is where the section stands in the study; None: at `name`.
    """
    return {
        name: Flags(flags(section, *leave_out)),
        **said(path or name, _given(section, leave_out), name),
    }


def said(path: str, keys: Mapping[str, Any], name: str | None = None) -> dict[str, Flags | Said]:
    """Keys below `path`, at any depth, as parameters to record, one for each value.

    The parameters' own names begin with `name`, so that those of two models can be the same.
    """
    name, found = name or path, dict[str, Flags | Said]()
    for key, value in keys.items():
        below = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            found |= said(below, value, f"{name}.{key}")
        else:
            values = value if isinstance(value, list | tuple) else [value]
            found[f"said.{name}.{key}"] = Said(below, *values)
    return found


def _given(section: BaseModel, leave_out: tuple[str, ...]) -> dict[str, list[Any]]:
    """The values of the keys that say something: a key that is null or false is no flag."""
    return {
        key: value if isinstance(value, list) else [value]
        for key, value in section.model_dump().items()
        if key not in leave_out and value is not None and value is not False
    }
