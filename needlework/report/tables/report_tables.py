"""The tables that the page and the sentences are made from, beside those of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from needlework.report.tables.counts import count_table
from needlework.report.tables.extracts import interventions_over_seeds
from needlework.report.tables.generations import generation_table
from needlework.report.tables.head_table import Probed
from needlework.report.tables.main_table import main_table
from needlework.study.sections import Study


def report_tables(
    results: Path,
    study: Study,
    tables: Mapping[str, pd.DataFrame],
    probes: Sequence[Probed],
    *,
    reference: str,
) -> dict[str, pd.DataFrame]:
    """`tables/<name>.csv` by name: main, counts, generations, interventions where there are some.

    The number of a row in its file is its index here.

    Args:
        results: the study's folder.
        study: the study that is reported.
        tables: the statistics by name.
        probes: of `read_heads`.
        reference: the variant that the others are measured against.
    """
    made = {
        "main": main_table(tables, reference=reference),
        "counts": count_table(results, study, tables, probes),
        "generations": generation_table(results, study),
    }
    if "interventions" in tables:
        made["interventions"] = interventions_over_seeds(
            tables["interventions"], tables["variants"]
        )
    return made
