"""A part of the page, opened in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.report.page.part_page import Opened


@pytest.fixture
def opened(browser: Browser, path: Path) -> Iterator[Opened]:
    """What the module's fixture `path` is the file of."""
    opened = Opened(browser, path)
    yield opened
    opened.page.close()
    assert opened.wrong == []  # no error, no dialog, no request, nothing that the policy refused
