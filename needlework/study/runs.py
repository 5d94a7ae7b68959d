"""What follows from a study: its runs, and what each is trained on, asked and compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from needlework.layout import Run
from needlework.study.sections import Study
from needlework.study.training import TrainingSection
from needlework.study.values import UNTUNED


class Recipe(NamedTuple):
    """How the adapters of a variant or of a control are trained.

    `data` is the variant whose dataset is used, `examples` how many of it (None: all), `length`
    the longest example in tokens.
    """

    data: str
    length: int
    examples: int | None
    training: TrainingSection


def trained_variants(study: Study) -> list[str]:
    """The untuned model, every variant and every control, in the order of the report."""
    return [UNTUNED, *study.variants, *study.controls]


def recipe(study: Study, variant: str) -> Recipe:
    """How a variant or a control of the study is trained.

    Raises:
        pydantic.ValidationError: a control gives `training` what it does not take.
    """
    control = study.controls.get(variant)
    if control is None:
        return Recipe(variant, study.length, None, study.training)
    training = TrainingSection.model_validate(study.training.model_dump() | control.training)
    return Recipe(control.variant, control.length or study.length, control.examples, training)


def runs(study: Study, variants: Sequence[str] | None = None) -> list[Run]:
    """Every run of a study: the untuned model once, every other with every training seed.

    A control that changes `training` is left out for a hosted model, which has other settings.

    Args:
        study: the study.
        variants: only runs of these; None: of all.
    """
    return [
        Run(model, task, variant, seed)
        for model, section in study.models.items()
        for task in study.tasks.chosen()
        for variant in trained_variants(study)
        if variants is None or variant in variants
        if section.hosted is None or not _changes_training(study, variant)
        for seed in ([0] if variant == UNTUNED else study.training_seeds)
    ]


def _changes_training(study: Study, variant: str) -> bool:
    return variant in study.controls and bool(study.controls[variant].training)


def own_tasks(study: Study) -> list[str]:
    """The tasks that models are trained on; the others are asked with the adapters of these."""
    return [name for name, task in study.tasks.chosen().items() if task.trained_on is None]


def adapter_run(study: Study, run: Run) -> Run:
    """The run whose adapter answers `run`: that of another task, where its own is only asked."""
    return run._replace(task=study.tasks.chosen()[run.task].trained_on or run.task)


def scored_runs(study: Study) -> list[Run]:
    """The runs whose heads are scored: of models that run here, on the tasks they train on."""
    own = own_tasks(study)
    return [r for r in runs(study) if r.task in own and study.models[r.model].hosted is None]


def tuned_runs(study: Study) -> list[Run]:
    """The runs that are trained here: those with an adapter of their own."""
    return [run for run in scored_runs(study) if run.variant != UNTUNED]


def traced_runs(study: Study) -> list[Run]:
    """The runs of which the report shows where heads look: one seed of those that are scored."""
    seeds = (0, study.training_seeds[0])
    return [run for run in scored_runs(study) if run.seed == seeds[run.variant != UNTUNED]]


def general_runs(study: Study) -> list[Run]:
    """The runs whose general abilities are asked; the untuned model once, under its first task."""
    if study.general is None:
        return []
    wanted = study.general.variants or trained_variants(study)
    first = own_tasks(study)[0]
    return [
        run
        for run in scored_runs(study)
        if (run.task == first if run.variant == UNTUNED else run.variant in wanted)
    ]


def reference(study: Study) -> str:
    """The variant that the others are measured against: real data where a study has it."""
    return "real" if "real" in study.variants else study.variants[0]


def masked_runs(study: Study) -> list[Run]:
    """The runs whose heads are masked."""
    if study.masking is None:
        return []
    chosen = study.masking.variants
    return [run for run in scored_runs(study) if chosen is None or run.variant in chosen]


def patch_source(study: Study) -> str:
    """The variant whose heads are put into other runs."""
    given = study.patching.source if study.patching else None
    return given or reference(study)


def patched_runs(study: Study) -> list[Run]:
    """The runs that are patched."""
    if study.patching is None:
        return []
    chosen = study.patching.targets
    if chosen is None:
        chosen = [v for v in study.variants if v != patch_source(study)]
    return [run for run in scored_runs(study) if run.variant in chosen]
