"""A small dataset, and trainings on it that several files look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from needlework import models
from needlework.examples import write_examples
from needlework.training.sft import train
from tests.training.trainings import LENGTH, example, settings

Train = Callable[..., Path]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training examples (no multiple of the batch) and three for the validation loss."""
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder / "train.jsonl", map(example, range(10)))
    write_examples(folder / "validation.jsonl", map(example, range(20, 23)))
    return folder


@pytest.fixture(scope="session")
def trained(tiny_base: models.Base, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains with some settings changed; returns the folder of the adapter."""

    def run(
        *, base: models.Base = tiny_base, seed: int = 0, checkpoints: Path | None = None,
        folder: Path | None = None, length: int = LENGTH, examples: int | None = None,
        dtype: str = "float32", attention: str = "sdpa", **changed: Any,
    ) -> Path:  # fmt: skip
        folder = folder or tmp_path_factory.mktemp("run")
        train(
            base, data / "train.jsonl", data / "validation.jsonl", folder / "adapter",
            length=length, examples=examples, dtype=dtype, device="cpu", attention=attention,
            seed=seed, settings=settings(**changed),
            checkpoints=checkpoints or folder / "checkpoints",
        )  # fmt: skip
        return folder / "adapter"

    return run


@pytest.fixture(scope="session")
def plain(trained: Train) -> Path:
    """The adapter of a training with the settings of the tests."""
    return trained()
