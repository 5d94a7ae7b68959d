"""The Factbook's relations: what is read from a field, templates, and a strict data file."""

from __future__ import annotations

from string import Formatter
from typing import Any

import pytest
import yaml

from needlework.corpora.factbook_facts import Found, find_fact, follow
from needlework.corpora.factbook_relations import (
    Attribute,
    Link,
    Relation,
    find_answer,
    find_country,
    find_values,
    load_relations,
    parse_relations,
)
from needlework.corpora.factbook_sections import names, section

RELATIONS = {relation.name: relation for relation in load_relations().relations}
LINKS = {link.name: link for link in load_relations().links}
ATTRIBUTES = {attribute.name: attribute for attribute in load_relations().attributes}


@pytest.mark.parametrize(
    ("relation", "field", "texts"),
    [
        ("capital", "Santiago; note - Valparaiso is the seat", ["Santiago"]),
        ("capital", "Suva (on Viti Levu)", ["Suva"]),
        ("capital", "Gitega (political capital), Bujumbura (commercial capital)", None),
        ("capital", "Chisinau in Romanian (Kishinev in Russian)", None),
        ("highest_point", "K2 (Mt. Godwin-Austen) 8,611 m", ["K2", "Mt. Godwin-Austen"]),
        ("highest_point", "Pik Khan-Tengri 7,010 m\nnote - the northernmost", ["Pik Khan-Tengri"]),
        ("highest_point", "Blue Hill on Providenciales and Flamingo Hill on Caicos 48 m", None),
        ("lowest_point", "Dead Sea -431 m", ["Dead Sea"]),
        ("independence", "3 June 2006 (from X); notable earlier dates: 1852", ["3 June 2006"]),
        ("independence", "24 September 1973 (declared); 10 September 1974 (from X)", None),
        ("national_holiday", "Naadam, 11-15 July; Constitution Day, 26 November (1924)", None),
        ("anthem", "“De Wilhelmus”(The William)", ["De Wilhelmus", "The William"]),
        ("anthem", '"A" [Ndebele] "B" [Shona]', None),
        ("ambassador", "Ambassador Dr. Ana DE LA O (28 January 2016)", ["Ana DE LA O"]),
        ("ambassador", "Ambassador (vacant); Chargé d'Affaires A B (since 1 May 2025)", None),
        ("us_ambassador", "Ambassador-designate A B (since 1 May 2025)", None),
        ("total_area", "1.284 million sq km", ["1.284 million sq km", "1.284 million"]),
        ("total_area", "5 sq km less than", None),
        ("land_border", "0 km", None),
        ("coastline", "2,237 km", ["2,237 km", "2,237"]),
        ("coastline", "0 km (landlocked)", None),
        ("population", "no indigenous inhabitants", None),
        ("life_expectancy", "81 years (2024 est.)", ["81 years", "81"]),
        ("national_symbol", "lion, daisy", None),
        ("national_symbol", "khumo (mythical bird)", ["khumo"]),
        ("aircraft_prefix", "XU", None),
        ("gdp", "$26.588 billion (2024 est.)", ["$26.588 billion"]),
    ],
)
def test_answers_are_read_from_fields(relation: str, field: str, texts: list[str] | None) -> None:
    answer = find_answer(RELATIONS[relation], field)
    assert (answer.texts if answer else None) == texts
    assert answer is None or field[answer.start : answer.end] == answer.texts[0]


