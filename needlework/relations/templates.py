"""Versioned lists of relations: recognise one in a question, and state it as a plain sentence.

Each list is a YAML file beside this module with `version`, a remark on its `source`, and its
entries. In patterns, {subject} and {other} stand for the groups of these names, of any text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

_FOLDER = Path(__file__).parent
_SPACE_BEFORE = re.compile(r"\s+(?=['’]s\b|[?,.](?:\s|$))")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Relation(_Entry):
    """One relation of an answer to a subject, and sometimes to an `other` entity.

    `patterns` are regular expressions with the group `subject`, and `other` where the templates
    have it. `question` and `statement` are templates over {subject} (and {other}); the statement
    has {answer} as well. They read well with invented names.
    """

    name: str
    patterns: list[str]
    question: str
    statement: str

    @model_validator(mode="after")
    def _fits_together(self) -> Relation:
        asked, stated = _fields(self.question), _fields(self.statement)
        if asked not in ({"subject"}, {"subject", "other"}):
            raise ValueError(f"question has {_listed(asked)}; expected subject, or subject, other")
        if stated != {*asked, "answer"}:
            raise ValueError(
                f"statement has {_listed(stated)}; expected {_listed({*asked, 'answer'})}, "
                "because the question asks for it"
            )
        if not self.patterns:
            raise ValueError("patterns is empty; it takes at least one")
        for pattern in self.patterns:
            try:
                groups = set(_compiled(pattern).groupindex)
            except re.error as error:
                reason = f"the pattern {pattern!r} is no regular expression: {error}"
                raise ValueError(reason) from error
            if groups != asked:
                raise ValueError(
                    f"the pattern {pattern!r} has the groups {_listed(groups)}; expected "
                    f"{_listed(asked)}, as in the question"
                )
        return self


class RelationList(_Entry):
    """The relations of one kind of questions; where several fit, the first one counts."""

    version: int
    source: str
    relations: list[Relation]

    def find(self, question: str) -> tuple[Relation, re.Match[str]] | None:
        """The first relation that fits, and its match in the `bare` question."""
        text = bare(question)
        for relation in self.relations:
            for pattern in relation.patterns:
                match = _compiled(pattern).fullmatch(text)
                if match is not None:
                    return relation, match
        return None

    def match(self, question: str) -> tuple[Relation, dict[str, str]] | None:
        """The first relation that fits, and what it found as `subject` (and `other`)."""
        found = self.find(question)
        return found and (found[0], found[1].groupdict())

    def coverage(self, questions: Iterable[str]) -> dict[str, Any]:
        """`total` questions, how many were `matched`, and by which of the `relations`."""
        names = [found[0].name if found else "" for found in map(self.find, questions)]
        relations = Counter(name for name in names if name)
        return {
            "total": len(names),
            "matched": relations.total(),
            "relations": dict(relations.most_common()),
        }


class Opener(_Entry):
    """One way to state an insight as it is; `statement` is a template over {insight}."""

    name: str
    statement: str

    @model_validator(mode="after")
    def _holds_the_insight(self) -> Opener:
        if _fields(self.statement) != {"insight"}:
            raise ValueError(f"statement has {_listed(_fields(self.statement))}; expected insight")
        return self


class OpenerList(_Entry):
    """The ways to state an insight."""

    version: int
    source: str
    openers: list[Opener]


def bare(question: str) -> str:
    """A question with single spaces, none before 's and marks, and without its question mark."""
    return _SPACE_BEFORE.sub("", " ".join(question.split())).rstrip("? ")


@cache
def load_relations(name: Literal["nq", "musique"]) -> RelationList:
    """The relations of the questions of Natural Questions, or of the sub-questions of MuSiQue.

    Raises:
        ValueError: as `read_list`.
    """
    return read_list(_FOLDER / f"{name}.yaml", RelationList)


@cache
def load_openers() -> OpenerList:
    """The ways to state an insight of Summary of a Haystack.

    Raises:
        ValueError: as `read_list`.
    """
    return read_list(_FOLDER / "summhay.yaml", OpenerList)


_List = TypeVar("_List", RelationList, OpenerList)


def read_list(path: Path, kind: type[_List]) -> _List:
    """A list of relations or openers from a YAML file.

    Raises:
        ValueError: the file is no YAML, or an entry is not whole or repeats a name; the message
            names the file, the entry and the reason.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        read = kind.model_validate(content)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no YAML: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(entry_reason(e, content) for e in error.errors())
        raise ValueError(f"{path}: {reasons}") from error
    entries = read.relations if isinstance(read, RelationList) else read.openers
    names = Counter(entry.name for entry in entries)
    twice = [name for name, number in names.items() if number > 1]
    if twice:
        raise ValueError(f"{path}: {', '.join(twice)}: more than one entry has this name")
    return read


def entry_reason(error: Any, content: Any) -> str:
    """One pydantic error of a list of entries, by the name of the entry."""
    where = list(error["loc"])
    if len(where) > 1 and isinstance(where[1], int):  # an entry: its name says more than its place
        entry = content[where[0]][where[1]]
        name = entry.get("name") if isinstance(entry, dict) else None
        where[:2] = [f"{where[0]} entry {where[1] + 1} ({name})"]
    return f"{'.'.join(map(str, where))}: {error['msg']}"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for group in ("subject", "other"):
        pattern = pattern.replace(f"{{{group}}}", f"(?P<{group}>.+?)")
    return re.compile(pattern, re.IGNORECASE)


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(template) if field is not None}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names, reverse=True)) or "none"
