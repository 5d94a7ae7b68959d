"""A run killed with SIGKILL: what was answered stays, and only what was in flight is paid twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.llm.asking import ask, settings
from tests.llm.server import CUT, JSON, Reply, answer, failure, serving

_RUN = """
import sys
from pathlib import Path
from tests.llm.asking import ask, settings
generator = settings(sys.argv[1], concurrency=8, batch=sys.argv[3] == "batch")
ask(generator, Path(sys.argv[2]), [f"prompt {n}" for n in range(120)])
"""


def _started(root: Path, url: str, folder: Path, how: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _RUN, url, str(folder), how]
    return subprocess.Popen(command, cwd=root)


def test_only_requests_in_flight_are_paid_twice(root: Path, tmp_path: Path) -> None:
    def model(body: JSON, times: int) -> Reply:
        if len(served.asked) == 60:
            process.send_signal(signal.SIGKILL)
        turn = len(served.asked) % 12
        return CUT if turn == 3 else failure(500, retry_after_ms="1") if turn == 7 else answer()

    with serving(model, latency=0.005) as served:
        process = _started(root, served.url, tmp_path, "live")
        assert process.wait() == -signal.SIGKILL
        paid = sum(served.paid.values())
        assert 30 <= paid < 70
        run = ask(settings(served.url), tmp_path, [f"prompt {n}" for n in range(120)])
    assert run.texts == ["Lima."] * 120
    assert paid - 8 <= run.usage["cached"] <= paid
    assert sum(served.paid.values()) <= 120 + 8


@pytest.mark.parametrize("moment", ["POST /files", "POST /batches", "GET /batches/*", "GET /files"])
def test_a_batch_run_that_is_killed_at_any_moment_is_not_paid_twice(
    root: Path, tmp_path: Path, moment: str
) -> None:
    process: subprocess.Popen[bytes] | None = None

    def meanwhile(seen: str) -> None:
        if seen.startswith(moment) and process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    with serving(lambda body, times: answer(), meanwhile=meanwhile) as served:
        process = _started(root, served.url, tmp_path, "batch")
        assert process.wait() == -signal.SIGKILL
        generator = settings(served.url, batch=True)
        run = ask(generator, tmp_path, [f"prompt {n}" for n in range(120)])
    assert run.texts == ["Lima."] * 120
    assert set(served.paid.values()) == {1}
    assert served.paths["POST /batches"] == 1
    assert json.loads(json.dumps(run.usage))["failed"] == 0
