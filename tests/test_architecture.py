"""docs/architecture.md is true: its folders are the folders, its rooms import what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import grimp
import pytest


def table(root: Path, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of docs/architecture.md."""
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def tracked(root: Path) -> list[str]:
    """The files that git tracks, or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line for line in listed.stdout.splitlines() if (root / line).is_file()]


def test_the_top_level_is_the_one_described(root: Path) -> None:
    files = [name for name in tracked(root) if not name.startswith(".")]
    there = {f"{Path(name).parts[0]}/" if "/" in name else name for name in files}
    assert {row[0].strip("`") for row in table(root, "Top level")} == there


def test_every_room_is_described_and_imports_what_its_row_allows(root: Path) -> None:
    rows = {row[0].strip("`"): row[2] for row in table(root, "The library's rooms")}
    allowed = {
        room: set() if cell == "–" else set(re.split(r",\s*", cell)) for room, cell in rows.items()
    }
    graph = grimp.build_graph("needlework", cache_dir=None)
    rooms = {child.split(".")[1] for child in graph.find_children("needlework")}
    assert set(allowed) == rooms
    used: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules - {"needlework"}:
        room = module.split(".")[1]
        for imported in graph.find_modules_directly_imported_by(module):
            parts = imported.split(".")
            if len(parts) > 1 and parts[1] != room:
                used[room].add(parts[1])
    assert used == allowed


def test_rooms_stay_small(root: Path) -> None:
    lines = {
        name: len((root / name).read_text(encoding="utf-8").splitlines())
        for name in tracked(root)
        if name.startswith("needlework/") and name.endswith(".py")
    }
    assert max(lines.values()) <= 400, max(lines, key=lambda name: lines[name])
    assert sorted(lines.values())[len(lines) // 2] <= 150


@pytest.mark.parametrize("generator", ["envs/write_envs.py", "workflow/schemas/write_schema.py"])
def test_generated_files_are_in_step(root: Path, generator: str) -> None:
    subprocess.run(["python", generator, "--check"], cwd=root, check=True)


def test_every_rule_has_all_its_parts(root: Path) -> None:
    parts = ["output", "log", "benchmark", "conda", "threads", "resources", "params", "message"]
    for path in (root / "workflow/rules").glob("*.smk"):
        for rule in path.read_text(encoding="utf-8").split("\nrule ")[1:]:
            missing = [part for part in [*parts, "shell"] if f"    {part}:" not in rule]
            assert not missing, f"{path.name}, {rule.splitlines()[0]}: {missing}"


def test_every_rule_with_a_script_has_the_script_of_its_name(root: Path) -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in (root / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^ *rule (\w+):", text, re.MULTILINE))
    # A rule of which there is one for each task has its name in a string.
    rules |= set(re.findall(r'^ *f"(\w+)_\{task\}"', text, re.MULTILINE))
    by_hand = {"check_results", "convert_heads", "export_model"}
    assert rules | by_hand == {path.stem for path in (root / "scripts").glob("*.py")}
