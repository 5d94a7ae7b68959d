"""A study out of a mapping, or one line for each reason why it cannot be run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from needlework.given import shown
from needlework.study.files import StudyError as StudyError
from needlework.study.files import check_size, dotted, problem_list
from needlework.study.runs import patch_source, recipe, trained_variants
from needlework.study.sections import Study
from needlework.study.tasks import TASKS
from needlework.study.values import NAME, UNTUNED, VARIANTS


def parse_study(config: Mapping[str, Any]) -> Study:
    """The study that a mapping (a YAML file, Snakemake's config) describes.

    Raises:
        StudyError: a key is unknown, missing, of the wrong type or impossible, or two keys
            contradict each other.
    """
    if not isinstance(config, Mapping):
        raise StudyError(problem_list([f"the study is {shown(config)}; it takes keys at its top"]))
    check_size(config)
    try:
        study = Study.model_validate(dict(config))
    except ValidationError as error:
        raise StudyError(problem_list(explanations(error.errors()))) from None
    problems = list(_contradictions(study))
    if problems:
        raise StudyError(problem_list(problems))
    return study


def _contradictions(study: Study) -> Iterable[str]:
    lists: dict[str, Sequence[Any]] = {
        "variants": study.variants,
        "training_seeds": study.training_seeds,
    }
    for key, values in lists.items():
        repeated = sorted({str(v) for v in values if values.count(v) > 1})
        if repeated:
            yield f"{key}: {', '.join(repeated)} stands there more than once; name each once"
    if study.training.batch % study.training.batch_per_device:
        yield (
            f"training.batch: {study.training.batch} is no multiple of training.batch_per_device "
            f"({study.training.batch_per_device})"
        )
    if not study.tasks.chosen():
        yield f"tasks: names none; known here: {', '.join(TASKS)}"
    yield from _wrong_controls(study)
    yield from _wrong_tasks(study)
    yield from _unknown_runs(study)
    if study.compute.device == "cpu" and study.compute.gpus:
        yield f"compute.gpus: {study.compute.gpus} with compute.device cpu; take 0, or device cuda"
    for length in study.evaluation.lengths:
        if length > study.length:
            yield f"evaluation.lengths: {length} is above the study's length of {study.length}"


def _wrong_controls(study: Study) -> Iterable[str]:
    """Controls that cannot be told from a variant, or change what there is not."""
    for name, control in study.controls.items():
        if name == UNTUNED or name in VARIANTS or name in study.variants:
            yield f"controls.{name}: a variant has this name; take another"
        if control.variant not in study.variants:
            yield (
                f"controls.{name}.variant: {control.variant} is not in variants; known here: "
                f"{', '.join(study.variants)}"
            )
        if control.length is not None and control.length > study.length:
            yield f"controls.{name}.length: above the study's length of {study.length}"
        try:
            training = recipe(study, name).training
        except ValidationError as error:
            for line in explanations(error.errors(), "training"):
                yield f"controls.{name}.{line}"
        else:
            if training.batch % training.batch_per_device:
                yield f"controls.{name}.training.batch: no multiple of batch_per_device"


def _wrong_tasks(study: Study) -> Iterable[str]:
    """Tasks that are only asked, and places where no gold document can be."""
    chosen = study.tasks.chosen()
    for name, task in chosen.items():
        own = [other for other, section in chosen.items() if section.trained_on is None]
        if task.trained_on is not None and task.trained_on not in own:
            yield (
                f"tasks.{name}.trained_on: {task.trained_on} is no task of the study that has its "
                f"own adapters; those are: {', '.join(own) or 'none'}"
            )
        positions = getattr(task, "positions", None)
        if positions is not None and max(positions.gold) > positions.documents:
            yield (
                f"tasks.{name}.positions.gold: {max(positions.gold)} is above "
                f"{positions.documents} documents"
            )
        others = getattr(task, "test_distractors", [])
        if getattr(task, "distractors", None) in others:
            yield f"tasks.{name}.test_distractors: {others[0]} are those of the task itself"


def _unknown_runs(study: Study) -> Iterable[str]:
    """Interventions on runs that the study does not have."""
    trained = trained_variants(study)
    named: dict[str, Sequence[str]] = {
        "masking.variants": (study.masking.variants or []) if study.masking else [],
        "patching.targets": (study.patching.targets or []) if study.patching else [],
        "patching.source": [patch_source(study)] if study.patching else [],
        "general.variants": (study.general.variants or []) if study.general else [],
    }
    for key, variants in named.items():
        for variant in variants:
            if variant not in trained:
                yield f"{key}: {variant} is no variant or control here{_nearest(variant, trained)}"
    targets = study.patching.targets if study.patching else None
    if study.patching and patch_source(study) in (targets or []):
        yield f"patching.targets: {patch_source(study)} is the source; leave it out"


def explanations(errors: Iterable[Any], *above: str) -> list[str]:
    """One line for each key that pydantic complains of; `above` are the keys of its section."""
    lines: dict[str, list[str]] = {}
    for error in errors:
        path = [*above, *(str(part) for part in error["loc"] if not _TAG.fullmatch(str(part)))]
        key = dotted(path)  # each problem is one line, whatever the names
        lines.setdefault(key, []).append(_explained(error, path, key))
    # A value of several kinds has one complaint for each, and one more for a part of it.
    partial = {key for key in lines if any(other.startswith(f"{key}.") for other in lines)}
    return [_joined(said) for key, said in lines.items() if key not in partial]


# What pydantic puts between the keys where a value may be of several kinds.
_TAG = re.compile(r"\[key\]|(list|literal|constrained-\w+|function-\w+)(\[.*\])?")


def _joined(said: Sequence[str]) -> str:
    head, _, first = said[0].partition(", takes ")
    others = [each.rpartition(", takes ")[2] for each in said[1:]]
    return (
        " or ".join([f"{head}, takes {first.partition('; known here')[0]}", *others])
        if (others)
        else said[0]
    )


def _explained(error: Any, path: Sequence[str], key: str) -> str:
    """An error as a line that names the key, what it got and what it takes."""
    kind, given = error["type"], error["input"]
    if path[-1:] == [
        "api_key_env"
    ]:  # someone may have put the key itself there: it is not repeated
        return f"{key}: takes the name of an environment variable, such as OPENAI_API_KEY"
    if kind == "extra_forbidden":
        return f"{key}: there is no such key{_nearest(path[-1], _keys(path[:-1]))}"
    if kind == "missing":
        return f"{key}: missing; it is needed. {_description(path)}"
    if kind == "literal_error":
        known = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = _nearest(given if isinstance(given, str) else "", known)
        return f"{key}: got {shown(given)}, takes one of {', '.join(known)}{near}"
    if kind == "value_error":
        return f"{key}: {error['ctx']['error']}"
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] == NAME:
        return (
            f"{key}: got {shown(given)}, takes a name of at most 64 letters A to Z (large or "
            "small), digits, '.', '_' and '-', the first a letter or a digit: a folder has it"
        )
    return f"{key}: got {shown(given)} ({type(given).__name__}), {_takes(str(error['msg']))}"


def _takes(message: str) -> str:
    message = message.replace("Input should be", "takes").replace("String should", "should")
    return message[0].lower() + message[1:]


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(word[:80], known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _section(path: Iterable[str]) -> type[BaseModel] | None:
    """The model that the keys at `path` belong to."""
    section: type[BaseModel] | None = Study
    for part in path:
        field = section.model_fields.get(part) if section else None
        if field is None:  # a name inside a mapping: models.<name>, tasks.<name>
            continue
        section = next((t for t in _types(field.annotation) if issubclass(t, BaseModel)), None)
    return section


def _types(annotation: Any) -> Iterable[type]:
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


def _keys(path: Sequence[str]) -> list[str]:
    section = _section(path)
    return list(section.model_fields) if section else []


def _description(path: Sequence[str]) -> str:
    section = _section(path[:-1])
    field = section.model_fields.get(path[-1]) if section else None
    return (field.description if field else None) or ""
