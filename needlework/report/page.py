"""The page of a study: what was found, in a sentence, a table, figures and one example each.

Self-contained: figures and style are inside, nothing is fetched. Every text that comes from a
model, a corpus or a file is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from needlework.examples import Example
from needlework.report.findings import Finding
from needlework.report.names import of_pair
from needlework.report.tables import intervention_rows, plain
from needlework.report.view_table import unread, view_tables
from needlework.report.wording import KIND_WORDS, metric_words


def highlighted(example: Example) -> list[dict[str, Any]]:
    """The documents of an example, their needles in <mark>, everything else escaped."""
    shown = []
    for document in example.documents:
        needles = sorted(
            (n for n in example.needles if n.document == document.id), key=lambda n: n.start
        )
        parts, place = [], 0
        for needle in needles:
            parts.append(escape(document.text[place : needle.start]))
            inside = document.text[needle.start : needle.end]
            parts.append(Markup("<mark title='{} needle, hop {}'>{}</mark>").format(
                needle.role, needle.hop, inside
            ))  # fmt: skip
            place = needle.end
        parts.append(escape(document.text[place:]))
        shown.append(
            {"title": document.title, "gold": document.gold, "text": Markup("").join(parts)}
        )
    return shown


def p_value(p: float, resamples: int) -> str:
    """A p value as a reader expects it; never 0, because a bootstrap cannot show that."""
    if pd.isna(p):
        return "–"
    smallest = 1 / (resamples + 1)
    if p <= smallest * 1.0001:
        return f"< {10 ** -(len(str(resamples)) - 1):.{len(str(resamples)) - 1}f}"
    return f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def duration(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def render_page(
    *,
    study: dict[str, Any],
    reference: str,
    findings: list[Finding],
    tables: Mapping[str, pd.DataFrame],
    notes: list[str],
    figures: dict[str, Path],
    examples: dict[tuple[str, str], Example],
    datasets: list[dict[str, Any]],
    generations: list[dict[str, Any]],
    stages: pd.DataFrame,
    versions: dict[str, str],
) -> str:
    """The whole page as HTML.

    Args:
        study: the configuration.
        reference: the variant that the others are measured against.
        findings: one per model and task.
        tables: `scores`, `comparisons`, `correlations`, `training`, and `interventions` and
            `general` where there are some.
        notes: what a reader must know of the probes.
        figures: name to SVG file.
        examples: (task, variant) to one example, as the model saw it.
        datasets: what each dataset.json says.
        generations: what each rewrites.json and documents.json says.
        stages: columns stage, jobs, seconds, memory_mb.
        versions: packages that made the results.
    """
    environment = Environment(
        loader=PackageLoader("needlework.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"p": p_value, "duration": duration, "highlighted": highlighted}
    environment.filters["metric_words"] = metric_words
    return environment.get_template("page.html.j2").render(
        study=study,
        tasks={name: task for name, task in study["tasks"].items() if task},
        reference=reference,
        findings=findings,
        tables={name: table.to_dict("records") for name, table in _shown(tables).items()},
        notes=notes,
        pairs=[
            {"model": model, "task": task}
            | {kind: of_pair(kind, model, task) for kind in ("heads", "masking")}
            for model, task in ((finding.model, finding.task) for finding in findings)
            if of_pair("heads", model, task) in figures  # of an API's model no head is seen
        ],
        kind_words=KIND_WORDS,
        views=view_tables(tables["scores"]),
        unread=unread(tables["scores"]),
        training=tables["training"].to_dict("records"),
        general=tables["general"].to_dict("records") if "general" in tables else None,
        figures={name: Markup(_svg(path)) for name, path in figures.items()},
        examples=examples,
        datasets=datasets,
        generations=generations,
        stages=stages.to_dict("records"),
        versions=versions,
        resamples=study["statistics"]["resamples"],
    )


def _shown(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables that the page prints, with the rows it prints."""
    shown = {"comparisons": plain(tables["comparisons"]), "correlations": tables["correlations"]}
    if "interventions" in tables:
        rows = intervention_rows(tables["interventions"], tables["scores"])
        shown["interventions"] = rows
    return shown


def _svg(path: Path) -> str:
    """The drawing of an SVG file, without the XML declaration that HTML does not know."""
    text = path.read_text(encoding="utf-8")
    # matplotlib names clip paths and glyphs; two drawings on one page must not share a name.
    for mark in ('id="', 'href="#', "url(#"):
        text = text.replace(mark, f"{mark}{path.stem}-")
    return text[text.index("<svg") :]
