"""A page of one part of the report: its template, style, script and data, and its policy."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from playwright.sync_api import Browser, Page

from needlework.report.page.elements import one_script, script_json

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>part</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'sha256-{hash}'"><style>{style}</style></head>
<body><main><h1>Study</h1><h2>Section</h2>{part}</main><script>{script}</script></body></html>"""


class Opened:
    """A page in a browser, and what went wrong on it: errors, messages, dialogs, requests."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.wrong: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", self._request)
        self._own = path.as_uri()
        self.page.goto(self._own)

    def _dismiss(self, dialog: Any) -> None:
        self.wrong.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if request.url != self._own:
            self.wrong.append(f"request {request.url}")

    def texts(self, selector: str) -> list[str]:
        """The text of every element that a selector finds, as it is in the document."""
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    def filter(self, **chosen: str) -> None:
        """What the page's filter bar says when it changes."""
        detail = {"model": "", "task": "", "variant": ""} | chosen
        self.page.evaluate(
            "detail => document.dispatchEvent(new CustomEvent('needlework:filter', {detail}))",
            detail,
        )


def write_part(path: Path, name: str, data: dict[str, Any]) -> Path:
    """Write the page of the part `name`, explorer or viewer, with its data."""
    environment = Environment(
        loader=PackageLoader("needlework.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["script_json"] = script_json
    assert environment.loader is not None
    style, *sources = (
        "".join(environment.loader.get_source(environment, file)[0] for file in files)
        for files in (("page.css", f"{name}.css"), ("make.js",), (f"{name}.js",))
    )
    script = one_script(sources)
    path.write_text(
        _PAGE.format(
            style=style, script=script,
            hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            part=environment.get_template(f"{name}.html.j2").render({name: data}),
        ),
        encoding="utf-8",
    )  # fmt: skip
    return path
