"""A folder of answers, each found again by the content of its request.

The cache is what makes a run repeatable: servers do not give the same bits twice, even with a
seed, but an answer read from here is the answer of the first run, and costs nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from needlework.atomic import write_json
from needlework.provenance import value_hash


class ResponseCache:
    """Requests and responses under `folder`, one readable JSON file `<hh>/<hash>.json` each.

    The hash is that of the whole request, so a changed model, prompt, seed or sampling parameter
    is another entry. Both values are plain JSON; keep keys and other secrets out of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The response that was put for an equal request, or None.

        Raises:
            ValueError: the entry's file is damaged or was edited; the message names it.
        """
        path = self._path(request)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            entry = json.loads(content)
            response = entry["response"]
            whole = isinstance(response, dict) and value_hash(entry["request"]) == path.stem
        except (ValueError, LookupError, TypeError):
            whole = False
        if not whole:
            raise ValueError(
                f"{path} is damaged: expected a JSON object with a `request` whose hash is the "
                f"file's name and its `response`, found {content[:60]!r}. Delete the file; its "
                "request is then asked again."
            )
        return dict(response)

    def put(self, request: dict[str, Any], response: dict[str, Any]) -> None:
        """Keep `response` for `request`, in place of an older one."""
        write_json(self._path(request), {"request": request, "response": response})

    def _path(self, request: dict[str, Any]) -> Path:
        name = value_hash(request)
        return self._folder / name[:2] / f"{name}.json"
