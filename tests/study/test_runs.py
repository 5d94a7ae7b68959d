"""What follows from a study: which runs it has, and how each is trained."""

from __future__ import annotations

from typing import Any

from needlework.layout import Run
from needlework.study.parsing import parse_study
from needlework.study.runs import (
    adapter_run,
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


def study(**more: Any) -> Study:
    """Two tasks, one of them only asked; a local and a hosted model; three controls; two seeds."""
    sizes = {"train": 2, "validation": 2, "test": 2}
    given: dict[str, Any] = {
        "name": "s", "length": 2048, "training_seeds": [0, 3], "variants": ["real", "symbolic"],
        "models": {
            "tiny": {"source": "tiny-random-llama"},
            "api": {"source": "gpt", "hosted": {}, "tokenizer": "tiny-random-llama"},
        },
        "tasks": {"factbook_lookup": sizes, "flenqa": {"test": 2, "trained_on": "factbook_lookup"}},
        "controls": {
            "short": {"variant": "real", "length": 256},
            "few": {"variant": "symbolic", "examples": 1},
            "wide": {"variant": "real", "training": {"target_modules": "all-linear", "rank": 4}},
        },
    }  # fmt: skip
    return parse_study(given | more)


def names(found: list[Run]) -> set[tuple[str, str, str]]:
    return {(run.model, run.task, run.variant) for run in found}


def test_every_run_is_asked_and_the_untuned_model_once() -> None:
    made = study()
    assert trained_variants(made) == ["untuned", "real", "symbolic", "short", "few", "wide"]
    # The hosted model has other settings than `training`: no control that changes those.
    assert len(runs(made)) == 2 * (1 + 5 * 2) + 2 * (1 + 4 * 2)
    assert ("api", "flenqa", "wide") not in names(runs(made))
    assert {run.seed for run in runs(made, ["untuned"])} == {0}


def test_heads_are_seen_of_local_models_on_tasks_that_are_trained_on() -> None:
    made = study()
    assert own_tasks(made) == ["factbook_lookup"]
    assert {(m, t) for m, t, _ in names(scored_runs(made))} == {("tiny", "factbook_lookup")}
    assert names(scored_runs(made)) - names(tuned_runs(made)) == {
        ("tiny", "factbook_lookup", "untuned")
    }


def test_a_task_that_is_only_asked_has_the_adapters_of_another() -> None:
    asked = Run("tiny", "flenqa", "few", 3)
    assert adapter_run(study(), asked) == Run("tiny", "factbook_lookup", "few", 3)
    own = Run("tiny", "factbook_lookup", "real", 0)
    assert adapter_run(study(), own) == own


def test_a_variant_is_trained_as_the_study_says_and_a_control_otherwise() -> None:
    made = study()
    assert recipe(made, "real") == ("real", 2048, None, made.training)
    assert recipe(made, "short") == ("real", 256, None, made.training)
    assert recipe(made, "few") == ("symbolic", 2048, 1, made.training)
    wide = recipe(made, "wide")
    changed = {"target_modules": "all-linear", "rank": 4}
    assert wide.training.model_dump() == made.training.model_dump() | changed
    assert (wide.data, wide.length, wide.examples) == ("real", 2048, None)


def test_general_abilities_are_those_of_the_untuned_model_once_and_of_chosen_runs() -> None:
    assert general_runs(study()) == []
    two = {"factbook_lookup": {"train": 2, "validation": 2, "test": 2}}
    two["factbook_chain"] = two["factbook_lookup"]
    made = study(general={"variants": ["real", "few"]}, tasks=two)
    found = general_runs(made)
    assert [run for run in found if run.variant == "untuned"] == [
        Run("tiny", "factbook_lookup", "untuned", 0)
    ]
    assert {run.variant for run in found} == {"untuned", "real", "few"}
    assert len(found) == 1 + 2 * 2 * 2
    assert {run.variant for run in general_runs(study(general={}))} == set(trained_variants(made))


def test_interventions_are_on_scored_runs() -> None:
    made = study(masking={"variants": ["short", "untuned"]}, patching={})
    assert names(masked_runs(made)) == {
        ("tiny", "factbook_lookup", "short"), ("tiny", "factbook_lookup", "untuned"),
    }  # fmt: skip
    # Controls are patched where they are asked for.
    assert {run.variant for run in patched_runs(made)} == {"symbolic"}
    chosen = study(patching={"targets": ["wide"]})
    assert {run.variant for run in patched_runs(chosen)} == {"wide"}
