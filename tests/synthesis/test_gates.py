"""Each reason for refusing a rewrite, by example, and what a rewrite that passes must hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from needlework.corpora.corpus import Corpus
from needlework.examples import Example, Fact
from needlework.relations.templates import load_openers
from needlework.synthesis.building import answer_elsewhere
from needlework.synthesis.gates import answer_start, first_sentence, refusal
from needlework.text import contains_answer
from tests.synthesis import by_hand
from tests.synthesis.by_hand import INSIGHT_TEXT, SHAPES, all_shapes, fact

_CAPITAL = fact("capital", "Peru", "Lima")
_INDEPENDENCE = fact(
    "independence", "Elbonia", "3 May 1951", asked="On what date did {subject} become independent?",
    statement="The date on which {subject} became independent is {answer}.",
)  # fmt: skip
_PEOPLE = fact("population", "Peru", "12,345,678")
_BORDER = fact("land border", "Peru", "285 km")
_MALDIVES = fact("capital", "the Maldives", "Male")
_POINT = fact("highest point", "the Cocos Islands", "South Point")
_CODE = fact("internet code", "Peru", ".pe")
_VISIT = by_hand.tree().facts[2]
_UNSTATED = fact("found", "Acme", "Ann Lee", asked="Who founded {subject}?", statement=None)
_INSIGHT = by_hand.citing_insight().facts[0]


@pytest.mark.parametrize(
    ("sentence", "one"),
    [
        ("Lima serves as the capital of Peru.", _CAPITAL),
        ("In Peru, the capital is Lima", _CAPITAL),
        ('The capital city ("Lima") of Peru is large.', _CAPITAL),
        ("Peru's capital is Lima.", _CAPITAL),
        ("Peru’s own capital is Lima.", _CAPITAL),
        ("It was on 3 May 1951 that Elbonia gained its independence.", _INDEPENDENCE),
        ("The population of Peru stands at 12,345,678, no less.", _PEOPLE),
        ("In the Maldives, the capital is Male.", _MALDIVES),
        ("Maldives has Male as its capital.", _MALDIVES),
        ("Websites of Peru end in .pe, its code.", _CODE),
        ("South Point is the highest place in the Cocos Islands.", _POINT),
        ("In 1951, Ann Lee went on a visit to Ghent.", _VISIT),
        ("Its founder was Ann Lee, the story goes.", _UNSTATED),  # no template names the subject
        ("Because bridges were closed for repairs, 12,400 more people were carried by ferry.",
         _INSIGHT),
        ("In May, ferries carried 12,400 more people.", _INSIGHT),
    ],
)  # fmt: skip
def test_a_rewrite_of_the_fact_passes(sentence: str, one: Fact) -> None:
    assert refusal(sentence, one) is None


@pytest.mark.parametrize(
    ("reason", "sentence", "one"),
    [
        ("empty", "", _CAPITAL),
        ("lost the answer", "Peru has a capital on the coast.", _CAPITAL),
        ("lost the answer", "The capital of Peru is LIMA today.", _CAPITAL),
        ("lost the answer", "The capital of Peru is Limassol now.", _CAPITAL),
        ("lost the answer", "The capital of Peru is Lima-Callao now.", _CAPITAL),
        ("lost the answer", "Elbonia is independent since 13 May 1951.", _INDEPENDENCE),
        ("lost the answer", "Elbonia is independent since May 3, 1951.", _INDEPENDENCE),
        ("lost the answer", "The population of Peru is 12,345,678,901 now.", _PEOPLE),
        ("lost the answer", "The population of Peru is 12,345,678.5 now.", _PEOPLE),
        ("lost the answer", "The population of Peru is 112,345,678 now.", _PEOPLE),
        ("lost the answer", "The land border of Peru has 1,285 km now.", _BORDER),
        ("lost the answer", "The Maldives capital is Malé.", _MALDIVES),
        ("lost the answer", "Ann founded Acme.", _UNSTATED),
        ("lost the subject", "The capital is Lima.", _CAPITAL),
        ("lost the subject", "The capital of Peruvia is Lima.", _CAPITAL),
        ("lost the subject", "A visit to Ghent in 1951 was paid by Ann.", _VISIT),
        ("lost the other entity", "In 1951, Ann Lee went on a visit to Bruges.", _VISIT),
        ("lost the relation", "Lima is in Peru.", _CAPITAL),
        ("lost the relation", "What is Lima? Which is from Peru.", _CAPITAL),
        ("lost the relation", "Elbonia: 3 May 1951, a date.", _INDEPENDENCE),
        ("lost the relation", "Ann Lee and Ghent and 1951.", _VISIT),
        ("lost the relation", "Ann Lee is the answer, of Acme.", _UNSTATED),
        # The words of the answer do not tell what it is the answer to.
        ("lost the relation", "South Point is in the Cocos Islands.", _POINT),
        ("copied the statement", "The capital of Peru is Lima.", _CAPITAL),
        ("copied the statement", "the capital of Peru is: Lima", _CAPITAL),
        ("copied the statement", INSIGHT_TEXT.upper(), _INSIGHT),
        ("too long", "The capital of Peru is Lima, " + "and it is large, " * 6, _CAPITAL),
        ("too long", f"Well: {INSIGHT_TEXT} " + "And so on. " * 40, _INSIGHT),
        ("lost the insight", "Ferries carried more people in May.", _INSIGHT),
        ("lost the insight", INSIGHT_TEXT.replace("12,400", "12,401"), _INSIGHT),
        ("lost the insight", INSIGHT_TEXT.replace("12,400", "12,400.5"), _INSIGHT),
        ("lost the insight", INSIGHT_TEXT.replace("12,400 ", ""), _INSIGHT),
        ("lost the insight", "There were 12,400 and ferries.", _INSIGHT),
    ],
)
def test_every_reason_for_a_refusal(reason: str, sentence: str, one: Fact) -> None:
    assert refusal(sentence, one) == reason


def test_four_times_the_statement_is_not_too_long() -> None:
    sentence = "In Peru, Lima is the capital" + "!" * 84
    assert len(sentence) == 4 * len(_CAPITAL.state())
    assert refusal(sentence, _CAPITAL) is None
    assert refusal(sentence + "!", _CAPITAL) == "too long"


def test_an_insight_keeps_half_of_its_longer_words() -> None:
    one = _INSIGHT.model_copy(update={"answer": "alpha bravo charlie delta of it"})
    assert refusal("alpha and bravo", one) is None
    assert refusal("alpha and nothing more", one) == "lost the insight"


def test_the_mark_after_a_number_is_no_part_of_it() -> None:
    one = _INSIGHT.model_copy(update={"answer": "Prices rose by 4.5%, then fell in 2020."})
    assert refusal("In 2020, prices fell; they rose by 4.5 %.", one) is None
    assert refusal("In 2021, prices fell; they rose by 4.5 %.", one) == "lost the insight"
    assert refusal("In 2020, prices fell; they rose by 5 %.", one) == "lost the insight"


def test_words_of_question_and_statement_count_apart() -> None:
    one = fact("birth", "Ann", "1951", asked="When was {subject} born?",
               statement="On record for {subject} is {answer}.")  # fmt: skip
    assert refusal("Ann was born in 1951.", one) is None


def test_no_real_fact_is_so_worded_that_nothing_passes(corpus: Corpus) -> None:
    for real in [*corpus.train, *corpus.validation, *corpus.test]:
        (one,) = real.facts
        assert refusal(one.state(), one) == "copied the statement"
        assert refusal(f"It is known that {one.state()}", one) is None


def test_every_opener_of_an_insight_keeps_it() -> None:
    for opener in load_openers().openers:
        said = opener.statement.format(insight=INSIGHT_TEXT)
        assert refusal(said, _INSIGHT) in {None, "copied the statement"}


_FACTS = st.sampled_from([_CAPITAL, _INDEPENDENCE, _PEOPLE, _BORDER, _MALDIVES, _POINT, _VISIT])
_PIECES = st.sampled_from(
    ["{subject}", "{answer}", "{other}", " is ", "capital", "independ", "population ", "visit",
     "land border", "highest", " ", ", ", ".", "-", "1", "x", "the ", "’s "]
)  # fmt: skip


@given(_FACTS, st.lists(_PIECES, max_size=10) | st.lists(st.text(max_size=4), max_size=4))
@example(_MALDIVES, ["Maledives: the {subject} capital is ", "{answer}"])
@example(_VISIT, ["{subject}", " visit ", "{other}", " ", "{answer}"])
def test_what_passes_holds_its_entities_and_is_no_copy(one: Fact, pieces: list[str]) -> None:
    sentence = "".join(pieces).replace("{other}", one.other or "")
    sentence = sentence.replace("{subject}", one.subject).replace("{answer}", one.answer)
    if refusal(sentence, one) is None:
        start = answer_start(sentence, one.answer)
        assert start is not None
        assert sentence[start:].startswith(one.answer)
        assert not sentence[start - 1 : start].isalnum()
        assert not sentence[start + len(one.answer) :][:1].isalnum()
        for entity in filter(None, (one.subject, one.other)):
            assert contains_answer(sentence.replace("’s", " "), entity)
        assert sentence != one.state()
        assert len(sentence) <= 4 * len(one.state())


@pytest.mark.parametrize(
    ("sentence", "answer", "start"),
    [
        ("Lima", "Lima", 0),
        ("The Maledives have Male.", "Male", 19),
        ("1,285 km, of which 285 km", "285 km", 19),
        ("(Lima)", "Lima", 1),
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


@given(st.text())
def test_a_first_sentence_is_one_line_of_the_reply(reply: str) -> None:
    sentence = first_sentence(reply)
    assert sentence in reply
    assert len(sentence.splitlines()) <= 1
    assert sentence == sentence.strip()
    assert not re.match(r"[\"*]", sentence)


@pytest.mark.parametrize("name", SHAPES)
def test_the_answer_of_an_example_by_hand_stands_in_its_needle_alone(name: str) -> None:
    assert answer_elsewhere(all_shapes()[name]) is None


def _with(one: Example, place: int, **update: str) -> Example:
    documents = [
        d.model_copy(update=update) if i == place else d for i, d in enumerate(one.documents)
    ]
    return one.model_copy(update={"documents": documents})


def test_an_answer_outside_its_needle_is_refused() -> None:
    one, two = by_hand.one_hop(), by_hand.linear(2)
    again = "the answer stands outside its needle too"
    text = one.documents[0].text
    assert answer_elsewhere(_with(one, 0, text=f"{text} LIMA!")) == again
    start = one.needles[0].start + 6
    before = one.needles[0].model_copy(update={"start": start, "end": start + 4})
    early = _with(one, 0, text=f"Lima: {text}").model_copy(update={"needles": [before]})
    assert answer_elsewhere(early) == again
    assert answer_elsewhere(_with(one, 0, title="On Lima")) == again
    asked = one.model_copy(update={"question": "Of what is Lima the capital?"})
    assert answer_elsewhere(asked) == "the question holds the answer"
    bridge = [document.id for document in two.documents].index("hop-of-1")
    assert answer_elsewhere(_with(two, bridge, text="It names Netherlands, Belgium.")) == again
    assert answer_elsewhere(_with(two, bridge, title="Belgium and others")) == again


def test_what_is_no_word_of_the_text_is_not_refused() -> None:
    one = by_hand.one_hop()
    assert answer_elsewhere(_with(one, 0, text=f"{one.documents[0].text} Limassol.")) is None
    assert answer_elsewhere(_with(one, 0, title="Climate")) is None
    # Words on both sides of the needle are not read as if it were not there.
    text = "New Lima York"
    needle = one.needles[0].model_copy(update={"start": 4, "end": 8})
    apart = _with(one, 0, text=text).model_copy(update={"needles": [needle]})
    assert answer_elsewhere(apart.model_copy(update={"answers": ["Lima", "New York"]})) is None
    citing = by_hand.citing_facts()
    assert answer_elsewhere(_with(citing, 0, text="[1][4][6] Spanish")) is None
