"""The relations of the Factbook tasks, from factbook.yaml: where a fact stands, how it is asked.

The file says what its three lists are; they are checked whole when they are first read.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib import resources
from string import Formatter
from typing import NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from needlework import relations
from needlework.relations.templates import entry_reason

# The Factbook writes remarks into the field itself: "Santiago; note - Valparaiso is the seat of".
_NOTE = re.compile(r"[;\n]\s*note\b")


class _Entry(BaseModel):
    """What every entry has; `section` is chapter and section of the Factbook."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    section: str
    pattern: str
    question: str
    statement: str

    @model_validator(mode="after")
    def _fits_together(self) -> _Entry:
        if "/" not in self.section:
            raise ValueError(f"section is {self.section!r}; expected chapter/section")
        _check_pattern("pattern", self.pattern, "answer")
        _check_template("question", self.question, {"subject"})
        _check_template("statement", self.statement, {"subject", "answer"})
        if self.statement.startswith("{subject}"):  # "the Gambia" may not begin a sentence
            raise ValueError("statement begins with {subject}; begin with another word")
        return self


class Relation(_Entry):
    """A fact that a section states about a country, in one field; "text" has no label."""

    field: str
    unless: str | None = None


class Link(_Entry):
    """A hop that leads to another country, or from a name in the field `given` to its country."""

    field: str
    phrase: str
    given: str | None = None
    given_pattern: str | None = None

    @model_validator(mode="after")
    def _leads_on(self) -> Link:
        _check_template("phrase", self.phrase, {"subject"})
        if (self.given is None) != (self.given_pattern is None):
            raise ValueError("given and given_pattern go together; name both or none")
        if self.given_pattern is not None:
            _check_pattern("given_pattern", self.given_pattern, "given")
        return self


class Attribute(_Entry):
    """A fact that many countries share, in the first of `fields` that a section has."""

    fields: list[str]
    citing: str

    @model_validator(mode="after")
    def _is_cited(self) -> Attribute:
        _check_template("citing", self.citing, {"answer"})
        if not self.fields:
            raise ValueError("fields is empty; it takes at least one")
        return self


class RelationList(BaseModel):
    """The content of factbook.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int
    relations: list[Relation]
    links: list[Link]
    attributes: list[Attribute]

    @model_validator(mode="after")
    def _names_differ(self) -> RelationList:
        entries = [*self.relations, *self.links, *self.attributes]
        counts = Counter(entry.name for entry in entries)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)}: more than one entry has this name")
        return self


class Answer(NamedTuple):
    """Accepted answers, the training target first, and its characters [start, end) in the field."""

    texts: list[str]
    start: int
    end: int


@cache
def load_relations() -> RelationList:
    """The relations, links and attributes of the Factbook.

    Raises:
        ValueError: as `parse_relations`.
    """
    file = resources.files(relations) / "factbook.yaml"
    return parse_relations(file.read_text(encoding="utf-8"), str(file))


def parse_relations(text: str, where: str) -> RelationList:
    """The lists in a YAML text; `where` names the file in messages.

    Raises:
        ValueError: the text is no YAML, or an entry is not whole or repeats a name; the message
            names the file, the entry, the key and the reason.
    """
    try:
        content = yaml.safe_load(text)
        return RelationList.model_validate(content)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: no YAML: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(entry_reason(e, content) for e in error.errors())
        raise ValueError(f"{where}: {reasons}") from error


def _check_pattern(key: str, pattern: str, group: str) -> None:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"{key} is no regular expression: {error}") from error
    if group not in groups:
        raise ValueError(f"{key} has no group {group!r}, which holds what is read")


def _check_template(key: str, template: str, expected: set[str]) -> None:
    found = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    if found != expected:
        raise ValueError(f"{key} has {sorted(found)}; expected {sorted(expected)}")


def without_remarks(field: str) -> str:
    """The text of a field up to its remarks."""
    return _NOTE.split(field)[0].rstrip()


def find_answer(relation: Relation, field: str) -> Answer | None:
    """The answer in the clean text of a field, or None where the field does not fit the pattern."""
    match = re.fullmatch(relation.pattern, without_remarks(field))
    if match is None:
        return None
    others = [text for name, text in match.groupdict().items() if name != "answer" and text]
    return Answer(list(dict.fromkeys([match["answer"], *others])), *match.span("answer"))


def find_country(link: Link, field: str) -> Answer | None:
    """The name of the country that a field leads to: the only one, or that of the largest size."""
    matches = list(re.finditer(link.pattern, without_remarks(field)))
    if "size" in re.compile(link.pattern).groupindex:
        sizes = [float(match["size"].replace(",", "")) for match in matches]
        matches = [m for m, size in zip(matches, sizes, strict=True) if size == max(sizes)]
    if len(matches) != 1:
        return None
    return Answer([matches[0]["answer"]], *matches[0].span("answer"))


def find_values(attribute: Attribute, field: str) -> list[Answer]:
    """Everything that a field states of an attribute, each value once."""
    found: dict[str, Answer] = {}
    for match in re.finditer(attribute.pattern, without_remarks(field)):
        value = match["answer"]
        found.setdefault(value, Answer([value], *match.span("answer")))
    return list(found.values())
