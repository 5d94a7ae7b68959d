"""Keys: how they are kept out of texts, and one for a server that runs here during a job."""

from __future__ import annotations

import base64
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_SHORTEST = 8  # a shorter "key" is a word such as EMPTY, which may be part of any text


def scrubbed(text: str, key: str) -> str:
    """`text` without the key: some servers repeat it, as it is, escaped, or encoded."""
    return text if len(key) < _SHORTEST else _pattern(key).sub("<key>", text)


@cache
def _pattern(key: str) -> re.Pattern[str]:
    forms = ["".join(map(_escaped, key))]
    for shift in range(3):  # of the text before it, such as "user:", in the groups of base64
        encoded = base64.b64encode(b"\0" * shift + key.encode()).decode()
        whole = encoded[-(-shift * 8 // 6) : (shift + len(key)) * 8 // 6]
        forms.append("".join({"+": "[+-]", "/": "[/_]"}.get(c, c) for c in whole))
    return re.compile("|".join(forms))


def _escaped(character: str) -> str:
    """A pattern of a character: itself, or as JSON (in JSON), Python, a URL or HTML shows it."""
    if character.isalnum():
        return character
    code = f"(?i:{ord(character):02x})"
    blank = r"|\+" if character == " " else ""
    return rf"(?:\\*{re.escape(character)}|\\+(?:u00|x){code}|%(?:25)*{code}|&#?\w+;{blank})"


@contextmanager
def key_in_environment(variable: str) -> Iterator[str]:
    """A new random key, which the environment variable holds while the block runs.

    Other accounts of the machine reach its loopback address, too, and so does a page in a browser;
    none of them sees this process's environment.
    """
    before = os.environ.get(variable)
    os.environ[variable] = key = secrets.token_urlsafe(32)
    try:
        yield key
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
