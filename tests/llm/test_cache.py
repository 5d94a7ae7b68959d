"""The response cache: what is put comes back, requests do not mix, damage is named."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.llm.cache import ResponseCache

_text = st.text(st.characters(codec="utf-8"), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(_text, _values, max_size=4)


@settings(deadline=None)  # it writes files, and a busy disk is no failure
@given(first=_objects, second=_objects, response=_objects)
def test_a_response_comes_back_for_its_own_request_only(
    first: dict[str, Any], second: dict[str, Any], response: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder:
        cache = ResponseCache(Path(folder))
        cache.put(first, response)
        backwards = dict(reversed(first.items()))
        assert ResponseCache(Path(folder)).get(backwards) == response
        if json.dumps(first, sort_keys=True) != json.dumps(second, sort_keys=True):
            assert cache.get(second) is None


def test_an_entry_is_one_readable_file_that_holds_both(tmp_path: Path) -> None:
    request, response = {"model": "m", "seed": 1}, {"text": "Perú"}
    ResponseCache(tmp_path).put(request, response)
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent.parent == tmp_path
    assert file.parent.name == file.name[:2]
    assert "Perú" in file.read_text(encoding="utf-8")
    assert json.loads(file.read_bytes()) == {"request": request, "response": response}


def test_a_later_put_replaces_the_entry(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path)
    cache.put({"seed": 1}, {"text": "old"})
    cache.put({"seed": 1}, {"text": "new"})
    assert cache.get({"seed": 1}) == {"text": "new"}
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"request": {"seed": 1}, "resp',
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"request": {"seed": 1}}',
        b'{"request": {"seed": 2}, "response": {"text": "of another request"}}',
        b'{"request": {"seed": 1}, "response": "text"}',
    ],
)
def test_a_damaged_entry_is_an_error_that_names_the_file_and_the_fix(
    tmp_path: Path, content: bytes
) -> None:
    cache = ResponseCache(tmp_path)
    cache.put({"seed": 1}, {"text": "whole"})
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(content)
    with pytest.raises(ValueError, match="Delete the file") as caught:
        cache.get({"seed": 1})
    assert str(file) in str(caught.value)
    file.unlink()
    assert cache.get({"seed": 1}) is None
