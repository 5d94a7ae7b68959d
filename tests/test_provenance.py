"""Hashes and seeds are the same everywhere; a fingerprint moves with the code behind a script."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.provenance import derived_seed, file_hash, source_fingerprint, value_hash, versions

_SOURCES = {
    "run.py": "import sys\nfrom pack.direct import go\n",
    "pack/__init__.py": "",
    "pack/direct.py": "def go():\n    from pack.room.lazy import late\n    import pack.whole\n",
    "pack/whole.py": "import os.path\n",
    "pack/unrelated.py": "from pack import direct\n",
    "pack/notes.txt": "beside the modules of the package itself",
    "pack/room/__init__.py": "from . import sibling\n",
    "pack/room/lazy.py": "from ..base import thing\nfrom .near import there\nlate = 1\n",
    "pack/room/sibling.py": "",
    "pack/room/near.py": "",
    "pack/room/page.j2": "{{ title }}",
    "pack/room/unused.py": "",
    "pack/base.py": "thing = 1\n",
    "pack/other/__init__.py": "",
    "pack/other/data.json": "{}",
}
_BEHIND = {
    "run.py", "pack/__init__.py", "pack/direct.py", "pack/whole.py", "pack/room/__init__.py",
    "pack/room/lazy.py", "pack/room/sibling.py", "pack/room/near.py", "pack/room/page.j2",
    "pack/base.py",
}  # fmt: skip


def _edit(path: Path) -> None:
    """Add an empty line, at a time of its own: some disks tell times no finer than milliseconds."""
    stamp = path.stat().st_mtime_ns
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    os.utime(path, ns=(stamp, stamp + 10**9))


def _moved_by_an_edit(path: Path, fingerprint: Callable[[], str]) -> bool:
    before, content, stamp = fingerprint(), path.read_bytes(), path.stat().st_mtime_ns
    _edit(path)
    after = fingerprint()
    path.write_bytes(content)
    os.utime(path, ns=(stamp, stamp))
    assert fingerprint() == before
    return after != before


def _write_sources(folder: Path) -> Path:
    for name, text in _SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", _SOURCES)
def test_an_edit_moves_the_fingerprint_of_what_imports_it(tmp_path: Path, name: str) -> None:
    _write_sources(tmp_path)
    moved = _moved_by_an_edit(
        tmp_path / name, lambda: source_fingerprint(tmp_path / "run.py", tmp_path / "pack")
    )
    assert moved == (name in _BEHIND)


def test_a_fingerprint_is_the_same_in_another_folder(tmp_path: Path) -> None:
    one, two = (_write_sources(tmp_path / name) for name in ("one", "two"))
    prints = [source_fingerprint(folder / "run.py", folder / "pack") for folder in (one, two)]
    assert prints[0] == prints[1]


def test_a_new_import_is_followed(tmp_path: Path) -> None:
    _write_sources(tmp_path)
    script, package = tmp_path / "run.py", tmp_path / "pack"
    before = source_fingerprint(script, package)
    script.write_text(_SOURCES["run.py"] + "import pack.unrelated\n")
    os.utime(script, ns=(1, 1))
    assert source_fingerprint(script, package) != before
    assert _moved_by_an_edit(package / "unrelated.py", lambda: source_fingerprint(script, package))


def test_a_moved_module_moves_the_fingerprint(tmp_path: Path) -> None:
    _write_sources(tmp_path)
    before = source_fingerprint(tmp_path / "run.py", tmp_path / "pack")
    (tmp_path / "pack" / "room" / "page.j2").rename(tmp_path / "pack" / "room" / "other.j2")
    assert source_fingerprint(tmp_path / "run.py", tmp_path / "pack") != before


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library and its scripts, to edit."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("needlework", "scripts"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / name, folder / name, ignore=ignore)
    return folder


def _files_behind(copy: Path, script: str) -> set[str]:
    """The files of the library whose edit makes a script's results stale."""

    def fingerprint() -> str:
        return source_fingerprint(copy / "scripts" / f"{script}.py", copy / "needlework")

    files = sorted(path for path in (copy / "needlework").rglob("*") if path.is_file())
    moved = [path for path in files if _moved_by_an_edit(path, fingerprint)]
    return {path.relative_to(copy / "needlework").as_posix() for path in moved}


