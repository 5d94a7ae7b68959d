"""What the sections of the Factbook state: the fact of a relation, the country of a link."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from needlework.corpora.factbook_relations import Link, Relation, find_answer, find_country
from needlework.corpora.factbook_sections import Section, codes, names, section, subject
from needlework.examples import Fact, Needle
from needlework.text import padded

LONGEST_GOLD = 400
"""Characters of a document that a short answer is read from, so that short contexts hold it."""


@dataclass(frozen=True)
class Found:
    """What a relation or link finds: the country's fact, its section, the answer's characters.

    `leads_to` is the country of the next hop, where there is one.
    """

    entry: Relation | Link
    section: Section
    subject: str
    answers: tuple[str, ...]
    start: int
    end: int
    leads_to: str | None = None

    def needle(self, hop: int, last: bool) -> Needle:
        """The answer in its document."""
        return Needle(
            document=self.section.id,
            start=self.start,
            end=self.end,
            role="answer" if last else "bridge",
            hop=hop,
            relation=self.entry.name,
        )

    def fact(self, hop: int) -> Fact:
        """The fact as a hop; after the first, its subject is the answer of the hop before."""
        return Fact(
            hop=hop,
            relation=self.entry.name,
            subject=self.subject,
            answer=self.answers[0],
            question=self.entry.question,
            statement=self.entry.statement,
            subject_hop=hop - 1 if hop > 1 else None,
        )


@cache
def find_fact(relation: Relation, country: str) -> Found | str:
    """The fact of a relation about a country, or the reason why there is none."""
    read = _read(relation, country)
    if isinstance(read, str):
        return read
    one, (field, offset) = read
    answer = find_answer(relation, field)
    if answer is None:
        return "field does not fit the pattern"
    if relation.unless and re.search(relation.unless, one.text):
        return "field holds another kind of fact"
    # Looked ahead, so that two answers in a row can share the space between them.
    if len(re.findall(f"(?={re.escape(padded(answer.texts[0]))})", one.words)) > 1:
        return "answer more than once in its document"
    asked = subject(names()[country])
    start, end = offset + answer.start, offset + answer.end
    return Found(relation, one, asked, tuple(answer.texts), start, end)


@cache
def follow(link: Link, country: str) -> list[Found] | str:
    """Where a link leads from a country, by each name given; or the reason why nowhere."""
    read = _read(link, country)
    if isinstance(read, str):
        return read
    one, (field, offset) = read
    answer = find_country(link, field)
    if answer is None:
        return "field does not fit the pattern"
    leads_to = codes().get(answer.texts[0])
    if leads_to is None:
        return "field names no country by the name of its entry"
    subjects = [subject(names()[country])]
    if link.given is not None:
        subjects = _given(link, one)
        if not subjects:
            return "no name that identifies the country alone"
    place = (offset + answer.start, offset + answer.end, leads_to)
    return [Found(link, one, asked, tuple(answer.texts), *place) for asked in subjects]


def _read(entry: Relation | Link, country: str) -> tuple[Section, tuple[str, int]] | str:
    one = section(country, entry.section)
    if one is None:
        return "section missing"
    if entry.field not in one.fields:
        return "field missing"
    if one.fields[entry.field][0].lower().startswith("none"):
        return "field says none"
    if len(one.text) > LONGEST_GOLD:
        return f"document longer than {LONGEST_GOLD} characters"
    return one, one.fields[entry.field]


def _given(link: Link, one: Section) -> list[str]:
    """The names in the field `given` that the same section of no other country mentions."""
    field, _ = one.fields.get(str(link.given), ("", 0))
    matches = re.finditer(str(link.given_pattern), field)
    given = dict.fromkeys(match["given"] for match in matches)
    others = [section(code, link.section) for code in names() if code != one.country]
    texts = [other.words for other in others if other is not None]
    return [name for name in given if not any(padded(name) in text for text in texts)]
