"""Files are whole or absent, also when the writer fails or is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from needlework.atomic import atomic_path, write_json, write_text
from tests.listing import names


class _Failure(Exception):
    pass


def _fail_half_way(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise _Failure


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "scores.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename between disks would be a copy
    assert path.read_text() == "whole"
    assert names(path.parent) == ["scores.csv"]


def test_the_older_file_is_there_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_failed_block_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(_Failure):
        _fail_half_way(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_block_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(_Failure):
        _fail_half_way(tmp_path / "scores.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass
    assert path.read_text() == "old"


def test_a_killed_writer_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    script = (
        "import os, sys; from needlework.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)\n"
    )
    root = Path(__file__).parent.parent
    killed = subprocess.run(
        [sys.executable, "-c", script, str(path)], env={"PYTHONPATH": str(root)}, check=False
    )
    assert killed.returncode == 9
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    other = tmp_path / f".scores.{os.getpid()}.part.json"  # of another file
    other.touch()
    write_text(path, "new")  # whoever writes next takes away what was left
    assert names(tmp_path) == [other.name, "scores.csv"]


@pytest.mark.parametrize("name", ["head.png", "adapter_model.safetensors", "report.html", "plain"])
def test_the_temporary_name_keeps_the_suffix_and_is_hidden(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.suffix == (Path(name).suffix or ".part")[: len(temporary.suffix)]
        assert temporary.name.startswith(".")
        temporary.touch()
    assert names(tmp_path) == [name]


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "Nuñoa\nLima\n")
    assert (tmp_path / "a.csv").read_bytes() == "Nuñoa\nLima\n".encode()


def test_text_that_has_no_encoding_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_json_is_readable_and_keeps_its_order(tmp_path: Path) -> None:
    value = {"name": "Nuñoa", "counts": {"z": 1, "a": [1.5, None, True]}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert list(json.loads(text)["counts"]) == ["z", "a"]
    assert '\n "name": "Nuñoa",\n' in text
    assert text.endswith("}\n")


def test_a_value_that_is_no_json_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {"path": path})
    assert path.read_text() == "1\n"
