"""Text that would like to be more than text, wherever a study's results hold text of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from needlework.atomic import write_text

HOSTILE = (
    '<script>window.pwned=1</script></script><img src=x onerror="window.pwned=2">\'"`${1}'
    "{{ 7*7 }}]]><!-- \u202egnp.exe \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd "
    "\u2028\u2029&amp;&lt;b&gt; end"
)
"""Ends elements, quotes and comments, runs scripts, turns the direction of what follows it."""

_TEXTS = {"question", "title", "text", "prediction", "generated"}
_REASONS = {"skipped", "failures", "refused_replies"}


def plant(results: Path) -> None:
    """Put `HOSTILE` into every question, title, document, answer of a model and reason.

    At their ends, so that the needles of documents stay where they are; right answers stay right.
    """
    for kind in ("corpora", "datasets", "predictions", "generations", "attention"):
        for path in (results / kind).rglob("*.json*"):
            if path.suffix == ".sha256":
                continue
            lines = path.read_text(encoding="utf-8").split("\n")
            rows = lines if path.suffix == ".jsonl" else ["\n".join(lines)]
            planted = [json.dumps(_planted(json.loads(row))) + "\n" for row in rows if row.strip()]
            write_text(path, "".join(planted))


def _planted(value: Any) -> Any:
    if isinstance(value, list):
        return [_planted(each) for each in value]
    if not isinstance(value, dict):
        return value
    new = {key: _planted(each) for key, each in value.items()}
    for key in _TEXTS & set(new):
        if isinstance(new[key], str) and new[key] not in new.get("answers", []):
            new[key] = f"{new[key]} {HOSTILE}"
    for key in _REASONS & set(new):
        new[key] = {f"{reason} {HOSTILE}": count for reason, count in new[key].items()}
    if isinstance(new.get("tokens"), list):
        new["tokens"] = [f"{token} {HOSTILE}" for token in new["tokens"]]
    return new
