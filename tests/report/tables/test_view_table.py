"""Tables of the test shown otherwise, and sentences on answers that were cut or said nothing."""

from __future__ import annotations

import pandas as pd

from needlework.report.tables.view_table import unread, view_tables


def scores() -> pd.DataFrame:
    """Two variants with two seeds each in three views, in two metrics; another task in one."""
    rows = [
        {
            "model": "m", "task": task, "variant": variant, "seed": seed, "condition": condition,
            "metric": metric, "mean": place / 10 + seed / 100, "low": 0.0, "high": 0.9 + seed / 100,
            "n": 4, "n_clusters": 4, "unparseable": 0, "cut": 0,
        }
        for task, conditions in (("a", ["plain", "length64", "closed_book"]), ("b", ["plain"]))
        for place, condition in enumerate(conditions)
        for variant in ("untuned", "real")
        for seed in (0, 1)
        for metric in ("f1", "exact_match")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def variants() -> pd.DataFrame:
    """The same over seeds, as variants.csv has it."""
    first = scores()[scores()["seed"] == 0].drop(columns=["seed", "unparseable", "cut"])
    return first.reset_index(drop=True)


def test_a_table_has_a_column_for_each_view_and_a_row_for_each_variant() -> None:
    given = variants()
    (table,) = view_tables(given)
    assert (table.model, table.task, table.metric) == ("m", "a", "f1")
    assert table.conditions == ["plain", "length64", "closed_book"]
    assert [variant for variant, _ in table.rows] == ["untuned", "real"]
    cells = table.rows[1][1]
    assert [cell["mean"] for cell in cells] == [0.0, 0.1, 0.2]
    for condition, cell in zip(table.conditions, cells, strict=True):
        row = given.loc[cell["row"]]  # its place in the file
        assert (row["variant"], row["condition"], row["metric"]) == ("real", condition, "f1")


def test_no_sentence_where_every_answer_was_read() -> None:
    assert unread(scores()) == []


def test_answers_that_were_cut_or_not_read_are_counted_once_for_each_run() -> None:
    table = scores()
    chosen = (table["condition"] == "length64") & (table["variant"] == "real")
    table.loc[chosen & (table["seed"] == 1), ["unparseable", "cut"]] = [2, 1]
    (line,) = unread(table)
    assert line.startswith("m after real on a (length64, seed 1): of 4 answers 2 could not be read")
    assert "1 were cut" in line
