"""What each hop of a question of MuSiQue states: its relation, subject and answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from needlework.corpora.musique_rows import Hop, Row, references
from needlework.corpora.natural_questions import find_answer
from needlework.examples import Fact
from needlework.relations.templates import Relation, bare, load_relations

_REFERENCE = re.compile(r"#(\d)(?!\d)")
_REMARK = re.compile(r"\s*\([^()]*\)$")


def facts_of(row: Row) -> list[Fact]:
    """One fact per hop, in order.

    The subject is the answer of an earlier hop where the sub-question refers to one; words around
    the reference ("the capital of #1") go into the templates. A sub-question that no relation
    fits has no statement; its relation is the name after ">>", else "unknown"; its subject and
    other entity are the first references, or its subject is the title of the gold paragraph.
    """
    answers = [hop.answer for hop in row.question_decomposition]
    return [
        _fact(number, hop, answers[: number - 1], _REMARK.sub("", row.gold(hop).title))
        for number, hop in enumerate(row.question_decomposition, start=1)
    ]


def _fact(number: int, hop: Hop, answers: Sequence[str], title: str) -> Fact:
    question = bare(hop.question)
    found = load_relations("musique").find(hop.question)
    if found is not None:
        relation: Relation | None = found[0]
        spans = {name: found[1].span(name) for name in found[1].groupdict()}
    else:
        relation = None
        spans = _mentions(question, number, title)
    texts = {name: question[start:end] for name, (start, end) in spans.items()}
    slots = _slots(texts, number)
    phrases = {
        name: _template(text, slots, answers) if references(text, number) else f"{{{name}}}"
        for name, text in texts.items()
    }
    asked = []
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        asked += [_template(question[end : span[0]], slots, answers), phrases[name]]
        end = span[1]
    asked.append(_template(question[end:], slots, answers))
    mark = "?" if hop.question.rstrip().endswith("?") else ""
    hops = {name: earlier for earlier, name in slots.items()}
    values = {name: answers[earlier - 1] for name, earlier in hops.items()}
    for name, text in texts.items():
        if not references(text, number):
            values[name] = text
    return Fact(
        hop=number,
        relation=relation.name if relation else _label(question),
        subject=values.get("subject", title),
        answer=hop.answer,
        question="".join(asked) + mark,
        statement=relation.statement.format(answer="{answer}", **phrases) if relation else None,
        subject_hop=hops.get("subject"),
        other=values.get("other"),
        other_hop=hops.get("other"),
    )


def _mentions(question: str, number: int, title: str) -> dict[str, tuple[int, int]]:
    """The first two references as subject and other, else the paragraph's title, where named."""
    found: dict[str, tuple[int, int]] = {}
    for match in _REFERENCE.finditer(question):
        if references(match[0], number):
            found.setdefault(match[0], match.span())
    if found:
        return dict(zip(("subject", "other"), found.values(), strict=False))
    named = find_answer(question, [title])
    return {"subject": (named.start, named.end)} if named else {}


def _slots(texts: dict[str, str], number: int) -> dict[int, str]:
    """Which earlier hop's answer is the subject, and which one the other entity."""
    subjects = references(texts.get("subject", ""), number)
    slots = {subjects[0]: "subject"} if subjects else {}
    rest = references(texts["other"], number) if "other" in texts else subjects[1:]
    if rest and rest[0] not in slots:
        slots[rest[0]] = "other"
    return slots


def _template(text: str, slots: dict[int, str], answers: Sequence[str]) -> str:
    """A piece of a sub-question as a template: references become slots, or the answers."""

    def put(match: re.Match[str]) -> str:
        number = int(match[1])
        if number in slots:
            return f"{{{slots[number]}}}"
        return _escaped(answers[number - 1]) if 0 < number <= len(answers) else match[0]

    return _REFERENCE.sub(put, _escaped(text))


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _label(question: str) -> str:
    return question.rpartition(">>")[2].strip() if ">>" in question else "unknown"
