"""A study's runs, their time by stage, and their disk, as one estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from needlework import models
from needlework.estimates import work
from needlework.estimates.disk import disk
from needlework.estimates.work import Machine, Work
from needlework.layout import Run
from needlework.models.shapes import Shape, known_shape
from needlework.study.runs import (
    general_runs,
    masked_runs,
    own_tasks,
    patched_runs,
    recipe,
    runs,
    scored_runs,
    trained_variants,
    tuned_runs,
)
from needlework.study.sections import Study
from needlework.study.values import UNTUNED


@dataclass(frozen=True)
class Estimate:
    """What a study will take.

    Attributes:
        study: its name.
        device: "cpu" or "cuda".
        machine: what the device is taken to do.
        runs: how many runs each stage has.
        seconds: by stage, of the models whose size is known.
        longest: by model, the seconds of its longest training.
        disk: bytes by folder of the results; "checkpoints" are there only while models train.
        unknown: models whose size nothing on this machine says, or of which modules are tuned that
            are not counted; their time is left out.
        hosted: by model that is tuned elsewhere, the tokens that are trained there.
        jobs: trainings at the same time.
    """

    study: str
    device: str
    machine: Machine
    runs: dict[str, int]
    seconds: dict[str, float]
    longest: dict[str, float]
    disk: dict[str, float]
    unknown: list[str]
    hosted: dict[str, int]
    jobs: int


def estimate(study: Study, jobs: int | None = None) -> Estimate:
    """What a study will take; reads no weights and opens no connection.

    Args:
        study: the study.
        jobs: trainings that run at the same time, each with a checkpoint; None: one.
    """
    local = {name: _shape(study, name) for name, m in study.models.items() if m.hosted is None}
    shapes = {name: shape for name, shape in local.items() if shape and _counted(study, shape)}
    machine = Machine.of(study)
    stages: dict[str, tuple[list[Run], Callable[[Study, Run], Iterator[Work]]]] = {
        "heads": (scored_runs(study), work.heads),
        "evaluation": ([run for run in runs(study) if run.model in local], work.evaluation),
        "masks": (masked_runs(study), work.masks),
        "patches": (patched_runs(study), work.patches),
        "general": (general_runs(study), work.general),
    }
    tuned = tuned_runs(study)
    trained = {
        run: work.training_seconds(study, run, shapes[run.model], machine)
        for run in tuned
        if run.model in shapes
    }
    seconds = {"training": sum(trained.values())}
    for stage, (chosen, works) in stages.items():
        seconds[stage] = sum(
            each.seconds(shapes[run.model], machine)
            for run in chosen
            if run.model in shapes
            for each in works(study, run)
        )
    return Estimate(
        study=study.name,
        device=study.compute.device,
        machine=machine,
        runs={"training": len(tuned)} | {name: len(chosen) for name, (chosen, _) in stages.items()},
        seconds=seconds,
        longest={
            name: max(time for run, time in trained.items() if run.model == name)
            for name in dict.fromkeys(run.model for run in trained)
        },
        disk=disk(study, shapes, jobs or 1),
        unknown=[name for name in local if name not in shapes],
        hosted={name: _hosted_tokens(study, name) for name in study.models if name not in local},
        jobs=jobs or 1,
    )


def _counted(study: Study, shape: Shape) -> bool:
    """Whether all modules that the study tunes are linear maps whose size a shape tells."""
    recipes = [recipe(study, variant).training for variant in trained_variants(study)]
    named = [t.target_modules for t in recipes if not isinstance(t.target_modules, str)]
    return {name.rpartition(".")[2] for names in named for name in names} <= set(shape.projections)


def _shape(study: Study, name: str) -> Shape | None:
    """The shape of a model, with the windows that its extended context gives it."""
    section = study.models[name]
    shape, context = known_shape(section.source, section.revision), section.context
    if shape is None or shape.windows is None or context is None or context.window == "keep":
        return shape
    if isinstance(context.window, int):
        windows = [window and context.window for window in shape.windows]
    else:
        length = context.length or study.length
        trained = context.trained_length or models.positions(section.source) or length
        windows = [window and window * length // trained for window in shape.windows]
    return replace(shape, windows=tuple(windows))


def _hosted_tokens(study: Study, name: str) -> int:
    """Tokens of all trainings of a hosted model: of one pass, where the API chooses how many."""
    hosted = study.models[name].hosted
    passes = hosted.epochs if hosted is not None and isinstance(hosted.epochs, int) else 1
    tokens = 0
    for run in runs(study):
        if run.model == name and run.variant != UNTUNED and run.task in own_tasks(study):
            how = recipe(study, run.variant)
            tokens += how.length * (how.examples or study.tasks.chosen()[run.task].train) * passes
    return tokens
