"""Whatever becomes of a valid study, it is refused in words or can be planned."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from needlework.estimates import estimate, text
from needlework.evaluation.views import has_closed_book, views_of
from needlework.interventions.conditions import mask_names, patch_names
from needlework.planning import flags, load_study
from needlework.report.names import figure_names, published_names
from needlework.study import runs
from needlework.study.files import StudyError
from needlework.study.sections import Study

_ROOT = Path(__file__).parents[2]
_VALID: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (_ROOT / "config.yaml", *sorted((_ROOT / "studies").glob("*.yaml")))
}
_CASES = int(os.environ.get("NEEDLEWORK_CASES", "500"))

_plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 0, 2**63])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "../x", "/", "a/b", "-rf", "\0", "x" * 5000, "\ud800", "real:0.5+real:0.5", "real:+"]
    )
    | st.sampled_from(["real", "symbolic", "untuned", "auto", "mdqa", "tiny-random-llama", "cuda"])
    | st.dates()
    | st.binary(max_size=3)
)
_values = st.recursive(
    _plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)


def _places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to every value inside a study."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    found = []
    for key, each in inside:
        found += [(*above, key), *_places(each, (*above, key))]
    return found


def _container(study: Any, way: tuple[Any, ...]) -> Any:
    for key in way[:-1]:
        study = study[key]
    return study


def _changed(study: Any, data: st.DataObject) -> None:
    """One change of a study, in place."""
    places = _places(study)
    if not places:
        return
    way = data.draw(st.sampled_from(places))
    inside, key = _container(study, way), way[-1]
    change = data.draw(st.sampled_from(["delete", "rename", "replace", "replace", "copy", "swap"]))
    if change == "delete":
        del inside[key]
    elif change == "replace":
        inside[key] = data.draw(_values)
    elif change == "rename" and isinstance(inside, dict):
        inside[data.draw(st.text(max_size=12) | st.integers())] = inside.pop(key)
    elif change == "copy" and isinstance(inside, list):
        inside.append(deepcopy(inside[key]))
    else:
        other = data.draw(st.sampled_from(places))
        there = _container(study, other)
        there[other[-1]], inside[key] = deepcopy(inside[key]), deepcopy(there[other[-1]])


def _plan(study: Study) -> None:
    """What the workflow asks of a study before it knows its jobs."""
    text(estimate(study))
    for chosen in (runs.runs, runs.scored_runs, runs.tuned_runs, runs.traced_runs):
        chosen(study)
    for chosen in (runs.general_runs, runs.masked_runs, runs.patched_runs):
        chosen(study)
    for run in runs.runs(study):
        runs.adapter_run(study, run)
        runs.recipe(study, run.variant)
    if study.masking:
        section = study.masking
        mask_names(
            top=section.top, kinds=section.kinds, during=section.during,
            controls=section.controls, draws=section.draws,
        )  # fmt: skip
    if study.patching:
        section_ = study.patching
        patch_names(sets=section_.sets, positions=section_.positions, draws=section_.draws)
    for task, options in study.tasks.chosen().items():
        views_of(
            positions=getattr(options, "positions", None),
            lengths=study.evaluation.lengths,
            closed_book=study.evaluation.closed_book and has_closed_book(task),
            distractor_sets=getattr(options, "test_distractors", []),
            length=study.length,
        )
        flags(options)
    flags(study.training)
    runs.reference(study)
    runs.patch_source(study)
    figure_names(study)
    published_names(study)


@pytest.mark.parametrize("name", sorted(_VALID))
def test_what_is_shipped_is_planned(name: str) -> None:
    _plan(load_study(_VALID[name]))


@settings(max_examples=_CASES, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_changed_study_is_refused_in_words_or_planned(data: st.DataObject) -> None:
    study = deepcopy(_VALID[data.draw(st.sampled_from(sorted(_VALID)))])
    for _ in range(data.draw(st.integers(1, 4))):
        _changed(study, data)
    try:
        found = load_study(study)
    except StudyError as error:
        said = str(error).split("\n")
        assert said[0] == "the study cannot be run:"
        assert 2 <= len(said) <= 12
        assert all(line.startswith("  - ") and len(line) < 600 for line in said[1:])
    else:
        _plan(found)
