"""How metrics, lists and numbers are written for a person, each number with its cell."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

_METRICS = {"f1": "token F1", "citation_f1": "citation F1", "best_subspan_em": "best subspan EM"}


KIND_WORDS = {
    "copy": "the share of the needle's distinct tokens that the head copies in the answer",
    "copy_repeats": "the needle's tokens that the head copies, repeats too, by the needle's length",
    "argmax": "the share of answer rows whose highest attention is on the needle",
    "mass": "the attention that the head pays to the needle, mean over rows",
    "topk": "the attention on the needle among each row's k highest, k being the needle's length",
}


def metric_words(name: str) -> str:
    """A metric as a person reads it."""
    return _METRICS.get(name, name.replace("_", " "))


def said(template: str, *values: object, **named: object) -> Markup:
    """A sentence: `template` with its fields filled, every value escaped that is not Markup."""
    return Markup(template).format(*values, **named)


def listed(items: Sequence[str]) -> Markup:
    """Items as a list in a sentence: "a, b and c"; those that are not Markup are escaped."""
    if len(items) == 1:
        return escape(items[0])
    return said("{} and {}", Markup(", ").join(items[:-1]), items[-1])


def interval(low: float, high: float, form: str = ".2f") -> str:
    """An interval in brackets; nothing where there is none."""
    return "" if np.isnan(low) or np.isnan(high) else f" [{low:{form}}, {high:{form}}]"


def p_words(p: float) -> str:
    """What stands behind "p": below a thousandth that it is, else two digits that count."""
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def cited(value: float, form: str, csv: str, row: Hashable, column: str) -> Markup:
    """A number of a sentence, with the cell that it is rounded from.

    Args:
        value: the cell; the attribute `value` has it with the six digits that tables have.
        form: how it is rounded, a format specification, or "p" for `p_words`; a hyphen becomes a
            minus sign.
        csv: the table, as a path below the folder of the results.
        row: the number of the row in that table, from 0.
        column: the name of the column.
    """
    shown = p_words(value) if form == "p" else f"{value:{form}}"
    return of_cell(shown, f"{value:.6g}", csv, row, column)


def of_cell(shown: str, value: str, csv: str, row: Hashable, column: str) -> Markup:
    """The element of a number that a table has: what is shown, and which cell it is."""
    return Markup(
        '<data class="n" value="{}" data-csv="{}" data-row="{}" data-column="{}">{}</data>'
    ).format(value, csv, row, column, shown.replace("-", "\N{MINUS SIGN}"))


def cell(row: pd.Series, column: str, form: str, csv: str) -> Markup:
    """A cell of a table's row, cited; the row's name is its number in the table."""
    return cited(row[column], form, csv, row.name, column)


def limits(row: pd.Series, low: str, high: str, form: str, csv: str) -> Markup:
    """An interval in brackets, its ends cited; nothing where there is none."""
    if np.isnan(row[low]) or np.isnan(row[high]):
        return Markup("")
    return said(" [{}, {}]", cell(row, low, form, csv), cell(row, high, form, csv))


def derived(value: float, how: str, form: str = ",.0f") -> Markup:
    """A number that no table has; `how` says what it is computed from."""
    return Markup('<data class="derived" value="{}" title="{}">{}</data>').format(
        f"{value:.6g}", how, f"{value:{form}}"
    )
