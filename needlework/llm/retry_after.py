"""How long a server asks to wait, in the several ways that servers say it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_RESETS = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")


def seconds_to_wait(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds until the server wants to be asked again; None where it does not say.

    Read are, in this order: `retry-after-ms` (OpenAI), `Retry-After` in seconds or as an HTTP date
    (RFC 9110, section 10.2.3), and the `x-ratelimit-reset` headers, of which the limit with
    nothing remaining counts, or else the longest. A reset is a duration such as `6m0s` (OpenAI), a
    number of seconds, or a time since 1970 in seconds or, above 1e11, in milliseconds.

    Args:
        headers: of the answer; their names are looked up in lower case.
        now: seconds since 1970; the present where None.
    """
    now = time.time() if now is None else now
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    if (after := headers.get("retry-after")) is not None:
        seconds = _number(after)
        return _until_date(after, now) if seconds is None else seconds
    waits = {name: _until_reset(headers.get(name), now) for name in _RESETS}
    found = {name: wait for name, wait in waits.items() if wait is not None}
    spent = [
        wait
        for name, wait in found.items()
        if headers.get(name.replace("reset", "remaining"), "").strip() == "0"
    ]
    return max(spent or found.values(), default=None)


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d+)?", text) else None


def _until_date(text: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _until_reset(text: str | None, now: float) -> float | None:
    text = (text or "").strip().lower()
    number = _number(text)
    if number is not None:
        number = number / 1000 if number > 1e11 else number
        return max(0.0, number - now) if number > 1e9 else number
    parts = _PART.findall(text)
    if not parts or "".join(value + unit for value, unit in parts) != text:
        return None
    return sum(float(value) * _UNITS[unit] for value, unit in parts)
