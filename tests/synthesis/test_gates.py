"""Each reason for refusing a rewrite, by example, and what a rewrite that passes must hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from needlework.corpora.factbook import Corpus
from needlework.synthesis.concepts import Fact, facts_of
from needlework.synthesis.gates import answer_start, first_sentence, refusal
from needlework.text import contains_answer


def _fact(subject: str = "Peru", answer: str = "Lima", relation: str = "capital") -> Fact:
    return Fact(
        hop=1,
        relation=relation,
        subject=subject,
        answer=answer,
        question=f"What is the {relation} of {{subject}}?",
        statement=f"The {relation} of {{subject}} is {{answer}}.",
    )


_INDEPENDENCE = Fact(
    hop=1,
    relation="independence",
    subject="Elbonia",
    answer="3 May 1951",
    question="On what date did {subject} become independent?",
    statement="The date on which {subject} became independent is {answer}.",
)
_PEOPLE = _fact(answer="12,345,678", relation="population")
_BORDER = _fact(answer="285 km", relation="land border")
_MALDIVES = _fact("the Maldives", "Male")
_POINT = _fact("the Cocos Islands", "South Point", "highest point")


@pytest.mark.parametrize(
    ("sentence", "fact"),
    [
        ("Lima serves as the capital of Peru.", _fact()),
        ("In Peru, the capital is Lima", _fact()),
        ('The capital city ("Lima") of Peru is large.', _fact()),
        ("Peru: its capital, Lima, lies on the coast.", _fact()),
        ("It was on 3 May 1951 that Elbonia gained its independence.", _INDEPENDENCE),
        ("The population of Peru stands at 12,345,678, no less.", _PEOPLE),
        ("In the Maldives, the capital is Male.", _MALDIVES),
        ("Maldives has Male as its capital.", _MALDIVES),
        ("Websites of Peru end in .pe, its code.", _fact(answer=".pe", relation="internet code")),
        ("South Point is the highest place in the Cocos Islands.", _POINT),
    ],
)
def test_a_rewrite_of_the_fact_passes(sentence: str, fact: Fact) -> None:
    assert refusal(sentence, fact) is None


@pytest.mark.parametrize(
    ("reason", "sentence", "fact"),
    [
        ("empty", "", _fact()),
        ("lost the answer", "Peru has a capital on the coast.", _fact()),
        ("lost the answer", "The capital of Peru is LIMA today.", _fact()),
        ("lost the answer", "The capital of Peru has a mild climate.", _fact("Peru", "lima")),
        ("lost the answer", "The capital of Peru is Limassol now.", _fact()),
        ("lost the answer", "The capital of Peru is Lima-Callao now.", _fact()),
        ("lost the answer", "Elbonia is independent since 13 May 1951.", _INDEPENDENCE),
        ("lost the answer", "Elbonia is independent since May 3, 1951.", _INDEPENDENCE),
        ("lost the answer", "The population of Peru is 12,345,678,901 now.", _PEOPLE),
        ("lost the answer", "The population of Peru is 12,345,678.5 now.", _PEOPLE),
        ("lost the answer", "The population of Peru is 112,345,678 now.", _PEOPLE),
        ("lost the answer", "The land border of Peru has 1,285 km now.", _BORDER),
        ("lost the answer", "The Maldives capital is Malé.", _MALDIVES),
        ("lost the subject", "The capital is Lima.", _fact()),
        ("lost the subject", "The capital of Peruvia is Lima.", _fact()),
        ("lost the relation", "Lima is in Peru.", _fact()),
        ("lost the relation", "What is Lima? Which is from Peru.", _fact()),
        ("lost the relation", "Elbonia: 3 May 1951, a date.", _INDEPENDENCE),
        # The words of the answer do not tell what it is the answer to.
        ("lost the relation", "South Point is in the Cocos Islands.", _POINT),
        ("copied the statement", "The capital of Peru is Lima.", _fact()),
        ("copied the statement", "the capital of Peru is: Lima", _fact()),
        ("too long", "The capital of Peru is Lima, " + "and it is large, " * 6, _fact()),
    ],
)
def test_every_reason_for_a_refusal(reason: str, sentence: str, fact: Fact) -> None:
    assert refusal(sentence, fact) == reason


def test_four_times_the_statement_is_not_too_long() -> None:
    sentence = "In Peru, Lima is the capital" + "!" * 84
    assert len(sentence) == 4 * len(_fact().state())
    assert refusal(sentence, _fact()) is None
    assert refusal(sentence + "!", _fact()) == "too long"


def test_no_real_fact_is_so_worded_that_nothing_passes(corpus: Corpus) -> None:
    for real in [*corpus.train, *corpus.validation, *corpus.test]:
        (fact,) = facts_of(real)
        assert refusal(fact.state(), fact) == "copied the statement"
        assert refusal(f"It is known that {fact.state()}", fact) is None


_FACTS = st.sampled_from([_fact(), _INDEPENDENCE, _PEOPLE, _BORDER, _MALDIVES, _POINT])
_PIECES = st.sampled_from(
    ["{subject}", "{answer}", " is ", "capital", "independ", "population ", "land border",
     "highest", " ", ", ", ".", "-", "1", "x", "the ", "\N{RIGHT SINGLE QUOTATION MARK}s "]
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(_FACTS, st.lists(_PIECES, max_size=10) | st.lists(st.text(max_size=4), max_size=4))
@example(_MALDIVES, ["Maledives: the {subject} capital is ", "{answer}"])
def test_what_passes_holds_answer_and_subject_and_is_no_copy(fact: Fact, pieces: list[str]) -> None:
    sentence = "".join(pieces)
    sentence = sentence.replace("{subject}", fact.subject).replace("{answer}", fact.answer)
    if refusal(sentence, fact) is None:
        start = answer_start(sentence, fact.answer)
        assert start is not None
        assert sentence[start:].startswith(fact.answer)
        assert not sentence[start - 1 : start].isalnum()
        assert not sentence[start + len(fact.answer) :][:1].isalnum()
        assert contains_answer(sentence, fact.subject)
        assert sentence != fact.state()
        assert len(sentence) <= 4 * len(fact.state())


@pytest.mark.parametrize(
    ("sentence", "answer", "start"),
    [
        ("Lima", "Lima", 0),
        ("The Maledives have Male.", "Male", 19),
        ("1,285 km, of which 285 km", "285 km", 19),
        ("(Lima)", "Lima", 1),
        ("Lima.", "Lima", 0),
        ("Lima, Peru", "Lima", 0),
        ("Limassol", "Lima", None),
        ("a.b and a+b", "a+b", 8),  # letters, not a pattern
        ("3 May 1951-5", "3 May 1951", None),
        ("", "Lima", None),
    ],
)
def test_where_an_answer_stands(sentence: str, answer: str, start: int | None) -> None:
    assert answer_start(sentence, answer) == start


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ("Lima is the capital.", "Lima is the capital."),
        ("\n\n  Lima is the capital.  \nIt is large.", "Lima is the capital."),
        ("Here is the sentence:\n\nLima is the capital.", "Lima is the capital."),
        ('"Lima is the capital."', "Lima is the capital."),
        ("**Lima is the capital.**", "Lima is the capital."),
        ("Rewritten sentence: Lima is the capital.\n\nMore", "Lima is the capital."),
        ("REWRITE: Lima is the capital.", "Lima is the capital."),
        ("", ""),
        (" \n \n", ""),
        ("Sure:", ""),
    ],
)
def test_the_first_sentence_of_a_reply(reply: str, sentence: str) -> None:
    assert first_sentence(reply) == sentence


@settings(deadline=None)
@given(st.text())
def test_a_first_sentence_is_one_line_of_the_reply(reply: str) -> None:
    sentence = first_sentence(reply)
    assert sentence in reply
    assert len(sentence.splitlines()) <= 1
    assert sentence == sentence.strip()
    assert not re.match(r"[\"*]", sentence)


@pytest.mark.parametrize("sentence", ["Peru's capital is Lima.", "Peru’s own capital is Lima."])
def test_a_possessive_still_names_the_subject(sentence: str) -> None:
    assert refusal(sentence, _fact()) is None
