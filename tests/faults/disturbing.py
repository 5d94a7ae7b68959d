"""A `python` that disturbs the scripts of a study: the first tries are killed, or find a full disk.

It stands before the real one in PATH. What it does to which script is planned beforehand, and every
disturbance happens once, whichever of a rule's jobs comes first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PYTHON = '''#!{python} -SE
import json, os, signal, subprocess, sys, time

def disturbance(script):
    """The next one planned for the script; claimed by making a file, which only one job can."""
    with open({plan!r}) as file:
        planned = json.load(file).get(script, [])
    for kind, seconds in planned:
        try:
            claim = os.path.join({happened!r}, script + "." + kind)
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return kind, seconds
    return None, 0

def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                file.write(b"0")
        except OSError:
            pass

command = [{python!r}, *sys.argv[1:]]
kind, seconds = disturbance(os.path.basename(sys.argv[1]) if sys.argv[1:] else "")
if kind is None:
    os.execv(command[0], command)
ballast = os.path.join({disk!r}, ".ballast")
if kind == "full disk":
    fill(ballast)
child = subprocess.Popen(command)
if kind == "full disk":
    code = child.wait()
    os.unlink(ballast)
    sys.exit(code or 99)
try:
    child.wait(timeout=seconds)
except subprocess.TimeoutExpired:
    pass
# One that was faster than planned has written everything, and is killed before it could say so.
if kind == "killed run":
    os.killpg(os.getpgid(0), signal.SIGKILL)
child.send_signal({{"SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}}[kind])
sys.exit(child.wait() or 99)
'''


class Disturber:
    """The disturbing python, and what it has done.

    Args:
        folder: where it and its notes lie.
        disk: the folder whose disk is filled.
        plan: for each script, the disturbances in their order, each with the seconds after which
            it happens: "killed run" (Snakemake and all its jobs), "SIGTERM" and "SIGKILL" (the
            script) and "full disk" (from the script's beginning to its end).
    """

    def __init__(
        self, folder: Path, disk: Path, plan: Mapping[str, Sequence[tuple[str, float]]]
    ) -> None:
        self._happened = folder / "happened"
        self._happened.mkdir(parents=True)
        (folder / "plan.json").write_text(json.dumps(plan))
        self._bin = folder / "bin"
        self._bin.mkdir()
        python = self._bin / "python"
        python.write_text(
            _PYTHON.format(
                python=sys.executable,
                plan=str(folder / "plan.json"),
                happened=str(self._happened),
                disk=str(disk),
            )
        )
        python.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """What makes jobs run in the disturbing python."""
        return {"PATH": f"{self._bin}:{os.environ['PATH']}"}

    def happened(self) -> set[tuple[str, str]]:
        """The (script, disturbance) that have happened."""
        names = (path.name.rpartition(".") for path in self._happened.iterdir())
        return {(script, kind) for script, _, kind in names}
