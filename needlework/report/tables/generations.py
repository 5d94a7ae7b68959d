"""What a language model wrote for a study, and what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from needlework import stored
from needlework.study.runs import own_tasks
from needlework.study.sections import Study

GENERATION_COLUMNS = [
    "task", "kind", "model", "server", "asked", "kept", "failed", "requests", "cached",
    "prompt_tokens", "completion_tokens", "usd",
]  # fmt: skip
_USED = ("requests", "cached", "prompt_tokens", "completion_tokens", "usd")


def generation_table(results: Path, study: Study) -> pd.DataFrame:
    """`tables/generations.csv`: a row for each task and kind of text that was asked for.

    `usd` is empty where the price of the model is not known. What was not kept, by reason, is in
    `tables/counts.csv`.

    Args:
        results: the study's folder; generations/<task>/{rewrites,documents}.json are read.
        study: the study.
    """
    rows: list[dict[str, Any]] = []
    for task in own_tasks(study):
        for kind in ("rewrites", "documents"):
            path = results / "generations" / task / f"{kind}.json"
            if not path.is_file():  # no language model was asked
                continue
            record = stored.read_json(path)
            failed = record["asked"] - record["kept"]
            rows.append(
                {"task": task, "failed": failed}
                | {key: record[key] for key in ("kind", "model", "server", "asked", "kept")}
                | {key: record["usage"][key] for key in _USED}
            )
    return pd.DataFrame(rows, columns=GENERATION_COLUMNS)
