"""A tuning killed with SIGKILL at any step: its rerun goes on, and pays for one job."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from needlework.examples import write_examples
from tests.llm.fine_tuning_server import tuning
from tests.training.hosted_tuning import Tune, bell


@pytest.mark.parametrize(
    ("moment", "state"), [("cut", "kept"), ("after", "kept"), ("after", "lost")]
)
def test_a_run_killed_at_any_step_goes_on_and_pays_once(
    tmp_path: Path, tokenizer: Any, moment: str, state: str
) -> None:
    """Killed once at every request of its life: before it is done, or before it is answered."""
    few = tmp_path / "few"
    write_examples(few / "train.jsonl", map(bell, range(10)))
    write_examples(few / "validation.jsonl", [bell(20)])
    step, killed = 0, True
    while killed:
        with tuning() as tuner:
            tuner.statuses = []
            run = Tune(tuner, few, tmp_path / f"{step}", tokenizer, [])
            killed = _killed(run, moment, step)
            if state == "lost":
                shutil.rmtree(run.folder / "state", ignore_errors=True)
            assert run()["status"] == "succeeded"
            assert run.sent() == (2, 1), (moment, step, tuner.asked)
        step += 1
    assert step == 12 + 1


def _killed(run: Tune, moment: str, step: int) -> bool:
    """Tune in a process that is killed at a request; whether there was such a request."""
    counted = itertools.count()

    def kill(asked: str) -> bool:
        if found := next(counted) == step:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        return found

    # A fork has what takes seconds to import already.
    process = multiprocessing.get_context("fork").Process(target=run)
    setattr(run.tuner, moment, kill)
    process.start()
    process.join()
    run.tuner.cut = run.tuner.after = lambda asked: False
    assert process.exitcode in {0, -signal.SIGKILL}
    return process.exitcode != 0
