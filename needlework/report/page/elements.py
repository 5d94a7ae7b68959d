"""What stands on the page: numbers with their source, drawings, marked texts, data of scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from needlework.examples import Document, Example
from needlework.report.figures.style import PAGE_COLOURS
from needlework.report.page.excerpt import GOLD_HEAD, HEAD, head_of, kept_parts
from needlework.report.wording import of_cell

Row = dict[str, Any]
"""A row of a table: its cells; `csv`, the file below the results, and `row`, its number there."""

MISSING = Markup("–")


def records(table: pd.DataFrame, csv: str) -> list[Row]:
    """The rows of a table whose index is the number of the row in the file `csv`."""
    rows = table.to_dict("records")
    return [
        row | {"csv": csv, "row": number} for row, number in zip(rows, table.index, strict=True)
    ]


def number(row: Row, column: str, form: str = "", *, resamples: int) -> Markup:
    """A cell as a reader expects it, with its value as the file has it and where it stands there.

    Args:
        row: of `records`.
        column: which cell; one that is empty is a dash.
        form: a format specification, "p" (a p value), "time" (seconds) or "" (as the file has it).
        resamples: how many the p value is from.
    """
    value = row[column]
    if pd.isna(value):
        return MISSING
    full = f"{value:.15g}" if isinstance(value, float) else str(value)
    if form == "p":
        shown = p_value(value, resamples)
    elif form == "time":
        shown = duration(value)
    else:
        shown = f"{value:{form}}" if form else full
    return of_cell(shown, full, row["csv"], row["row"], column)


def p_value(p: float, resamples: int) -> str:
    """A p value as a reader expects it; never 0, because a bootstrap cannot show that."""
    if pd.isna(p):
        return str(MISSING)
    if p <= 1 / (resamples + 1) * 1.0001:
        digits = len(str(resamples)) - 1
        return f"< {10**-digits:.{digits}f}"
    return f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, the two largest that are not 0."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def highlighted(example: Example) -> list[dict[str, Any]]:
    """The documents of an example, their needles in <mark>, everything else escaped.

    Of a long document only its beginning and the surroundings of its needles are shown; how many
    characters are left out is said.
    """
    return [
        {"title": document.title, "gold": document.gold, "text": _excerpt(document, example)}
        for document in example.documents
    ]


def _excerpt(document: Document, example: Example) -> Markup:
    needles = sorted(
        (n for n in example.needles if n.document == document.id), key=lambda n: n.start
    )
    text, count = document.text, len(example.documents)
    head = GOLD_HEAD if document.gold else head_of(HEAD, count)
    shown, place = [], 0
    for start, end in kept_parts(len(text), head, [(n.start, n.end) for n in needles]):
        shown.append(_left_out(start - place))
        place = start
        for needle in (n for n in needles if start <= n.start < end):
            shown.append(escape(text[place : needle.start]))
            shown.append(Markup("<mark data-tip='{} needle, hop {}'>{}</mark>").format(
                needle.role, needle.hop, text[needle.start : needle.end]
            ))  # fmt: skip
            place = needle.end
        shown.append(escape(text[place:end]))
        place = end
    shown.append(_left_out(len(text) - place))
    return Markup("").join(shown)


def _left_out(count: int) -> Markup:
    return Markup("<i>[… {:,} characters left out …]</i>").format(count) if count else Markup("")


def script_json(value: Any) -> Markup:
    """JSON that can stand in a <script>: no text in it can end the element, or a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def one_script(sources: Iterable[str]) -> str:
    """The scripts of a page as one: its parts share names with each other and nothing else."""
    return "\n".join(["{", *sources, "}"])


def drawing(path: Path, label: str) -> Markup:
    """The drawing of an SVG file as an element of a page, named `label` for who cannot see it.

    Its inks and grounds are the page's variables, so that they follow its theme; its names begin
    with the name of the file, so that two drawings on one page share none.
    """
    text = path.read_text(encoding="utf-8")
    for mark in ('id="', 'href="#', "url(#"):
        text = text.replace(mark, f"{mark}{path.stem}-")
    for colour, variable in PAGE_COLOURS.items():
        # As a presentation attribute a variable would not count, as a style it does.
        text = re.sub(f"(?<=: ){colour}", variable, text, flags=re.IGNORECASE)
    text = text[text.index("<svg") :]
    width = re.search(r'width="([\d.]+)pt"', text)
    opening = Markup('<svg role="img" aria-label="{}" style="--width: {}pt" ').format(
        label, width[1] if width else 0
    )
    return opening + Markup(text.removeprefix("<svg"))
