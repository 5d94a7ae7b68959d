"""Tables for a paper: the same cells as LaTeX (booktabs) and as Markdown, every text escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MINUS, DAGGER, DOUBLE_DAGGER, RHO = "−", "†", "‡", "ρ"

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    MINUS: "$-$", DAGGER: r"$^\dagger$", DOUBLE_DAGGER: r"$^\ddagger$", RHO: r"$\rho$",
}  # fmt: skip
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Cell(NamedTuple):
    """A text, perhaps bold, with marks behind it, and a smaller text beside it."""

    text: str
    bold: bool = False
    marks: str = ""
    beside: str = ""


class Table(NamedTuple):
    """A table of a paper.

    Attributes:
        caption: what it shows.
        label: the name that a text refers to it by.
        heads: rows of the head: each a list of texts and how many columns they span.
        names: how many columns on the left hold names.
        groups: rows, with a rule between groups.
    """

    caption: str
    label: str
    heads: list[list[tuple[str, int]]]
    names: int
    groups: list[list[list[Cell]]]


def number(value: float, form: str = ".2f") -> str:
    """A number with a minus that is one; "–" where there is none."""
    return "–" if value != value else f"{value:{form}}".replace("-", MINUS)


def between(low: float, high: float, form: str = ".2f") -> str:
    """An interval in brackets; nothing where there is none."""
    return "" if low != low or high != high else f"[{number(low, form)}, {number(high, form)}]"


def tex_text(text: str) -> str:
    """A text with every character that LaTeX reads otherwise escaped, in one line."""
    escaped = "".join(_TEX.get(character, character) for character in " ".join(text.split()))
    return escaped.replace("--", "-{}-")  # else one dash is set


def markdown_text(text: str) -> str:
    """A text with every character that Markdown or HTML reads otherwise escaped, in one line."""
    html = "".join(_HTML.get(character, character) for character in " ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", html)


def tex(tables: Sequence[Table]) -> str:
    """Tables as LaTeX, which takes the package booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(map(_tex, tables))


def _tex(table: Table) -> str:
    columns = sum(span for _, span in table.heads[0])
    lines = [
        r"\begin{table}[t]", r"\centering", r"\small",
        rf"\caption{{{tex_text(table.caption)}}}", rf"\label{{{table.label}}}",
        rf"\begin{{tabular}}{{{'l' * table.names}{'c' * (columns - table.names)}}}", r"\toprule",
    ]  # fmt: skip
    for head in table.heads:
        lines += _tex_head(head)
    for group in table.groups:
        lines.append(r"\midrule")
        lines += [_tex_row(list(map(_tex_cell, row))) for row in group]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _tex_head(head: Sequence[tuple[str, int]]) -> list[str]:
    cells, rules, place = [], [], 1
    for text, span in head:
        shown = tex_text(text)
        cells.append(shown if span == 1 else rf"\multicolumn{{{span}}}{{c}}{{{shown}}}")
        if span > 1 and text:
            rules.append(rf"\cmidrule(lr){{{place}-{place + span - 1}}}")
        place += span
    return [_tex_row(cells), *([" ".join(rules)] if rules else [])]


def _tex_row(cells: Sequence[str]) -> str:
    # The rule or the line end before would take a bracket or a star as its own.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return guard + " & ".join(cells) + r" \\"


def _tex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{tex_text(cell.text)}}}" if cell.bold else tex_text(cell.text)
    beside = rf" {{\scriptsize {tex_text(cell.beside)}}}" if cell.beside else ""
    return f"{text}{tex_text(cell.marks)}{beside}"


def markdown(tables: Sequence[Table]) -> str:
    """Tables as Markdown with pipes; a head of several rows is put into one."""
    return "\n".join(map(_markdown, tables))


def _markdown(table: Table) -> str:
    heads = [[text for text, span in head for _ in range(span)] for head in table.heads]
    joined = [" ".join(filter(None, texts)) for texts in zip(*heads, strict=True)]
    rules = ["---" if i < table.names else ":-:" for i in range(len(joined))]
    rows = [[markdown_text(text) for text in joined], rules]
    rows += [[_markdown_cell(cell) for cell in row] for group in table.groups for row in group]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", markdown_text(table.caption), ""])


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    shown = f"**{text}**" if cell.bold and text else text
    beside = f" {markdown_text(cell.beside)}" if cell.beside else ""
    return f"{shown}{cell.marks}{beside}"
