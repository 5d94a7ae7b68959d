"""Bad folders of models and adapters: refused before anything large is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needlework import adapters, models
from tests.bad_input import bad_folders
from tests.bad_input.case import Case, by_name, refused


@pytest.fixture
def model(tiny_base: models.Base, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder, of files that can be changed."""
    return Path(shutil.copytree(tiny_base.path, tmp_path / "model"))


@pytest.fixture
def adapter(tiny_adapter: Path, tmp_path: Path) -> Path:
    """A copy of that adapter."""
    return Path(shutil.copytree(tiny_adapter, tmp_path / "adapter"))


@pytest.mark.parametrize("case", bad_folders.CHEAP, ids=by_name)
def test_a_model_folder_is_refused_while_a_study_is_planned(case: Case, model: Path) -> None:
    case.given(model)
    refused(case, lambda: models.positions(str(model)))


@pytest.mark.parametrize("case", [*bad_folders.CHEAP, *bad_folders.PREPARED], ids=by_name)
def test_a_model_folder_is_refused_when_it_is_prepared(
    case: Case, model: Path, tmp_path: Path
) -> None:
    case.given(model)
    refused(case, lambda: models.prepare(str(model), tmp_path / "study"))
    assert not (tmp_path / "study" / "base.json").exists()


def test_a_good_folder_passes_and_so_does_one_without_a_template(
    model: Path, tmp_path: Path
) -> None:
    assert models.positions(str(model)) == 4096
    assert models.prepare(str(model), tmp_path / "study").positions == 4096
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (model / name).unlink(missing_ok=True)
    base = models.prepare(str(model), tmp_path / "plain")
    assert models.load_tokenizer(base).chat_template is None


@pytest.mark.parametrize("case", bad_folders.ADAPTERS, ids=by_name)
def test_an_adapter_is_refused_before_its_base_is_loaded(
    case: Case, adapter: Path, tiny_base: models.Base
) -> None:
    adapters.check(tiny_base, {"default": adapter})
    case.given(adapter)
    refused(case, lambda: adapters.check(tiny_base, {"default": adapter}))


@pytest.mark.parametrize("case", bad_folders.FITTED, ids=by_name)
def test_an_adapter_that_does_not_fit_is_refused(
    case: Case, adapter: Path, tiny_base: models.Base
) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    case.given(adapter)
    refused(case, lambda: adapters.attach(model, tiny_base, {"default": adapter}))


def _no_folder(base: models.Base, path: Path) -> Callable[[], Any]:
    return lambda: adapters.check(base, {"default": path})


def test_a_file_is_no_adapter(tiny_base: models.Base, tmp_path: Path) -> None:
    refused(
        Case("none", None, ("no folder", "of an adapter")), _no_folder(tiny_base, tmp_path / "x")
    )
