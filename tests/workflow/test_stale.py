"""What a change makes stale, and what a dry run says of it: `stale.yaml` is the table."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.running import snakemake

STUDY = "studies/smoke.yaml"
TABLE = yaml.safe_load((Path(__file__).parent / "stale.yaml").read_text(encoding="utf-8"))
# One changed value, named and shown before and after; Snakemake's own words are 100 characters.
LONGEST_REASON = 250


@pytest.fixture(scope="module")
def finished(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study to change, apart from the one that other tests look at."""
    folder = tmp_path_factory.mktemp("finished") / "needlework"
    shutil.copytree(ran, folder, symlinks=True)
    return folder


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Let a file be changed or deleted, and put it back as it was."""
    content, stat = path.read_bytes(), path.stat()
    try:
        yield
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def set_key(study: dict[str, Any], path: str, value: Any) -> None:
    """Set a key of a study, by its path with dots."""
    *sections, key = path.split(".")
    for name in sections:
        study = study.setdefault(name, {})
    study[key] = value


def apply(folder: Path, change: dict[str, Any], stack: ExitStack) -> None:
    """Make a row's changes, to be undone with `stack`."""
    for path in [STUDY, *change.get("edit", [])]:
        stack.enter_context(restored(folder / path))
    study = yaml.safe_load((folder / STUDY).read_text(encoding="utf-8"))
    for path, value in change.get("set", {}).items():
        set_key(study, path, value)
    (folder / STUDY).write_text(yaml.safe_dump(study), encoding="utf-8")
    for path in change.get("edit", []):
        with (folder / path).open("a", encoding="utf-8") as file:
            file.write("# edited\n" if not path.endswith(".j2") else "{# edited #}")
    for path in change.get("delete", []):
        lost = folder / "results/smoke" / path
        stack.enter_context(restored(lost))
        lost.unlink()


def expected(change: dict[str, Any]) -> Counter[str]:
    """The jobs that a row lists; of a rule in several groups the largest number."""
    jobs: Counter[str] = Counter()
    for group in [TABLE["groups"][name] for name in change["groups"]]:
        jobs |= Counter(group)
    jobs |= Counter(change.get("jobs", {}))
    return jobs


@pytest.mark.parametrize("change", TABLE["changes"], ids=lambda change: change["name"])
def test_a_change_runs_again_what_it_touches_and_says_why(
    finished: Path, change: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        apply(finished, change, stack)
        output = snakemake(finished, "-n", "-p")
    table = output.partition("Job stats")[2].partition("\ntotal")[0]
    planned = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    planned.pop("all", None)
    assert planned == expected(change)
    assert planned or "Nothing to be done" in output

    reasons = [line for line in output.splitlines() if line.startswith("Reason: ")]
    for words in change.get("says", []):
        assert any(words in reason for reason in reasons), (words, reasons)
    changed = [reason.partition("Params have changed")[2] for reason in reasons]
    assert max(map(len, changed), default=0) <= LONGEST_REASON

    if "new" in change:
        outputs = re.findall(r"^Shell command: .* --output (\S+)", output, re.MULTILINE)
        shared = ("/statistics", "/attention/")
        of_runs = [path for path in outputs if not any(name in path for name in shared)]
        assert of_runs
        assert all(change["new"] in path for path in of_runs), of_runs
