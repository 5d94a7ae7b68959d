"""The page of a study: what was found, how sure it is, why, and every table and figure behind it.

Self-contained: figures, style and script are inside, nothing is fetched, and only the one script
whose hash the page names may run. Every text that comes from a model, a corpus or a file is
escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from needlework.examples import Example
from needlework.report.findings.findings import Finding
from needlework.report.names import of_pair
from needlework.report.page.elements import (
    MISSING,
    Row,
    drawing,
    duration,
    highlighted,
    number,
    one_script,
    script_json,
)
from needlework.report.tables.view_table import ViewTable
from needlework.report.wording import KIND_WORDS, metric_words

_STYLES = ("page.css", "explorer.css", "viewer.css")
_SCRIPTS = ("make.js", "page.js", "explorer.js", "viewer.js")
_FEW = 3  # models and tasks whose head maps are all on the page, beside the explorer
_MOST = 400  # rows of a table that only repeats what others sum up; longer ones stay in their files


class Contents(NamedTuple):
    """What a page is made of.

    Attributes:
        study: the configuration.
        variants: the untuned model, every variant and every control, in the study's order.
        reference: the variant that the others are measured against.
        findings: one per model and task.
        rows: the rows of every table by its file below the results, as `elements.records` gives
            them; a file that the study does not have is no key.
        views: the scores of each model and task when asked otherwise.
        notes: what a reader must know of the probes.
        unread: sentences on answers that were cut or could not be read.
        figures: name to SVG file.
        examples: (task, variant) to one training example.
        datasets: what each dataset.json says.
        explorer: data of the head explorer; None where no head was scored.
        viewer: data of the example viewer.
        versions: packages that made the results.
    """

    study: dict[str, Any]
    variants: list[str]
    reference: str
    findings: list[Finding]
    rows: dict[str, list[Row]]
    views: list[ViewTable]
    notes: list[str]
    unread: list[str]
    figures: Mapping[str, Path]
    examples: dict[tuple[str, str], Example]
    datasets: list[dict[str, Any]]
    explorer: dict[str, Any] | None
    viewer: dict[str, Any]
    versions: dict[str, str]


def render_page(contents: Contents) -> str:
    """The whole page as HTML."""
    resamples = contents.study["statistics"]["resamples"]
    environment = _environment(resamples)
    script = one_script(_source(environment, name) for name in _SCRIPTS)
    style = "\n".join(_source(environment, name) for name in _STYLES)
    return environment.get_template("page.html.j2").render(
        contents._asdict(),
        tasks={name: task for name, task in contents.study["tasks"].items() if task},
        resamples=resamples,
        configuration=yaml.safe_dump(contents.study, sort_keys=False, allow_unicode=True),
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _environment(resamples: int) -> Environment:
    environment = Environment(
        loader=PackageLoader("needlework.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": duration,
        "highlighted": highlighted,
        "metric_words": metric_words,
        "script_json": script_json,
    }
    environment.globals |= {
        "drawing": drawing,
        "kind_words": KIND_WORDS,
        "missing": MISSING,
        "few": _FEW,
        "most": _MOST,
        "number": partial(number, resamples=resamples),
        "of_pair": of_pair,
    }
    return environment


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
