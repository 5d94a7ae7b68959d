"""The lines of a batch's files: requests in, answers and errors out.

Source: https://platform.openai.com/docs/guides/batch and the API reference of /batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from needlework.llm.exchange import Exchange
from needlework.llm.transport import Trouble

MOST_REQUESTS = 50_000  # in one batch, documented
MOST_BYTES = 200_000_000  # of one input file, documented as 200 MB


def line(exchange: Exchange) -> bytes:
    """What an exchange sends next, as a line of an input file."""
    request = {
        "custom_id": exchange.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": exchange.payload(),
    }
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


def split(
    lines: Iterable[tuple[Exchange, bytes]],
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> Iterator[list[tuple[Exchange, bytes]]]:
    """Consecutive groups, each within both limits; a line that is too long is alone."""
    group: list[tuple[Exchange, bytes]] = []
    size = 0
    for exchange, content in lines:
        if group and (len(group) == most_requests or size + len(content) > most_bytes):
            yield group
            group, size = [], 0
        group.append((exchange, content))
        size += len(content)
    if group:
        yield group


def results(text: str) -> dict[str, str | Trouble]:
    """By request key: the body of its chat completion, or its trouble.

    `text` is an output or an error file. A line that is no result is left out: its request then
    counts as absent, and is asked again.
    """
    found: dict[str, str | Trouble] = {}
    for content in text.split("\n"):
        try:
            result = json.loads(content)
            found[result["custom_id"]] = _result(result)
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
    return found


def _result(result: dict[str, Any]) -> str | Trouble:
    response = result.get("response")
    if response and response["status_code"] == 200:
        return json.dumps(response["body"])
    if response:
        status = int(response["status_code"])
        passing = status in {408, 409, 429} or status >= 500
        # The limiter has no part in a 429 here, which is as any other failure that passes.
        return Trouble(status, f"Error code: {status} - {response['body']}", passing=passing)
    code = result["error"]["code"]
    reason = f"{code}: {result['error'].get('message', '')}"
    return Trouble(None, reason, passing=code != "batch_cancelled")


def absent(state: dict[str, Any]) -> Trouble:
    """The trouble of a request that is in neither file of an ended batch.

    Where the batch failed because too many tokens are enqueued, its status is 429.
    """
    status = state["status"]
    errors = [error for error in (state.get("errors") or {}).get("data") or [] if error]
    if any(error.get("code") == "token_limit_exceeded" for error in errors):
        return Trouble(429, f"batch {state['id']}: too many enqueued tokens", passing=True)
    said = "; ".join(str(error.get("message")) for error in errors[:3])
    reason = f"batch {state['id']} is {status} and has no answer to this request. {said}".strip()
    return Trouble(None, reason, passing=status in {"completed", "expired"})
