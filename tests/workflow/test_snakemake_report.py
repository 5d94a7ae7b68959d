"""Snakemake's own report of a finished study: what is in it, and that it needs no network."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.report import conftest
from tests.workflow.running import snakemake

browser = conftest.browser

RESULTS = "results/smoke"
CATEGORIES = ["Answer", "Scores", "Heads", "Interventions", "Training", "Data"]


def variable(page: str, name: str) -> Any:
    """What Snakemake's page assigns to a variable, as JSON; libraries before use the name, too."""
    *_, found = re.finditer(rf"var {name} = ", page)
    return json.JSONDecoder().raw_decode(page, found.end())[0]


@pytest.fixture(scope="module")
def archive(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report that `--report report.zip` makes."""
    folder = tmp_path_factory.mktemp("archive")
    snakemake(ran, "--report", "report.zip")
    with zipfile.ZipFile(ran / "report.zip") as packed:
        packed.extractall(folder)
    return folder / "report"


def test_every_page_figure_and_table_is_there_with_its_caption(ran: Path, archive: Path) -> None:
    page = (archive / "report.html").read_text(encoding="utf-8")
    assert "<strong>smoke</strong>" in variable(page, "workflow_desc")
    found = variable(page, "results")
    wanted = {
        f"{RESULTS}/report.html",
        f"{RESULTS}/tables/counts.csv",
        f"{RESULTS}/tables/stages.csv",
    }
    for folder, kinds in (("figures", ("svg", "png")), ("tables", ("csv", "tex"))):
        for kind in kinds:
            paths = (ran / RESULTS / folder).glob(f"*.{kind}")
            wanted |= {path.relative_to(ran).as_posix() for path in paths}
    assert set(found) == wanted
    for name, result in found.items():
        assert result["caption"].startswith("<p>"), name
        assert "{{" not in result["caption"], name
        assert set(result["labels"]) == {"what", "format"}, name
    assert "compared with real data" in found[f"{RESULTS}/report.html"]["caption"]
    kept = {path.name: path for path in (archive / "data").rglob("*.*")}
    for name in wanted:
        assert kept[Path(name).name].read_bytes() == (ran / name).read_bytes()
    assert sorted(variable(page, "categories")) == sorted(CATEGORIES)


@pytest.mark.parametrize("packed", [True, False])
def test_the_page_works_inside_without_a_network(
    ran: Path,
    archive: Path,
    browser: Browser,
    packed: bool,
) -> None:
    path = archive / "report.html"
    if not packed:
        path = ran / "whole.html"
        snakemake(ran, "--report", path.name)
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.get_by_text("Answer", exact=True).first.click()
    page.locator("a[iconname=eye]").click()
    within = page.frame_locator("iframe")
    within.locator("#explorer .explorer").wait_for(state="visible")
    assert within.locator("h1").inner_text() == "smoke"
    assert within.locator("#theme").is_visible()
    assert all(url.startswith(("file:", "data:")) for url in asked)
    context.close()
