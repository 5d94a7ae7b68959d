"""What the page says of the answers beside the plain score: other views, and answers cut or unread.

A view is the test shown otherwise: at another length, with the gold document moved, among other
distractors, without documents.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from needlework.report.tables.extracts import PAIR, decisive


class ViewTable(NamedTuple):
    """Scores of one model on one task in the decisive metric.

    `rows` are (variant, one cell for each of `conditions`); a cell is a row of variants.csv, its
    number there as `row`.
    """

    model: str
    task: str
    metric: str
    conditions: list[str]
    rows: list[tuple[str, list[dict[str, Any]]]]


def view_tables(variants: pd.DataFrame) -> list[ViewTable]:
    """A table for every model and task that was asked in more than the plain view.

    Args:
        variants: `variants.csv`, its index the number of the row.
    """
    table = decisive(variants, variants)
    found = []
    for (model, task), part in table.groupby(PAIR, sort=False):
        conditions = list(part["condition"].unique())
        if len(conditions) < 2:
            continue
        cells = part.assign(row=part.index).to_dict("records")
        by_place = {(cell["variant"], cell["condition"]): cell for cell in cells}
        rows = [
            (str(variant), [by_place[variant, condition] for condition in conditions])
            for variant in part["variant"].unique()
        ]
        metric = str(part["metric"].iloc[0])
        found.append(ViewTable(str(model), str(task), metric, conditions, rows))
    return found


def unread(scores: pd.DataFrame) -> list[str]:
    """A sentence for each condition of a run in which answers were cut off, or said nothing.

    They count as they are, mostly as wrong.
    """
    keys = [*PAIR, "variant", "seed", "condition"]
    once = decisive(scores, scores).drop_duplicates(keys)
    lost = once[(once["unparseable"] > 0) | (once["cut"] > 0)]
    return [
        f"{row['model']} after {row['variant']} on {row['task']} ({row['condition']}, seed "
        f"{row['seed']}): of {row['n']} answers {row['unparseable']} could not be read and "
        f"{row['cut']} were cut at the longest length."
        for row in lost.to_dict("records")
    ]
