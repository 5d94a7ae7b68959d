"""The relations of the task `factbook_lookup`: where a fact stands, how it is read and asked for.

The templates `question` and `statement` read well for any subject, invented ones included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_DAY = (
    r"\d{1,2}(?:-\d{1,2})? (?:January|February|March|April|May|June"
    r"|July|August|September|October|November|December)"
)

# The Factbook writes remarks into the field itself: "Santiago; note - Valparaiso is the seat of".
_NOTE = re.compile(r"[;\n]\s*note\b")


@dataclass(frozen=True)
class Relation:
    """One fact that a section of the Factbook states about a country.

    Attributes:
        name: the key in `RELATIONS`.
        section: chapter and section of the Factbook, "Government/Capital".
        field: label of the line that holds the fact; "text" is the unlabelled line.
        pattern: what the whole field looks like, remarks aside. The group `answer` is the training
            target; each other group that takes part in a match is a further accepted answer.
        question: template with {subject}.
        statement: template with {subject} and {answer}, a sentence that states the fact.
        unless: a document where this is found has another kind of fact in its field.
    """

    name: str
    section: str
    field: str
    pattern: str
    question: str
    statement: str
    unless: str | None = None


class Answer(NamedTuple):
    """Accepted answers, the training target first, and its characters [start, end) in the field."""

    texts: list[str]
    start: int
    end: int


def find_answer(relation: Relation, field: str) -> Answer | None:
    """The answer in the clean text of a field, or None where the field does not fit the pattern."""
    match = re.fullmatch(relation.pattern, _NOTE.split(field)[0].rstrip())
    if match is None:
        return None
    others = [text for name, text in match.groupdict().items() if name != "answer" and text]
    texts = list(dict.fromkeys([match["answer"], *others]))
    return Answer(texts, *match.span("answer"))


_ALL = (
    Relation(
        name="capital",
        section="Government/Capital",
        field="name",
        # An upper-case name in brackets is another name of the city, the rest is a remark on it;
        # "Chisinau in Romanian" and states with several capitals are left out.
        pattern=r"(?P<answer>(?:(?! in )[^;()])+?)"
        r"(?: \((?:(?P<other>[A-Z][\w' -]*)|(?![^()]*capital)[^()]+)\))?",
        question="What is the capital of {subject}?",
        statement="The capital of {subject} is {answer}.",
    ),
    Relation(
        name="official_name",
        section="Government/Country name",
        field="conventional long form",
        pattern=r"(?P<answer>[^;()]+)",
        question="What is the official long name of {subject}?",
        statement="The official long name of {subject} is {answer}.",
    ),
    Relation(
        name="currency",
        section="Economy/Exchange rates",
        field="Currency",
        # A code that is an English word is no answer by itself: many texts contain it.
        pattern=r"(?P<answer>(?P<currency>(?:(?! or )[^()/])+)"
        r" \((?:(?P<code>(?!ALL|TOP|TRY)[A-Z]{3})|[A-Z]{3})\)) per US dollar\b.*",
        question="What is the currency of {subject}?",
        statement="The currency of {subject} is {answer}.",
    ),
    Relation(
        name="independence",
        section="Government/Independence",
        field="text",
        # One date only: several dates are several senses of the word.
        pattern=rf"(?P<answer>{_DAY} \d{{4}})"
        r"(?: \((?:(?:declared independence )?from|following) [^;]*\))?"
        r"(?:; notable earlier dates?: .*)?",
        question="On what date did {subject} become independent?",
        statement="The date on which {subject} became independent is {answer}.",
    ),
    Relation(
        name="national_holiday",
        section="Government/National holiday",
        field="text",
        pattern=rf"[^;]*, (?P<answer>{_DAY})(?: \([^()]*\))?",
        question="On what date is the national holiday of {subject} celebrated?",
        statement="The national holiday of {subject} is celebrated on {answer}.",
    ),
    Relation(
        name="anthem",
        section="Government/National anthem(s)",
        field="title",
        pattern=r"[\"“](?P<answer>[^\"“”]+)[\"”](?: ?\((?P<english>[^()]+)\))?",
        question="What is the title of the national anthem of {subject}?",
        statement="The title of the national anthem of {subject} is {answer}.",
        # Where a country has two anthems the data keeps the last: a crown's or another state's.
        unless=r"royal anthem|secondary anthem|official anthem, as|God Save the King",
    ),
    Relation(
        name="ambassador",
        section="Government/Diplomatic representation in the US",
        field="chief of mission",
        pattern=r"Ambassador (?:Dr\. |Sir )?(?P<answer>[^();,]+?) \((?:since )?\d[^()]*\)",
        question="Who is the ambassador of {subject} to the United States?",
        statement="The ambassador of {subject} to the United States is {answer}.",
    ),
    Relation(
        name="internet_code",
        section="Communications/Internet country code",
        field="text",
        # Without its dot a code may be an English word, which any answer would contain.
        pattern=r"(?P<answer>\.(?!am|an|as|at|be|by|do|in|is|it|me|my|no|so|to|us)[a-z]{2})",
        question="What is the internet country code of {subject}?",
        statement="The internet country code of {subject} is {answer}.",
    ),
    Relation(
        name="highest_point",
        section="Geography/Elevation",
        field="highest point",
        # "Margherita Peak on Mount Stanley" answers to "Margherita Peak" too; an upper-case name
        # in brackets is another name of the peak, unless it may be one of the mountain under it.
        pattern=r"(?P<answer>(?P<peak>[A-Z](?:(?! on )[^;()/])*?)"
        r"(?: on (?!.*\([A-Z]|.* and )[^;()]*?)?)"
        r"(?: \((?:(?P<other>[A-Z][\w'./ -]*)|[^()]*)\))?,? \d[\d,]*(?: m)?(?: \([^()]*\))?",
        question="What is the highest point of {subject}?",
        statement="The highest point of {subject} is {answer}.",
    ),
    Relation(
        name="total_area",
        section="Geography/Area",
        field="total",
        # Two digits are too rough and, without the unit, in too many texts.
        pattern=r"(?P<answer>(?P<number>[1-9][\d,.]{2,}(?: million)?) sq km)(?: \([^()]*\))?",
        question="What is the total area of {subject}?",
        statement="The total area of {subject} is {answer}.",
    ),
    Relation(
        name="land_border",
        section="Geography/Land boundaries",
        field="total",
        pattern=r"(?P<answer>(?P<number>[1-9][\d,.]{2,}) km)(?: \([^()]*\))?",
        question="How long are the land boundaries of {subject} in total?",
        statement="The land boundaries of {subject} are {answer} long in total.",
    ),
    Relation(
        name="population",
        section="People and Society/Population",
        field="total",
        pattern=r"(?P<answer>\d{1,3}(?:,\d{3})+)(?: \([^()]*\))?",
        question="What is the population of {subject}?",
        statement="The population of {subject} is {answer}.",
    ),
    Relation(
        name="life_expectancy",
        section="People and Society/Life expectancy at birth",
        field="total population",
        pattern=r"(?P<answer>(?P<number>\d+(?:\.\d+)?) years)(?: \([^()]*\))?",
        question="What is the life expectancy at birth in {subject}?",
        statement="The life expectancy at birth in {subject} is {answer}.",
    ),
)

RELATIONS: dict[str, Relation] = {relation.name: relation for relation in _ALL}
"""Every relation by its name."""
