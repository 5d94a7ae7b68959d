"""The flags of scripts/prepare_model.py reach the record."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from needlework import models

Run = Callable[..., models.Base]


@pytest.fixture
def run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the script with some flags, and reads the record it leaves."""

    def prepared(*flags: str) -> models.Base:
        output = tmp_path / "base.json"
        monkeypatch.setattr(sys, "argv", ["prepare_model.py", *flags, "--output", str(output)])
        runpy.run_path(str(root / "scripts/prepare_model.py"), run_name="__main__")
        return models.Base.read(output)

    return prepared


def test_every_key_of_a_context_is_a_flag(run: Run) -> None:
    base = run(
        "--source", "tiny-random-mistral", "--context-method", "theta", "--trained-length", "4096",
        "--context-length", "16384", "--theta", "50000", "--window", "700",
    )  # fmt: skip
    assert base.context == {
        "method": "theta", "trained_length": 4096, "length": 16384, "theta": 50000.0, "window": 700
    }  # fmt: skip


def test_by_default_the_model_is_as_published(run: Run) -> None:
    assert run("--source", "tiny-random-llama").context is None


def test_the_window_is_scaled_unless_it_is_kept(run: Run) -> None:
    flags = ("--source", "tiny-random-mistral", "--context-method", "yarn")
    assert run(*flags, "--context-length", "8192").sliding_window == 1024
    assert run(*flags, "--context-length", "8192", "--window", "keep").sliding_window == 512


@pytest.mark.parametrize(
    "flags",
    [
        ("--hosted",),
        ("--tokenizer", "tiny-random-llama"),
        ("--context-method", "theta"),
        ("--context-length", "8192"),
        ("--context-method", "ntk", "--context-length", "8192"),
        ("--window", "half"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    run: Run, tmp_path: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("--source", "tiny-random-llama", *flags)
    assert flags[0] in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "base.json").exists()
