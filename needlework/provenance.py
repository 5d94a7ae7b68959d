"""Where a result comes from: hashes of files and sources, versions of packages."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

# The packages whose version can change a number; the lock has the rest.
_PACKAGES = (
    "needlework", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers",
    "safetensors", "xllamacpp", "openai", "bm25s", "numpy", "scipy", "lm-eval", "vllm",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Version of Python and of every installed package that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an analysis environment has no torch: absent is the honest record
    return found


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_hash(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def derived_seed(*parts: Any) -> int:
    """A 63-bit seed that depends on every part, equal on every machine and Python.

    Streams of random numbers named by (seed, stage, example id) do not move when another stage
    or example is added.
    """
    return int(value_hash(list(parts))[:16], 16) >> 1


def source_fingerprint(script: Path | str, package: Path | str) -> dict[str, str]:
    """Hashes of a script and of what it imports of `package`, directly or not, room by room.

    A room is a module or a folder directly in `package`; `package` is its __init__.py.

    Imports inside functions count; a data file beside a module (a template), or in a folder of
    data beside it, counts with the module's folder, unless that is the package's own. Snakemake
    tracks neither, so rules carry this as a parameter: editing the report must not retrain a
    model; editing the trainer must. Room by room, so that a dry run can say which code changed.

    Args:
        script: the file where the search begins.
        package: the folder of the package; its name is the first part of the imports followed.

    Returns:
        16 hexadecimal digits for each file or folder, by its path beside the package.
    """
    package = Path(package).resolve()
    found: set[Path] = set()
    names: set[str] = set()
    queue = [Path(script).resolve()]
    while queue:
        path = queue.pop()
        found.add(path)
        new = set(_imported_names(path, _stamp(path), package)) - names
        names |= new
        queue += {file for name in new for file in _module_files(name, package)} - found
    for folder in {path.parent for path in found if package in path.parent.parents}:
        found.update(_data_files(folder))
    rooms: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(found):
        name = _relative(path, package.parent)
        room = "/".join(Path(name).parts[:2])
        rooms.setdefault(room, []).append((name, _cached_hash(path, _stamp(path))))
    return {room: value_hash(listed)[:16] for room, listed in rooms.items()}


def _data_files(folder: Path) -> Iterator[Path]:
    """The files in a folder, and in the folders below that are no packages, that are no code."""
    for path in folder.iterdir():
        if path.is_dir() and not (path / "__init__.py").is_file():
            yield from _data_files(path)
        elif path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


@cache
def _cached_hash(path: Path, stamp: int) -> str:
    return file_hash(path)


@cache
def _imported_names(path: Path, stamp: int, package: Path) -> tuple[str, ...]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = path.parents[node.level - 1].relative_to(package.parent).parts
                base = ".".join([*parents, *([base] if base else [])])
            # `from a.b import c` may name a module c or a function c of a.b: both are looked up.
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return tuple(sorted(n for n in names if n.split(".")[0] == package.name))


def _module_files(name: str, package: Path) -> list[Path]:
    """The files that importing `name` runs: every package on the way, then the module itself."""
    files = []
    place = package.parent
    for part in name.split("."):
        place = place / part
        if (place / "__init__.py").is_file():
            files.append(place / "__init__.py")
        elif place.with_suffix(".py").is_file():
            files.append(place.with_suffix(".py"))
    return files
