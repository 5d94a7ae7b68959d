"""A path names its run, and what is no such path is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.layout import Run

_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
_RUNS = st.builds(Run, _NAMES, _NAMES, _NAMES, st.integers(0, 10**9))


@settings(deadline=None)
@given(_RUNS, st.sampled_from(["", "results/demo/heads", "/a/seed3/b"]), _NAMES)
def test_the_path_of_a_run_gives_the_run(run: Run, root: str, file: str) -> None:
    path = Path(root, run.model, run.task, run.variant, f"seed{run.seed}", file)
    assert Run.of(path) == run
    assert Run.of(str(path)) == run


@pytest.mark.parametrize(
    "path",
    [
        "",
        "plain.jsonl",
        "task/variant/seed0/plain.jsonl",
        "model/task/variant/seed0",
        "model/task/variant/0/plain.jsonl",
        "model/task/variant/seed/plain.jsonl",
        "model/task/variant/seed-1/plain.jsonl",
        "model/task/variant/seed1.5/plain.jsonl",
        "model/task/variant/myseed1/plain.jsonl",
        "model/task/variant/seed0/more/plain.jsonl",
    ],
)
def test_another_path_is_refused(path: str) -> None:
    with pytest.raises(
        ValueError, match=r"not of the form <model>/<task>/<variant>/seed<n>/<file>"
    ):
        Run.of(path)
