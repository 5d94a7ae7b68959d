"""Metrics give the numbers that other projects publish for the same answers.

Where none are published, the numbers are worked out by hand from the published definition, and the
test says so.
"""

from __future__ import annotations

from statistics import mean

import pytest

from needlework.evaluation.citations import citation_f1, citation_precision, citation_recall
from needlework.evaluation.flenqa_scorer import (
    accuracy,
    accuracy_published,
    published_verdict,
    verdict,
)
from needlework.evaluation.metrics import best_subspan_em, exact_match, token_f1
from needlework.text import normalise_answer

# --- SQuAD: token F1 and exact match -----------------------------------------------------------


def _means(pairs: list[tuple[str, list[str]]]) -> tuple[float, float]:
    """Mean exact match and mean F1."""
    return (
        mean(exact_match(prediction, answers) for prediction, answers in pairs),
        mean(token_f1(prediction, answers) for prediction, answers in pairs),
    )


_GOOD_SPAN = ("this is the best span", ["this is a good span", "something irrelevant"])


def test_allennlp() -> None:
    """allenai/allennlp-models, tests/rc/metrics/squad_em_and_f1_test.py.

    MuSiQue's metric (StonyBrookNLP/musique, metrics/answer.py) names this code as its origin.
    """
    assert _means([_GOOD_SPAN]) == (0.0, 0.75)
    another = ("this is another span", ["this is another span", "this one is less perfect"])
    assert _means([_GOOD_SPAN, another]) == (1 / 2, 1.75 / 2)


def test_hugging_face_evaluate() -> None:
    """huggingface/evaluate, metrics/squad/README.md, whose numbers are percentages."""
    assert _means([("1976", ["1976"])]) == (1, 1)
    assert _means([("1999", ["1976"])]) == (0, 0)
    three = [
        ("1976", ["1976"]),
        ("Beyonce", ["Beyoncé and Bruno Mars"]),
        ("climate change", ["climate change"]),
    ]
    assert _means(three) == pytest.approx((0.6666666666666667, 0.6666666666666667))


def test_t5() -> None:
    """google-research/text-to-text-transfer-transformer, t5/evaluation/metrics_test.py."""
    big = [
        ("a big  Moose!", ["big moose", "hippo"]),
        ("wrong", ["correct1"]),
        ("correct2.2", ["correct2.1", "correct2.2"]),
        ("c", ["a", "b"]),
    ]
    assert _means(big) == (0.5, 0.5)
    assert _means([("abd", ["abc abd", "$$$$"])]) == pytest.approx((0, 2 / 3))
    same = "this is a string"
    assert _means([(same, ["", same]), (same, [same, same])]) == (1, 1)
    assert _means([("", [same, same])]) == (0, 0)


def test_t5_normalisation() -> None:
    """The same repository, t5/evaluation/qa_utils_test.py: only ASCII punctuation goes."""
    text = "`Needs\tA_LOT of the 'normalization'.\"‘"
    assert normalise_answer(text) == "needs alot of normalization‘"


# --- MuSiQue: the maximum over the answer and its aliases --------------------------------------


def test_musique_takes_the_best_of_answer_and_aliases() -> None:
    """By hand: metrics/answer.py takes each metric's maximum; its repository has no tests."""
    answer, aliases = "United States of America", ["USA", "United States"]
    assert exact_match("The United States", [answer]) == 0
    assert token_f1("The United States", [answer]) == pytest.approx(2 / 3)  # 2 of 2, 2 of 4 words
    assert exact_match("The United States", [answer, *aliases]) == 1
    assert token_f1("The United States", [answer, *aliases]) == 1
    assert token_f1("U.S.A. and Canada", [answer, *aliases]) == 0.5  # "usa": 1 of 3 and 1 of 1


# --- Lost in the Middle: best subspan exact match ----------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("Wilhelm Conrad Röntgen won the first one.", ["Wilhelm Conrad Röntgen"], 1),
        ("It was won by the Wilhelm conrad röntgen", ["Wilhelm Conrad Röntgen"], 1),
        ("Röntgen", ["Wilhelm Conrad Röntgen"], 0),  # a part of the answer is not the answer
        ("Nobody.\nWilhelm Conrad Röntgen", ["Wilhelm Conrad Röntgen"], 0),  # the first line only
        ("On the 14th of May, 2018", ["May 18, 2018", "14th of May 2018"], 1),
    ],
)
def test_best_subspan_by_hand(prediction: str, answers: list[str], score: float) -> None:
    """By hand: nelson-liu/lost-in-the-middle tests its prompts, not its metrics.

    Definition: src/lost_in_the_middle/metrics.py, and scripts/evaluate_qa_responses.py for the cut
    at the first line end.
    """
    assert best_subspan_em(prediction, answers) == score


# --- SummHay: citations ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bullet", "documents", "precision", "recall"),
    [
        # The forms of real bullets in data/eval_benchmark_data.json; the documents are made up.
        ("inflammation and the need for further investigation. [32][6][91]", "[6][32]", 2 / 3, 1),
        ("symptoms like chest pain and nausea[6][19][32][53][73].", "[6][7][19][90]", 2 / 5, 1 / 2),
        ("specialists are recommended. [81, 20, 10, 22]", "[10][20][22][81]", 1, 1),
        ("doctors discuss environmental factors. [14]", "[71][91]", 0, 0),
        ("treatment options are discussed", "[19]", 0, 0),
    ],
)
def test_citations_by_hand(bullet: str, documents: str, precision: float, recall: float) -> None:
    """By hand, from utils_eval.py of salesforce/summary-of-a-haystack.

    Its repository publishes means over whole haystacks only, and no test.
    """
    assert citation_precision(bullet, [documents]) == pytest.approx(precision)
    assert citation_recall(bullet, [documents]) == pytest.approx(recall)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert citation_f1(bullet, [documents]) == pytest.approx(f1)


# --- FLenQA: accuracy --------------------------------------------------------------------------


def test_flenqa() -> None:
    """The first five responses shown in "FLenQA analysis.ipynb" of alonj/Same-Task-More-Tokens.

    Response, verdict, label, and whether it is right; both scorers agree on such plain replies.
    """
    shown = [
        ("False", "false", "True", 0),
        ("True", "true", "True", 1),
        ("False", "false", "False", 1),
        ("False", "false", "False", 1),
        ("False", "false", "True", 0),
    ]
    for response, category, label, right in shown:
        assert published_verdict(response) == verdict(response) == category
        assert accuracy_published(response, [label]) == accuracy(response, [label]) == right
