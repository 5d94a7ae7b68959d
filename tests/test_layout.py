"""A path names its run, a variant its parts; what is no such path or mixture is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.layout import Run, holds_real, mixture_of

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


@pytest.mark.parametrize(
    ("variant", "shares"),
    [
        ("real", {"real": 1.0}),
        ("high_low", {"high_low": 1.0}),
        ("real:0.2+symbolic:0.8", {"real": 0.2, "symbolic": 0.8}),
        ("real:.25+low_low:0.25+symbolic:0.50", {"real": 0.25, "low_low": 0.25, "symbolic": 0.5}),
    ],
)
def test_a_mixture_is_its_parts_and_their_shares(variant: str, shares: dict[str, float]) -> None:
    assert mixture_of(variant) == shares
    assert list(mixture_of(variant)) == list(shares)


@pytest.mark.parametrize(
    ("variant", "real"),
    [
        ("real", True), ("real_limited", True), ("multidoc_qa", True),
        ("real:0.2+symbolic:0.8", True), ("symbolic", False), ("kv_simple:0.5+symbolic:0.5", False),
    ],
)  # fmt: skip
def test_what_holds_real_examples_is_not_synthetic(variant: str, real: bool) -> None:
    assert holds_real(variant) is real


@given(st.lists(st.integers(1, 99), min_size=1, max_size=5).filter(lambda n: sum(n) < 100))
def test_shares_of_hundredths_always_add_up(numbers: list[int]) -> None:
    parts = [*numbers, 100 - sum(numbers)]
    variant = "+".join(f"part{i}:{number / 100:.2f}" for i, number in enumerate(parts))
    assert mixture_of(variant) == {f"part{i}": n / 100 for i, n in enumerate(parts)}


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("real+symbolic", "'' is no share of 'real'"),
        ("real:0.5+symbolic", "'' is no share of 'symbolic'"),
        ("real:1+symbolic:0.5", "'1' is no share of 'real'"),
        ("real:0.0+symbolic:.9", "'0.0' is no share of 'real'"),
        ("real:-0.5+symbolic:.5", "'-0.5' is no share of 'real'"),
        ("real:5e-1+symbolic:.5", "'5e-1' is no share of 'real'"),
        ("real:0.5+", "'' is no share of ''"),
        ("real:0.5", "two or more different parts whose shares add up to 1, not to 0.5"),
        ("real:0.5+symbolic:0.4", "whose shares add up to 1, not to 0.9"),
        ("real:0.5+symbolic:0.6", "whose shares add up to 1, not to 1.1"),
        ("real:0.5+real:0.5+symbolic:0.5", "two or more different parts"),
        ("real:0.5+real:0.5", "two or more different parts"),
    ],
)
def test_what_is_no_mixture_is_refused_by_name(variant: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        mixture_of(variant)
    assert str(error.value).startswith(f"{variant}: ")
