"""The figures of a study are known from the study alone, before a drawing library is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from needlework.report.names import figure_names
from tests.report.made import study

HEADS = "heads-tiny-0.1-musique"
ALWAYS = ["scores", "positions", HEADS, "similarity", "recall", "reliability", "training"]


def test_a_plain_study_has_no_figure_of_what_it_does_not_ask() -> None:
    assert figure_names(study(tasks=("musique",))) == ALWAYS


def test_each_section_adds_its_own() -> None:
    masked, patched = study(tasks=("musique",), masking={}), study(tasks=("musique",), patching={})
    assert figure_names(masked) == [*ALWAYS[:-1], "masking-tiny-0.1-musique", "training"]
    assert figure_names(patched) == [*ALWAYS[:-1], "patching", "training"]
    asked = study(tasks=("musique",), general={})
    assert figure_names(asked) == [*ALWAYS[:-1], "general", "training"]


def test_lengths_are_drawn_where_there_is_more_than_the_studys_own() -> None:
    assert "lengths" in figure_names(study(evaluation={"lengths": [128, 256]}))
    assert "lengths" not in figure_names(study(evaluation={"lengths": [256]}))


def test_maps_and_masks_have_a_figure_for_every_model_and_task() -> None:
    models = {"a": {"source": "x"}, "b": {"source": "x"}}
    names = figure_names(study(tasks=("musique", "summhay"), models=models, masking={}))
    assert len(names) == len(set(names)) == 6 + 2 * 4
    assert {"heads-b-summhay", "masking-a-musique"} < set(names)


def test_names_need_no_drawing_library(root: Path) -> None:
    code = "import sys, needlework.report.names; print('matplotlib' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert said.stdout == "False\n"
