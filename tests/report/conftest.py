"""A made study's report, and the browser that reads it: the machine's Chromium, by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from needlework.report.build import build_report
from tests.report.hostile import plant
from tests.report.made import results, study

_NAMES = ("chromium", "chromium-browser", "google-chrome")
INTERVENED = {
    "masking": {"top": [1, 2], "draws": 1, "variants": ["real"]},
    "patching": {"draws": 1},
}


@pytest.fixture(scope="session")
def made_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a study of every kind of table, figure and text, hostile ones, with report."""
    folder = tmp_path_factory.mktemp("made_report")
    made = study(tasks=("factbook_lookup", "factbook_citation"), general={}, **INTERVENED)
    benchmark = results(folder, made)
    plant(folder)
    build_report(folder, made, reference="real", benchmarks=[benchmark])
    return folder


# Not of the session: while Playwright is open, no other test can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; where there is none, tests are skipped, and fail in continuous integration."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        missing = f"none of {', '.join(_NAMES)} is installed: the page is tested in one"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def read(browser: Browser, made_report: Path) -> Iterator[Callable[..., Page]]:
    """Opens the made report in a context of a browser with any options.

    Fails at the end if a page asked for anything but itself, raised an error, opened a dialog or
    wrote to the console.
    """
    uri = (made_report / "report.html").as_uri()
    wrong: list[str] = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda asked: wrong.append(asked.url) if asked.url != uri else None)

        def refuse(dialog: Any) -> None:
            wrong.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("dialog", refuse)
        page.goto(uri)
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert not wrong
