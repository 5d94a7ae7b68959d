"""What a model's heads saw of a probe: which rows, which places, and which answers are right.

The references are whole maps of eager attention, and texts searched for in the tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from needlework.evaluation.metrics import judge
from needlework.examples import Example
from needlework.heads.probe import ROLES, Observed, Probe, observe
from needlework.heads.scores import score_heads
from needlework.rendering.prompt import render
from needlework.rendering.styles import style_of
from tests.heads.probing import (
    LENGTH,
    NEW,
    SMALL,
    copying,
    example,
    examples,
    found,
    maps,
    saying,
)
from tests.rendering.joining import joining_lines

PROBE = Probe(LENGTH, NEW)


def observed(
    model: Any, tokenizer: Any, given: Sequence[Example], correct: Any = None, **options: Any
) -> list[Observed]:
    shown = [render(each, tokenizer, options.get("length", LENGTH)) for each in given]
    probe = dataclasses.replace(PROBE, **options)
    return observe(model, tokenizer, shown, probe, correct or judge("jsonl"))


# --- Mass ----------------------------------------------------------------------------------------


def cited() -> Example:
    """Its answer names documents by number: the numbers are needles too."""
    return example(
        "cited",
        ["Of oats & rye only.", "Tin is mined at Potosi, too.", "Rail lines turn east in Oruro."],
        [(1, "insight", "mined at Potosi")],
        answer="[2][3]",
        cites=["1", "2"],
        style="citation",
    )


def question_first() -> Example:
    """Its question stands before the documents too: another question moves them."""
    return example(
        "question first",
        ["All in Lima: trams, ports, a mill."],
        [(0, "answer", "in Lima: trams, ports")],
        question="Is Lima in a mill, true or not?",
        style="flenqa-monorel",
    )


def places(shown: Example, role: str, span: str, tokens: list[int], tokenizer: Any) -> list[int]:
    """The positions of all needles of a role, or of their whole documents."""
    texts = {document.id: document.text for document in shown.documents}
    inside: set[int] = set()
    for needle in shown.needles:
        if needle.role == role:
            text = shown.needle_text(needle) if span == "needle" else texts[needle.document]
            inside |= found(tokens, text, tokenizer)
    for number, document in enumerate(shown.documents, start=1):
        if role == "answer" and document.id in shown.cites:
            inside.add(max(found(tokens, f"Document [{number}", tokenizer)))
            inside |= found(tokens, document.text, tokenizer) if span == "document" else set()
    return sorted(inside)


def mass(model: Any, tokens: list[int], rows: range, inside: list[int]) -> NDArray[np.float64]:
    """The mean over rows of the attention on some positions, (layers, H)."""
    whole = maps(model, tokens)[:, :, rows.start : rows.stop, inside]
    return np.asarray(whole.double().sum(-1).mean(-1))


def expected_mass(
    model: Any, shown: Example, answer: list[int], role: str, probe: Probe, tokenizer: Any
) -> NDArray[np.float64]:
    prompt = render(shown, tokenizer, LENGTH).prompt
    inside = places(shown, role, probe.mass_span, prompt, tokenizer)
    if probe.mass_rows == "answer":
        rows = range(len(prompt) - 1, len(prompt) - 1 + len(answer))
        return mass(model, prompt + answer[:-1], rows, inside)
    after = style_of(shown).after
    asked = min(found(prompt, after.format(question=shown.question), tokenizer))
    scores = mass(model, prompt, range(asked, len(prompt)), inside)
    if not probe.null_question:
        return scores
    null = tokenizer(tokenizer.decode(prompt).replace(shown.question, "N/A"))["input_ids"]
    inside = places(shown, role, probe.mass_span, null, tokenizer)
    asked = min(found(null, after.format(question="N/A"), tokenizer))
    return scores - mass(model, null, range(asked, len(null)), inside)


@pytest.mark.parametrize("answers", ["own", "gold"])
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {"mass_span": "document"}),
        ("llama", {"mass_rows": "question"}),
        ("llama", {"mass_rows": "question", "null_question": True}),
        ("llama", {"mass_rows": "question", "mass_span": "document", "null_question": True}),
        ("mistral", {"mass_rows": "question", "mass_span": "document", "null_question": True}),
        ("llama-adapter", {"mass_rows": "question", "null_question": True}),
    ],
)
def test_mass_is_that_of_whole_maps(
    family: str, options: dict[str, Any], answers: Any, tokenizer: Any
) -> None:
    model, given = copying(family, tokenizer), [*examples(), cited(), question_first()]
    probe = dataclasses.replace(PROBE, answers=answers, batch=3, **options)
    scores = score_heads(model, tokenizer, given, probe, correct=judge("jsonl"), metadata={})
    plain = dataclasses.replace(PROBE, answers=answers, batch=3)
    usual = score_heads(model, tokenizer, given, plain, correct=judge("jsonl"), metadata={})
    tokens = [each.tokens for each in observed(model, tokenizer, given, answers=answers)]
    compared = 0
    for index, (shown, answer) in enumerate(zip(given, tokens, strict=True)):
        roles = {needle.role for needle in shown.needles} | {"answer"}
        for role in roles:
            wanted = expected_mass(model, shown, answer, role, probe, tokenizer)
            found = scores.measures[f"mass/{role}"][index]
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5, err_msg=f"{shown.id}")
            compared += (np.abs(found - usual.measures[f"mass/{role}"][index]) > 1e-4).sum()
    assert compared > 100  # the options make a difference
    for name in usual.measures:  # to mass alone
        if not name.startswith("mass/"):
            np.testing.assert_allclose(
                scores.measures[name], usual.measures[name], rtol=0, atol=3e-6
            )


def test_a_document_is_looked_for_where_it_was_shown(tokenizer: Any) -> None:
    """All that was shown is shown again, though its parts have more tokens than the whole.

    The needle is a whole document, so that both spans are the same places.
    """
    joining = joining_lines(tokenizer)
    texts = [f"\n{'so ' * 56}"] * 68
    given = example("x", [*texts, "Lima.", *texts[:2]], [(68, "answer", "Lima.")], style="haystack")
    config = LlamaConfig(
        **SMALL
        | {"vocab_size": 259, "max_position_embeddings": 16_000, "num_hidden_layers": 1}
        | {"num_attention_heads": 2, "num_key_value_heads": 1}
    )
    (seen,) = observed(
        LlamaForCausalLM(config), joining, [given], length=16_000, answers="gold",
        mass_span="document",
    )  # fmt: skip
    assert len(seen.shown.prompt) > 11_000
    np.testing.assert_array_equal(seen.mass, seen.seen.mass[..., : len(ROLES)])
    assert (seen.mass[..., 0] > 0).all()


# --- Rows ----------------------------------------------------------------------------------------


def assert_rows(
    model: Any, seen: Observed, tokens: list[int], roles: Sequence[str], tokenizer: Any
) -> None:
    """The rows of what was observed are those that produced `tokens`, no more and no less."""
    assert seen.tokens == tokens
    prompt = seen.shown.prompt
    whole = maps(model, prompt + tokens[:-1])[:, :, len(prompt) - 1 :]
    assert whole.shape[2] == len(tokens)
    np.testing.assert_array_equal(seen.seen.top, whole.argmax(-1))
    for role in roles:
        inside = places(seen.shown.example, role, "needle", prompt, tokenizer)
        column = ROLES.index(role)
        wanted = whole[..., inside].sum(-1)
        np.testing.assert_allclose(seen.seen.mass[..., column], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "content", "generated"),
    [
        (": Lima\n", " Lima", "Lima"),
        (": L<|im_end|>", " L", "L"),
        (":\n", "\n", ""),
        (":<|im_end|>", "<|im_end|>", ""),
        (": Lim ", " Lim Lim L", "Lim Lim L"),
    ],
    ids=["line", "end", "no line", "nothing", "limit"],
)
def test_the_token_that_ends_an_answer_has_no_row_unless_it_is_all(
    said: str, content: str, generated: str, tokenizer: Any
) -> None:
    model, tokens = copying("llama", tokenizer), tokenizer(content)["input_ids"]
    with saying(model, said, tokenizer):
        for each in observed(model, tokenizer, examples(), batch=2):
            assert each.generated == generated
            assert_rows(model, each, tokens, ["answer"], tokenizer)


def test_a_gold_answer_has_a_row_for_each_of_its_tokens(tokenizer: Any) -> None:
    model = copying("llama", tokenizer)
    for each in observed(model, tokenizer, examples(), answers="gold", batch=3):
        answer = each.shown.example.answers[0]
        assert each.generated == answer
        assert_rows(model, each, tokenizer(f" {answer}")["input_ids"], ["answer"], tokenizer)


def test_an_empty_gold_answer_still_has_one_row(tokenizer: Any) -> None:
    model = copying("llama", tokenizer)
    empty = example("e", ["{1: 2}"], [(0, "bridge", "1: 2")], answer="", style="dictionaries")
    others = examples()[:1]
    seen, _ = observed(model, tokenizer, [empty, *others], answers="gold", batch=2)
    assert seen.generated == ""
    assert_rows(model, seen, [tokenizer.eos_token_id], ["bridge"], tokenizer)


# --- Right answers -------------------------------------------------------------------------------


def test_the_judge_is_asked_about_the_text_and_the_answers_as_they_are_shown(
    tokenizer: Any,
) -> None:
    """A distractor is left out here, so that the right citation is another one."""
    given = cited()
    golds = given.model_copy(update={"documents": given.documents[1:], "answers": ["[1][2]"]})
    room = render(golds, tokenizer, LENGTH).length
    asked: list[tuple[str, list[str]]] = []

    def correct(text: str, answers: Sequence[str]) -> bool:
        asked.append((text, list(answers)))
        return text == "Lima"

    model = copying("llama", tokenizer)
    with saying(model, ": Lima\n", tokenizer):
        (right,) = observed(model, tokenizer, [given], correct, length=room)
    with saying(model, ": Lim\n", tokenizer):
        (wrong,) = observed(model, tokenizer, [given], correct, length=room)
    assert asked == [("Lima", ["[1][2]"]), ("Lim", ["[1][2]"])]
    assert (right.correct, wrong.correct) == (True, False)


def test_a_gold_answer_is_right_where_each_token_is_the_likeliest(tokenizer: Any) -> None:
    def never(text: str, answers: Sequence[str]) -> bool:
        raise AssertionError("a gold answer needs no judge")

    model = copying("llama", tokenizer)
    given = [
        example(answer, [f"{before}, {answer}!"], [(0, "answer", answer)], answer=answer)
        for answer, before in [("Lima", ""), ("Lime", "So"), ("Rima", "Now so"), ("Lim", "It is")]
    ]
    with saying(model, ": Lima\n", tokenizer):
        for batch in (1, 4):
            seen = observed(model, tokenizer, given, never, answers="gold", batch=batch)
            assert [each.correct for each in seen] == [True, False, False, True]
    seen = observed(model, tokenizer, given, never, answers="gold", batch=4)
    assert not any(each.correct for each in seen)


# --- What is refused -----------------------------------------------------------------------------


def test_a_null_question_without_rows_of_the_question_is_refused() -> None:
    with pytest.raises(ValueError, match="null_question takes mass_rows: question"):
        Probe(LENGTH, NEW, null_question=True)


@pytest.mark.parametrize(("key", "known"), [("kind", "copy, copy_r"), ("role", "answer, bridge")])
def test_an_unknown_kind_or_role_is_refused(key: str, known: str) -> None:
    with pytest.raises(ValueError, match=f"there is no {key} 'masss'; known: {known}"):
        dataclasses.replace(PROBE, **{key: "masss"})
