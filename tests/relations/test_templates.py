"""The lists of relations: recognised in a question, asked and stated, and how many they cover."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.relations.templates import (
    OpenerList,
    Relation,
    RelationList,
    bare,
    load_openers,
    load_relations,
    read_list,
)

NAMES = ["nq", "musique"]
INVENTED = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=4, max_size=4)


def relation(**changed: Any) -> dict[str, Any]:
    fields = {
        "name": "spouse",
        "patterns": ["who is the spouse of {subject}", "{subject} >> spouse"],
        "question": "Who is the spouse of {subject}?",
        "statement": "{answer} is the spouse of {subject}.",
    }
    return fields | changed


def listed(*relations: dict[str, Any]) -> RelationList:
    return RelationList.model_validate({"version": 1, "source": "", "relations": list(relations)})


@pytest.mark.parametrize("name", NAMES)
def test_there_are_many_relations_and_each_has_its_own_name(name: Any) -> None:
    relations = load_relations(name).relations
    assert len({one.name for one in relations}) == len(relations) >= 40


@pytest.mark.parametrize("name", NAMES)
@given(subject=INVENTED, other=INVENTED)
def test_each_question_is_recognised_as_its_own_relation(
    name: Any, subject: str, other: str
) -> None:
    relations = load_relations(name)
    for one in relations.relations:
        asked = one.question.format(subject=subject, other=other)
        found = relations.match(asked)
        assert found is not None, asked
        assert found[0].name == one.name, asked
        wanted = {"subject": subject, "other": other}
        assert found[1] == {key: wanted[key] for key in found[1]}, asked


@pytest.mark.parametrize("name", NAMES)
def test_each_statement_is_one_sentence_that_holds_every_name_once(name: Any) -> None:
    for one in load_relations(name).relations:
        said = one.statement.format(subject="ABCD", answer="WPFN", other="KLMN")
        assert said.endswith(".")
        assert said.count(".") == 1
        assert said.count("ABCD") == said.count("WPFN") == 1, said
        assert said.count("KLMN") == ("{other}" in one.question), said
        assert not set("{}#>") & set(said)


def test_the_statement_of_a_place_of_death_is_that_of_the_paper() -> None:
    found = load_relations("musique").match("ABCD >> place of death")
    assert found is not None
    said = found[0].statement.format(subject="ABCD", answer="WPFN")
    assert said == "WPFN is the place of death of ABCD."


@pytest.mark.parametrize(
    ("question", "name", "groups"),
    [
        ("Green >> performer", "performer", {"subject": "Green"}),
        ("#1 >> located in the administrative territorial entity", "administrative_entity",
         {"subject": "#1"}),
        ("#1 >> country", "country", {"subject": "#1"}),
        ("#1 >> country of citizenship", "citizenship", {"subject": "#1"}),
        ("Who is the spouse of #1 ?", "spouse", {"subject": "#1"}),
        ("What is  #2 's  spouse's name?", "spouse", {"subject": "#2"}),
        ("In which county is #1 located?", "administrative_entity", {"subject": "#1"}),
        ("What is the capital of #1", "capital", {"subject": "#1"}),
        ("when did #2 become the capital of #3", "became_capital_of",
         {"subject": "#2", "other": "#3"}),
        ("When did #1 die?", "date_of_death", {"subject": "#1"}),
        ("who founded #1", "founder", {"subject": "#1"}),
        ("what is the largest lake in #1", "largest", {"subject": "#1", "other": "lake"}),
    ],
)  # fmt: skip
def test_sub_questions_of_musique(question: str, name: str, groups: dict[str, str]) -> None:
    found = load_relations("musique").match(question)
    assert found is not None
    assert (found[0].name, found[1]) == (name, groups)


@pytest.mark.parametrize(
    ("question", "name", "groups"),
    [
        ("who sings the song tall green hills", "singer", {"subject": "tall green hills"}),
        ("who plays the baker in the movie long winter", "actor_of_role",
         {"subject": "the baker", "other": "long winter"}),
        ("when did the long winter come out", "release", {"subject": "long winter"}),
        ("where was the movie long winter filmed", "filming_location", {"subject": "long winter"}),
        ("who wrote the book a long winter", "writer", {"subject": "a long winter"}),
        ("how many episodes are there in long winter", "episodes", {"subject": "long winter"}),
        ("how many counties are there in freedonia", "number_of",
         {"subject": "freedonia", "other": "counties"}),
        ("what is the capital city of freedonia", "capital", {"subject": "freedonia"}),
        ("when was the last time freedonia won the world cup", "last_time",
         {"subject": "freedonia", "other": "world cup"}),
    ],
)  # fmt: skip
def test_questions_of_natural_questions(question: str, name: str, groups: dict[str, str]) -> None:
    found = load_relations("nq").match(question)
    assert found is not None
    assert (found[0].name, found[1]) == (name, groups)


@pytest.mark.parametrize("question", ["", "#1 one last time guy in video", "why did #1 leave"])
def test_what_no_relation_fits_is_not_matched(question: str) -> None:
    assert load_relations("musique").match(question) is None


def test_the_first_relation_that_fits_counts_and_the_whole_question_has_to_fit() -> None:
    anything = relation(name="anything", patterns=["who {subject}"])
    relations = listed(relation(), anything)
    for question, name in [
        ("WHO is the  Spouse of Ann ?", "spouse"),
        ("Ann >> spouse", "spouse"),
        ("who is the head of Ann", "anything"),
    ]:
        found = relations.match(question)
        assert found is not None
        assert found[0].name == name
    assert relations.match("Now who is the spouse of Ann") is None
    assert listed(anything, relation()).match("who is the spouse of Ann")[0].name == "anything"  # type: ignore[index]


def test_a_bare_question_has_single_spaces_and_no_question_mark() -> None:
    assert bare(" What was  #1 's\tage , in St. Ives ? ") == "What was #1's age, in St. Ives"


def test_coverage_counts_every_question() -> None:
    relations = listed(relation(), relation(name="father", patterns=["{subject} >> father"]))
    asked = ["A >> spouse", "B >> spouse", "C >> father", "D >> mother"]
    assert relations.coverage(asked) == {
        "total": 4,
        "matched": 3,
        "relations": {"spouse": 2, "father": 1},
    }
    assert relations.coverage([]) == {"total": 0, "matched": 0, "relations": {}}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"patterns": ["who is the (spouse of {subject}"]}, "is no regular expression"),
        ({"patterns": ["who is the spouse"]}, "has the groups none; expected subject"),
        ({"patterns": ["{subject} or {other}"]}, "has the groups subject, other"),
        ({"patterns": []}, "patterns is empty"),
        ({"question": "Who is the spouse?"}, "question has none; expected subject"),
        ({"statement": "{answer} is married."}, "statement has answer; expected subject, answer"),
        ({"statement": "{answer}, {subject}, {other}"}, "statement has subject, other, answer"),
        ({"pattern": "x"}, "Extra inputs are not permitted"),
        ({"question": None}, "valid string"),
    ],
)
def test_a_broken_relation_is_an_error_with_file_name_and_reason(
    changed: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    content = {
        "version": 1,
        "source": "ours",
        "relations": [relation(name="x"), relation(**changed)],
    }
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    with pytest.raises(ValueError, match=r"mine\.yaml") as error:
        read_list(path, RelationList)
    assert reason in str(error.value)
    assert "relations entry 2 (spouse)" in str(error.value)


def test_other_broken_files_are_errors_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for content, reason in [
        ("version: [", "no YAML"),
        ("- 1", "valid dictionary"),
        ("version: 1\nsource: ''\n", "relations: Field required"),
        (json.dumps({"version": 1, "source": "", "relations": [relation(), relation()]}),
         "spouse: more than one entry has this name"),
    ]:  # fmt: skip
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=r"mine\.yaml") as error:
            read_list(path, RelationList)
        assert reason in str(error.value)


def test_openers_state_the_insight_as_it_is() -> None:
    openers = load_openers()
    insight = "The price rose to 5 {units}."
    said = {one.name: one.statement.format(insight=insight) for one in openers.openers}
    assert len(said) == len(set(said.values())) >= 9
    assert insight in said.values()
    for sentence in said.values():
        assert sentence.endswith(insight)
        assert sentence == insight or sentence.removesuffix(insight).endswith(": ")


def test_an_opener_without_its_insight_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        'version: 1\nsource: ""\nopeners: [{name: a, statement: "In {other}: {insight}"}]\n',
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"openers entry 1 \(a\).*expected insight"):
        read_list(path, OpenerList)


def test_lists_are_read_once() -> None:
    assert load_relations("nq") is load_relations("nq")
    assert isinstance(load_relations("nq").relations[0], Relation)


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("file", "share", "whole"),
    [
        ("musique_ans_train_official100", 0.75, 0.55),
        ("musique_dev_recon_exact834", 0.70, 0.42),
        ("musique_ans_dev_official200", 0.65, 0.45),
    ],
)
def test_coverage_of_musique(file: str, share: float, whole: float, shared_data: Path) -> None:
    relations = load_relations("musique")
    chains = [
        [hop["question"] for hop in row["question_decomposition"]]
        for row in rows(shared_data / "musique" / f"{file}.jsonl.gz")
    ]
    found = relations.coverage({question for chain in chains for question in chain})
    assert found["matched"] == sum(found["relations"].values())
    assert found["matched"] / found["total"] > share
    covered = sum(all(relations.match(question) for question in chain) for chain in chains)
    assert covered / len(chains) > whole


def test_coverage_of_natural_questions(shared_data: Path) -> None:
    asked = [row["question"] for row in rows(shared_data / "mdqa" / "nq-open-oracle.jsonl.gz")]
    seen, unseen = (load_relations("nq").coverage(part) for part in (asked[:1000], asked[1000:]))
    # The templates were written with the first thousand in view; the rest says how they do.
    assert seen["matched"] / seen["total"] > 0.6
    assert unseen["matched"] / unseen["total"] > 0.5