@pytest.mark.parametrize(
    ("link", "field", "country"),
    [
        ("longest_border", "Utopia 81 km; Nowhere 1,403 km; Atlantis 9 km", "Nowhere"),
        ("longest_border", "Utopia 81 km; Nowhere 81 km", None),
        ("longest_border", "Utopia (Isle) 8 km and Utopia (Port) 10.5 km; Nowhere 9 km", "Utopia"),
        ("longest_border", "Utopia 9 km; note: Nowhere 900 km", "Utopia"),
        ("export_partner", "Utopia 72%, Nowhere 10%, New Atlantis 2.5% (2023)", "Utopia"),
        ("import_partner", "Utopia 6.4%, Nowhere 26.3% (2023)", "Nowhere"),
        ("import_partner", "Utopia, Nowhere (2021)", None),
        ("independence_from", "3 June 2006 (from the Netherlands)", "Netherlands"),
        ("independence_from", "1 May 1900 (from Utopia); notable earlier dates: 1", "Utopia"),
        ("independence_from", "1 May 1900 (from Utopia; proclaimed)", None),
        ("sovereign", "overseas territory of Utopia; also claimed by Nowhere", "Utopia"),
        ("sovereign", "part of the Kingdom of Utopia; self-governing division", "Utopia"),
        ("former_name", "Holy See (Vatican City)", "Holy See"),
        ("former_name", "The Gambia", "Gambia"),
    ],
)
def test_countries_are_read_from_fields(link: str, field: str, country: str | None) -> None:
    answer = find_country(LINKS[link], field)
    assert (answer.texts[0] if answer else None) == country
    assert answer is None or field[answer.start : answer.end] == country


@pytest.mark.parametrize(
    ("attribute", "field", "values"),
    [
        (
            "official_language",
            "A (official) 68.1%, Bb (official), Cc, Dd 3% (official)",
            ["Bb", "Dd"],
        ),
        ("official_language", "Kiswahili or Swahili (official)", []),
        ("shared_currency", "euros (EUR) per US dollar -", ["euros"]),
        ("government_type", "presidential republic", ["presidential republic"]),
        ("government_type", "monarchy; a realm", []),
        ("legal_tradition", "mixed system of civil law and Islamic law", ["civil", "Islamic"]),
        ("climate", "mostly desert; hot and humid along the coast", ["desert"]),
        ("climate", "varies from tropical to desert", []),
        ("coast", "0 km (doubly landlocked)", []),
        ("coast", "0 km (landlocked)", ["landlocked"]),
        ("membership", "UN, CE (observer), G-77, Arctic Council", ["UN", "G-77", "Arctic Council"]),
        ("natural_resource", "iron ore, gold, none", ["iron ore", "gold"]),
        ("agricultural_product", "milk, maize (2023)", ["milk", "maize"]),
        ("main_export_partner", "USA 20%, Peru 12%, S. Korea 8% (2023)", ["Peru"]),
        ("national_color", "red, white, red", ["red", "white"]),
    ],
)
def test_values_are_read_from_fields(attribute: str, field: str, values: list[str]) -> None:
    found = find_values(ATTRIBUTES[attribute], field)
    assert [answer.texts[0] for answer in found] == values
    assert [field[answer.start : answer.end] for answer in found] == values


