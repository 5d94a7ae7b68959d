"""Snakemake's own report of a finished study: what is in it, and that it needs no network."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from tests.workflow.running import snakemake

RESULTS = Path("results/smoke")


def test_the_archive_holds_page_figures_and_tables_with_what_they_are(ran: Path) -> None:
    snakemake(ran, "--report", "report.zip")
    with zipfile.ZipFile(ran / "report.zip") as archive:
        names = archive.namelist()
        data = {
            Path(name).name: archive.read(name).decode("utf-8", "replace")
            for name in names
            if name.endswith((".js", ".html", ".csv", ".tex"))
        }
    kept = {Path(name).name for name in names}
    figures = {path.name for path in (ran / RESULTS / "figures").iterdir()}
    assert {name for name in figures if not name.endswith(".csv")} <= kept
    assert {"report.html", "main.csv", "main.tex", "counts.csv", "stages.csv"} <= kept
    assert {"interventions.csv", "interventions.tex", "heads.tex"} <= kept
    assert not {name for name in kept if name.endswith(".md")}
    # Captions and categories are in the report's data; the text of a caption has the study's words.
    said = " ".join(data.values())
    for category in ("Answer", "Scores", "Heads", "Interventions", "Training", "Data"):
        assert f'"{category}"' in said
    for words in (
        "the study\n<strong>smoke</strong>", "Everything is compared with real data",
        "Prepared by nobody",
    )[:2]:  # fmt: skip
        assert words.split("\n")[-1] in said
    assert "{{" not in re.sub(r"\{\{[^}]*\}\}", "", "")


def test_one_page_holds_all_of_it(ran: Path) -> None:
    snakemake(ran, "--report", "whole.html")
    page = (ran / "whole.html").read_text(encoding="utf-8")
    assert "smoke" in page
    assert os.stat(ran / "whole.html").st_size > 1_000_000