def _rooms(files: set[str]) -> set[str]:
    return {file.split("/")[0] for file in files if "/" in file}


def test_an_edit_of_report_or_evaluation_trains_nothing_again(copy: Path) -> None:
    files = _files_behind(copy, "train_adapter")
    assert _rooms(files) == {"models", "training", "rendering"}
    assert {
        "training/sft.py",
        "rendering/prompt.py",
        "models/base.py",
        "examples.py",
        "text.py",
    } <= files
    elsewhere = {"study/sections.py", "planning.py", "statistics/bootstrap.py", "attention.py"}
    assert not files & elsewhere


def test_an_edit_of_the_page_writes_the_report_again(copy: Path) -> None:
    files = _files_behind(copy, "render_report")
    assert {
        "report/page/templates/page.html.j2",
        "report/page/page.py",
        "report/build.py",
        "study/sections.py",
    } <= files
    assert not _rooms(files) & {"training", "synthesis", "llm"}


def test_an_edit_of_the_trainer_answers_nothing_again(copy: Path) -> None:
    files = _files_behind(copy, "predict_answers")
    assert {"evaluation/predict.py", "rendering/prompt.py", "models/base.py"} <= files
    assert not _rooms(files) & {"training", "report", "corpora"}
    # A hosted model is asked as it was tuned: as a chat.
    assert {name for name in files if name.startswith("synthesis/")} == {
        "synthesis/__init__.py", "synthesis/chat.py",
    }  # fmt: skip


@pytest.mark.parametrize(
    "script",
    [
        "build_corpus", "rewrite_facts", "write_documents", "build_dataset", "score_heads",
        "compare_heads", "compute_statistics",
    ],
)  # fmt: skip
def test_only_the_report_depends_on_the_report(copy: Path, script: str) -> None:
    path = copy / "needlework/report/page/templates/page.html.j2"
    build = copy / "needlework" / "report" / "build.py"
    for file in (path, build):
        assert not _moved_by_an_edit(
            file, lambda: source_fingerprint(copy / "scripts" / f"{script}.py", copy / "needlework")
        )


def test_a_file_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\x00\xffabc" * 1000)
    expected = hashlib.sha256(b"\x00\xffabc" * 1000).hexdigest()
    assert file_hash(tmp_path / "weights") == expected


def test_a_value_hash_is_that_of_the_canonical_json() -> None:
    text = '{"a":[1.5,null],"é":"ñ"}'
    assert value_hash({"é": "ñ", "a": [1.5, None]}) == hashlib.sha256(text.encode()).hexdigest()


_PARTS: st.SearchStrategy[list[Any]] = st.lists(st.integers() | st.text() | st.none(), max_size=4)


@settings(deadline=None)
@given(_PARTS, _PARTS)
def test_a_seed_has_63_bits_and_depends_on_every_part(one: list[Any], two: list[Any]) -> None:
    assert 0 <= derived_seed(*one) < 2**63
    assert (derived_seed(*one) == derived_seed(*two)) == (one == two)


def test_a_seed_is_the_same_in_every_process() -> None:
    root = Path(__file__).parent.parent
    script = "from needlework.provenance import derived_seed; print(derived_seed(7, 'render', 'é'))"
    seeds = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(root), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    expected = hashlib.sha256('[7,"render","é"]'.encode()).digest()[:8]
    assert seeds == {b"%d\n" % (int.from_bytes(expected, "big") >> 1)}


def test_versions_are_those_of_what_is_installed() -> None:
    found = versions()
    assert found["python"] == sys.version.split()[0]
    assert found["numpy"] == numpy.__version__
    assert {"torch", "transformers", "peft"} <= found.keys()
    assert "snakemake" not in found
