"""A run that is killed without warning goes on where it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflow.running import command, environment, snakemake


@pytest.mark.slow
def test_a_killed_run_goes_on_and_repeats_nothing(clone: Callable[[], Path]) -> None:
    folder = clone()
    run = subprocess.Popen(
        command(), cwd=folder, env=environment(), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert run.stdout is not None
    done = steps = 0
    for line in run.stdout:  # until some jobs are done, others run, and others wait
        # Jobs that end together have one line: a number may be left out.
        progress = re.match(r"(\d+) of (\d+) steps", line)
        if progress and (done := int(progress.group(1))) >= 10:
            steps = int(progress.group(2))
            break
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert 10 <= done < steps
    results = folder / "results/smoke"
    # A job that was killed is done again, though some of its outputs may be there already.
    marks = [path.name for path in (folder / ".snakemake/incomplete").iterdir()]
    under_way = {folder / urlsafe_b64decode(mark).decode() for mark in marks}
    assert under_way
    finished_files = set(results.rglob("*.jsonl")) - under_way
    before = {p: p.stat().st_mtime_ns for p in finished_files if p.name[0] != "."}
    assert before
    snakemake(folder, "--unlock")
    output = snakemake(folder)
    finished = re.search(r"(\d+) of \1 steps \(100%\) done", output)
    assert finished is not None, output
    assert int(finished.group(1)) <= steps - done  # one may have ended between line and kill
    assert {p: p.stat().st_mtime_ns for p in before if p.exists()} == before
    assert (results / "report.html").is_file()
