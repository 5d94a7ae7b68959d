"""A server that stalls: its requests are asked again, and a study that it never answers says so."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.llm.server import JSON, Reply, answer, serving
from tests.workflow.running import environment

TARGETS = [f"results/stalled/generations/factbook_lookup/{name}.json" for name in
           ("rewrites", "documents")]  # fmt: skip


def _study(folder: Path, url: str) -> list[str]:
    """The smallest study with a server of one's own; the command that has it write."""
    study = yaml.safe_load((folder / "studies/smoke.yaml").read_text(encoding="utf-8"))
    study["name"] = "stalled"
    study["generator"] |= {"base_url": url, "model": "m", "timeout": 0.5, "attempts": 1}
    (folder / "stalled.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return ["snakemake", *TARGETS, "--cores", "2", "--configfile", "stalled.yaml"]


def _text(body: JSON) -> str:
    """A rewrite has to hold the names of its fact, so the fact itself is one; or a document."""
    return str(body["messages"][-1]["content"])[-300:]


@pytest.mark.faults
def test_a_server_that_stalls_for_a_while_is_asked_again(clone: Callable[[], Path]) -> None:
    folder = clone()
    stalled: list[JSON] = []

    with serving(lambda body, times: answer(_text(body))) as served:
        chat = served.chat

        async def sleepy(body: JSON) -> Reply:
            if len(stalled) < 3:  # the first three get no answer before the client hangs up
                stalled.append(body)
                await asyncio.sleep(3600)
            return await chat(body)

        served.chat = sleepy  # type: ignore[method-assign]
        done = subprocess.run(
            _study(folder, served.url), cwd=folder, env=environment(), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert len(stalled) == 3
    for body in stalled:
        assert body in served.asked  # each was asked again