def fields_of(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def test_templates_take_any_names() -> None:
    entries: list[Relation | Link | Attribute] = [
        *RELATIONS.values(),
        *LINKS.values(),
        *ATTRIBUTES.values(),
    ]
    assert (len(RELATIONS), len(LINKS), len(ATTRIBUTES)) == (24, 8, 15)
    for entry in entries:
        assert fields_of(entry.question) == ["subject"]
        assert fields_of(entry.statement) == ["subject", "answer"]
        assert entry.question.endswith("?")
        assert entry.statement.endswith(".")
        # A name with a small article ("the Gambia") may not begin a sentence.
        assert not entry.statement.startswith("{")
    assert all(fields_of(link.phrase) == ["subject"] for link in LINKS.values())
    assert all(fields_of(one.citing) == ["answer"] for one in ATTRIBUTES.values())
    assert all(one.citing.startswith("Which documents ") for one in ATTRIBUTES.values())


ENTRY = {
    "name": "capital",
    "section": "Government/Capital",
    "field": "name",
    "pattern": "(?P<answer>.+)",
    "question": "What is the capital of {subject}?",
    "statement": "The capital of {subject} is {answer}.",
}
LINK = {**ENTRY, "name": "twin", "phrase": "the twin of {subject}"}


def file_with(kind: str, entry: dict[str, Any], **more: Any) -> str:
    lists: dict[str, Any] = {"relations": [], "links": [], "attributes": []}
    return str(yaml.safe_dump({"version": 1, **lists, kind: [entry], **more}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: [", "f.yaml: no YAML"),
        (file_with("relations", ENTRY, extra=1), "f.yaml: extra: Extra inputs"),
        (file_with("relations", {**ENTRY, "fild": "x"}), r"relations entry 1 \(capital\)\.fild"),
        (file_with("relations", {**ENTRY, "section": "Capital"}), "'Capital'; expected chapter/"),
        (file_with("relations", {**ENTRY, "pattern": "("}), "pattern is no regular expression"),
        (file_with("relations", {**ENTRY, "pattern": ".+"}), "pattern has no group 'answer'"),
        (file_with("relations", {**ENTRY, "question": "What?"}), r"question has \[\]; expected"),
        (
            file_with("relations", {**ENTRY, "statement": "{subject} has {answer}."}),
            "statement begins with {subject}",
        ),
        (file_with("links", {**LINK, "phrase": "the twin"}), r"phrase has \[\]"),
        (file_with("links", {**LINK, "given": "former"}), "given and given_pattern go together"),
        (file_with("relations", ENTRY, links=[{**LINK, "name": "capital"}]), "capital: more than"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_relations(text, "f.yaml")


def test_the_least_file_is_read() -> None:
    read = parse_relations(file_with("links", LINK), "f.yaml")
    assert [link.name for link in read.links] == ["twin"]


@pytest.mark.parametrize(
    ("country", "relation", "reason"),
    [
        ("sf", "capital", "document longer than 400 characters"),
        ("fr", "independence", "field does not fit the pattern"),  # no official date
        ("mx", "independence", "field does not fit the pattern"),  # two dates
        ("se", "national_holiday", "field does not fit the pattern"),  # two
        ("ca", "anthem", "field holds another kind of fact"),  # the data has the royal one
        ("be", "internet_code", "field does not fit the pattern"),  # "be" is a word
        ("tv", "highest_point", "field does not fit the pattern"),  # an unnamed location
        ("ja", "land_border", "field does not fit the pattern"),  # an island
        ("ag", "total_area", "answer more than once in its document"),  # equals the land area
        ("ay", "population", "field missing"),
        ("ay", "capital", "section missing"),
    ],
)
def test_doubtful_facts_are_not_found(country: str, relation: str, reason: str) -> None:
    assert find_fact(RELATIONS[relation], country) == reason


def test_a_fact_is_in_the_line_of_its_field() -> None:
    for relation in RELATIONS.values():
        found = [find_fact(relation, country) for country in names()]
        assert sum(isinstance(one, Found) for one in found) > 80, relation.name
        for one in found:
            if isinstance(one, Found):
                assert one.section.text[one.start : one.end] == one.answers[0]
                line = one.section.text[: one.start].split("\n")[-1]
                assert relation.field == "text" or line.startswith(f"{relation.field}: ")


@pytest.mark.parametrize(
    ("link", "country", "subjects", "leads_to"),
    [
        ("longest_border", "ci", ["Chile"], "ar"),
        ("export_partner", "lt", ["Lesotho"], "sf"),
        ("sovereign", "gl", ["Greenland"], "da"),
        ("independence_from", "br", ["Brazil"], "po"),
        ("former_name", "gh", ["Gold Coast"], "gh"),
        ("local_name", "gl", ["Kalaallit Nunaat"], "gl"),
        ("long_name", "ez", ["Czech Republic"], "ez"),
    ],
)
def test_a_link_leads_to_a_country(
    link: str, country: str, subjects: list[str], leads_to: str
) -> None:
    found = follow(LINKS[link], country)
    assert not isinstance(found, str)
    assert [one.subject for one in found] == subjects
    assert {one.leads_to for one in found} == {leads_to}
    for one in found:
        assert one.section.text[one.start : one.end] == names()[leads_to] == one.answers[0]


def test_a_name_that_two_countries_had_leads_nowhere() -> None:
    field = [section(code, "Government/Country name") for code in ("uc", "nn")]
    assert all(one and "Netherlands Antilles" in one.fields["former"][0] for one in field)
    found = follow(LINKS["former_name"], "nn")
    assert isinstance(found, str) or all("Antilles" not in one.subject for one in found)
