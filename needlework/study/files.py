"""The file of a study, looked at before Snakemake reads it.

Snakemake takes the last of two equal keys without a word, ends in a traceback on a file that is no
text, and never ends on aliases of aliases. So a file is composed here first, within bounds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from needlework.given import check_file, json_value, read_text, short, shown

LARGEST = 2**20
"""Bytes of the largest study."""

VALUES = 100_000
"""Values of the largest study, those behind aliases counted as often as they are used."""

HUGE = 2**63
"""Whole numbers of a study are smaller."""

_MOST, _LONGEST = 10, 500  # problems, and characters of one

DEPTH = 50
"""How deep the values of a study may lie in each other."""


class StudyError(ValueError):
    """A study that cannot be run; the message has one line for each reason."""


def problem_list(problems: Iterable[str]) -> str:
    """The text of a `StudyError` with one line per problem."""
    lines = [f"  - {short(problem, _LONGEST)}" for problem in problems]
    more = f"  - and {len(lines) - _MOST} more" if len(lines) > _MOST else None
    return "\n".join(["the study cannot be run:", *lines[:_MOST], *([more] if more else [])])


def check_files(paths: Iterable[Path | str]) -> None:
    """Check that files are studies as far as their form goes: YAML or JSON, keys that differ.

    Raises:
        StudyError: one is not; the message names the file and, where there is one, the line.
    """
    problems = []
    for path in paths:
        try:
            _check(check_file(path))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise StudyError(problem_list(problems))


def check_command_line(arguments: Sequence[str], default: str = "config.yaml") -> None:
    """`check_files` for those that a command line of Snakemake names, or for the default.

    Raises:
        SystemExit: with the message, as Snakemake itself has no line for it.
    """
    paths: list[str] = []
    named = False
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option in ("--configfile", "--configfiles"):
            named, paths = True, [value] if value else []
        elif argument.startswith("-"):
            named = False
        elif named:
            paths.append(argument)
    # Where there is no default, it is not in this folder that the workflow is.
    if not paths and Path(default).exists():
        paths = [default]
    try:
        check_files(paths)
    except StudyError as error:
        sys.exit(f"error: {error}")


def dotted(keys: Iterable[Any]) -> str:
    """Keys with dots between them; one with a line end, or too long a one, as Python writes it."""
    names = [key if isinstance(key, str) else shown(key) for key in keys]
    plain = [name.isprintable() and len(name) <= 64 for name in names]
    return ".".join(n if fits else shown(n) for n, fits in zip(names, plain, strict=True))


def check_size(study: Mapping[Any, Any]) -> None:
    """Refuse a study that is too deep, too large with what it repeats, or has a huge number in it.

    Raises:
        StudyError: it is so.
    """
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(study, ())]
    count = 0
    while waiting:
        part, place = waiting.pop()
        count += 1
        if len(place) > DEPTH or count > VALUES:
            raise StudyError(problem_list([_too_large("the study")]))
        if isinstance(part, int) and not -HUGE < part < HUGE:
            key = dotted(place)
            raise StudyError(
                problem_list([f"{key}: got {shown(part)}, takes numbers below 2 ** 63"])
            )
        if isinstance(part, Mapping):
            waiting += ((each, (*place, key)) for key, each in part.items())
            waiting += ((key, (*place, "a key")) for key in part)
        elif isinstance(part, (list, tuple, set)):
            waiting += ((each, (*place, number)) for number, each in enumerate(part))


def _too_large(where: str) -> str:
    return (
        f"{where}: holds more than {VALUES} values, or values more than {DEPTH} deep, with what "
        "its aliases repeat; write out what is meant"
    )


def _check(path: Path) -> None:
    text = read_text(path, LARGEST)
    if text.lstrip().startswith("{"):
        _check_top(json_value(text, str(path)), path)
        return
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check_node(node, path)
        _check_top(yaml.safe_load(text), path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(
            f"{path}{line}: not YAML: {_sentence(error.problem)}; indent by spaces only, and quote "
            "texts with a special character"
        ) from error
    except yaml.YAMLError as error:  # of a character that YAML does not know
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())[:200]}") from error
    except RecursionError as error:
        raise ValueError(_too_large(str(path))) from error
    except ValueError as error:  # of a date or a number; ours name the file
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: {error}; put it in quotes if it is text") from error


def _sentence(problem: str | None) -> str:
    return (problem or "it cannot be parsed")[:200]


def _check_top(value: Any, path: Path) -> None:
    if not isinstance(value, dict):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        raise ValueError(f"{path}: holds {kind}; a study has keys at its top, as config.yaml has")
    if "__use_yte__" in value:
        raise ValueError(f"{path}: __use_yte__ lets a file run code; a study is plain: remove it")


def _check_node(top: yaml.Node, path: Path) -> None:
    """Keys differ, and what aliases repeat is not too much."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_nodes or depth > DEPTH:
            raise ValueError(_too_large(f"{path}, line {node.start_mark.line + 1}"))
        open_nodes.add(id(node))
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, path)
            parts = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in parts)
        open_nodes.discard(id(node))
        if sizes[id(node)] > VALUES:
            raise ValueError(_too_large(f"{path}, line {node.start_mark.line + 1}"))
        return sizes[id(node)]

    size(top, 0)


def _check_keys(node: yaml.MappingNode, path: Path) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"{path}, line {line}: a key is a list or a mapping; keys are words")
        if key.value in lines:
            raise ValueError(
                f"{path}, line {line}: the key {shown(key.value)} stands in line "
                f"{lines[key.value]} already; remove one of the two"
            )
        lines[key.value] = line
