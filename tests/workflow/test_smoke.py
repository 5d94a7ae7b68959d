"""The smallest study end to end through Snakemake, in a copy of the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.workflow.running import snakemake

RESULTS = Path("results/smoke")
TRAINED = ["train_adapter", "score_heads", "predict_answers"]
BELOW = ["compare_heads", "compute_statistics", "render_report"]


def planned_jobs(folder: Path) -> dict[str, int]:
    """How many jobs of each rule a run would start."""
    output = snakemake(folder, "-n")
    return {name: int(n) for name, n in re.findall(r"^([a-z]\w+) +(\d+)$", output, re.MULTILINE)}


def edit(path: Path) -> None:
    """Add a comment, as a small edit of a source file does."""
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")


@pytest.fixture(scope="module")
def ran(clone: Callable[[], Path]) -> Path:
    """A copy of the repository in which the study has run."""
    folder = clone()
    snakemake(folder)
    return folder


def test_the_report_needs_no_other_file(ran: Path) -> None:
    page = (ran / RESULTS / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert page.count("<mark>") == 4  # the answer of one example of each variant
    # Links go within the page, and images are in it; the rest would need a network or a folder.
    assert not re.search(r"""(src|href)=["'](?!#|data:image/png;base64,)""", page)
    assert "url(http" not in page
    for variant in ("real", "high_low", "low_low", "symbolic"):
        assert f"<h3>{variant}" in page


def test_every_item_is_scored_for_every_run(ran: Path) -> None:
    scores = pd.read_csv(ran / RESULTS / "statistics/scores.csv")
    assert list(scores["variant"].unique()) == [
        "untuned",
        "real",
        "high_low",
        "low_low",
        "symbolic",
    ]
    assert set(scores["metric"]) == {"f1", "exact_match"}
    assert (scores["n"] == 8).all()
    comparisons = pd.read_csv(ran / RESULTS / "statistics/comparisons.csv")
    assert len(comparisons) == 2 * 10  # every pair of five, two metrics
    assert ((comparisons["p"] > 0) & (comparisons["p"] <= comparisons["p_adjusted"])).all()


def test_failed_rewrites_are_counted_and_enter_no_data(ran: Path) -> None:
    folder = ran / RESULTS
    report = json.loads((folder / "generations/factbook_lookup/generation.json").read_text())
    assert report["kept"] + report["failed"] == report["asked"] == 8 + 8 + 3
    train = (folder / "datasets/factbook_lookup/high_low/train.jsonl").read_text().splitlines()
    made = {json.loads(line)["id"] for line in train}
    assert not made & set(report["failed_ids"])


def test_a_second_run_has_nothing_to_do(ran: Path) -> None:
    assert "Nothing to be done" in snakemake(ran)


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("needlework/report/figures.py", {"render_report": 1}),
        ("needlework/report/page.html.j2", {"render_report": 1}),
        (
            "needlework/training/sft.py",
            # The untuned model is not trained: its heads and answers stay.
            dict.fromkeys(TRAINED, 4) | dict.fromkeys(BELOW, 1),
        ),
        ("needlework/statistics.py", {"compute_statistics": 1, "render_report": 1}),
        ("scripts/compare_heads.py", dict.fromkeys(BELOW, 1)),
    ],
)
def test_an_edit_reruns_what_rests_on_it_and_nothing_else(
    ran: Path, edited: str, expected: dict[str, int]
) -> None:
    path = ran / edited
    before = path.read_bytes()
    try:
        edit(path)
        jobs = planned_jobs(ran)
    finally:
        path.write_bytes(before)
    assert {k: v for k, v in jobs.items() if k not in {"all", "total"}} == expected


def test_no_key_and_no_other_place_is_in_the_results(ran: Path) -> None:
    for path in (ran / RESULTS).rglob("*.json*"):
        assert "api_key" not in path.read_text(encoding="utf-8", errors="replace"), path
