"""Predictions of a real (tiny) model: batching changes nothing, and a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from needlework import models
from needlework.corpora.corpus import Corpus
from needlework.evaluation.predict import Row, predict, predict_views, read_predictions, row_of
from needlework.evaluation.views import view_of, views_of
from needlework.examples import Example, write_examples
from needlework.rendering.placing import Positions
from needlework.rendering.prompt import render
from tests.listing import names

_LENGTH = 900
_NEW = 10
_IDENTITY = "a" * 64


@pytest.fixture(scope="module")
def model(tiny_base: models.Base) -> Any:
    """Peaked attention, so that an answer depends on where the tokens of its prompt stand."""
    model = models.load_model(tiny_base, dtype="float32")
    for name, weight in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            weight.data *= 20
    return model


@pytest.fixture(scope="module")
def examples(corpus: Corpus, tokenizer: Any) -> list[Example]:
    """Five short examples, longest first: batches are made the other way round."""
    return sorted(corpus.test + corpus.validation, key=lambda e: _size(e, tokenizer))[4::-1]


def _size(example: Example, tokenizer: Any) -> int:
    return len(render(example, tokenizer, _LENGTH).prompt)


def _predict(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    output: Path,
    *,
    batch: int = 2,
    identity: str = _IDENTITY,
) -> list[Row]:
    return predict(
        model, tokenizer, examples, output,
        length=_LENGTH, max_new_tokens=_NEW, batch=batch, identity=identity,
    )  # fmt: skip


@contextmanager
def _prompts_read(model: Any, killed_at: int | None = None) -> Iterator[list[int]]:
    """The sizes of the batches whose prompts the model reads; killed as it starts on one."""
    sizes: list[int] = []

    def read(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].shape[1] > 1:  # the decode steps that follow have one token
            if len(sizes) + 1 == killed_at:
                raise KeyboardInterrupt
            sizes.append(len(kwargs["input_ids"]))

    hook = model.register_forward_pre_hook(read, with_kwargs=True)
    try:
        yield sizes
    finally:
        hook.remove()


def _kill(model: Any, tokenizer: Any, examples: Sequence[Example], output: Path) -> Path:
    """A run that was killed in its third batch of two; returns what it left."""
    with _prompts_read(model, killed_at=3), pytest.raises(KeyboardInterrupt):
        _predict(model, tokenizer, examples, output)
    (partial,) = output.parent.iterdir()
    return partial


# --- The answers -------------------------------------------------------------------------------


def test_rows_stand_in_the_order_of_the_examples(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    sizes = [_size(example, tokenizer) for example in examples]
    assert sizes != sorted(sizes)
    output = tmp_path / "m" / "plain.jsonl"
    rows = _predict(model, tokenizer, examples, output)
    assert read_predictions(output) == rows
    assert names(output.parent) == ["plain.jsonl"]
    for row, example, size in zip(rows, examples, sizes, strict=True):
        assert list(row) == [
            "id", "cluster", "question", "answers", "prediction", "stopped_by", "prompt_tokens",
            "documents", "gold", "depth",
        ]  # fmt: skip
        assert (row["id"], row["cluster"]) == (example.id, example.cluster)
        assert (row["question"], row["answers"]) == (example.question, example.answers)
        assert row["prompt_tokens"] == size


def test_a_row_says_where_the_answer_stood(tokenizer: Any, examples: list[Example]) -> None:
    for example in examples:
        shown = render(example, tokenizer, _LENGTH)
        row = row_of(shown, "Lima", "newline")
        assert (row["prediction"], row["stopped_by"]) == ("Lima", "newline")
        ((place, gold),) = [(i, d) for i, d in enumerate(shown.example.documents) if d.gold]
        assert (row["documents"], row["gold"]) == (len(shown.example.documents), [place + 1])
        (needle,) = example.needles
        before = tokenizer.decode(shown.prompt).partition(gold.text[needle.start :])[0]
        tokens = len(tokenizer(before)["input_ids"])  # bytes, but for the template's own
        assert row["depth"] == tokens / len(shown.prompt)
    alone = example.model_copy(update={"needles": []})
    assert row_of(render(alone, tokenizer, _LENGTH), "", "end")["depth"] is None


@pytest.mark.parametrize("batch", [4, 16])
def test_batches_give_the_answers_of_single_examples(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path, batch: int
) -> None:
    alone = _predict(model, tokenizer, examples, tmp_path / "alone.jsonl", batch=1)
    with _prompts_read(model) as sizes:
        together = _predict(model, tokenizer, examples, tmp_path / "batch.jsonl", batch=batch)
    assert sizes == ([4, 1] if batch == 4 else [5])
    assert together == alone
    assert len({row["prediction"] for row in alone}) == len(examples)  # each prompt has its own


def test_an_answer_is_what_greedy_generation_gives(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    """Step by step, each time the whole sequence anew: no cache, no generate."""
    (row,) = _predict(model, tokenizer, examples[:1], tmp_path / "plain.jsonl")
    ids = list(render(examples[0], tokenizer, _LENGTH).prompt)
    made: list[int] = []
    while len(made) < _NEW and "\n" not in tokenizer.decode(made):
        with torch.no_grad():
            made.append(int(model(torch.tensor([ids + made])).logits[0, -1].argmax()))
    text = tokenizer.decode(made, skip_special_tokens=True)
    assert row["prediction"] == text.strip(" ").partition("\n")[0].strip()


# --- How an answer ends ------------------------------------------------------------------------


@contextmanager
def _saying(model: Any, scripts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The model generates these tokens, one script per row of the batch, whatever it reads.

    The list that it yields has the number of each step that was generated.
    """
    steps: list[int] = []

    def speak(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if kwargs["input_ids"].shape[1] > 1:  # the prompt but for its last token
            steps.clear()
            return
        steps.append(len(steps))
        for row, script in enumerate(scripts):
            output.logits[row, -1, script[min(steps[-1], len(script) - 1)]] = 1e9

    hook = model.register_forward_hook(speak, with_kwargs=True)
    try:
        yield steps
    finally:
        hook.remove()


def test_how_an_answer_ended_is_told_apart_within_a_batch(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    said = [" Lima\nPeru", " Lima<|im_end|>Peru", " Lima, Peru"]
    scripts = [tokenizer(text)["input_ids"] for text in said]
    shortest = examples[:1:-1]  # as their batch is sorted
    with _saying(model, scripts):
        rows = _predict(model, tokenizer, shortest, tmp_path / "plain.jsonl", batch=3)
    found = [(row["prediction"], row["stopped_by"]) for row in rows]
    assert found == [("Lima", "newline"), ("Lima", "end"), ("Lima, Per", "limit")]


@pytest.mark.parametrize(
    ("said", "prediction", "stopped_by"),
    [
        ("<|im_end|>", "", "end"),
        ("\nLima", "", "newline"),
        ("  Lima  \n", "Lima", "newline"),
        ("123456789\n", "123456789", "newline"),  # at the very limit
        ("123456789<|im_end|>", "123456789", "end"),
        ("1234567890<|im_end|>", "1234567890", "limit"),
    ],
)
def test_the_edges_of_an_answer(
    model: Any,
    tokenizer: Any,
    examples: list[Example],
    tmp_path: Path,
    said: str,
    prediction: str,
    stopped_by: str,
) -> None:
    with _saying(model, [tokenizer(said)["input_ids"]]):
        (row,) = _predict(model, tokenizer, examples[2:3], tmp_path / "plain.jsonl")
    assert (row["prediction"], row["stopped_by"]) == (prediction, stopped_by)


@pytest.mark.parametrize(
    ("said", "steps"), [("Lima\nPeru", 5), ("Li<|im_end|>", 3), ("Lima" * 3, 10)]
)
def test_nothing_is_generated_after_an_answer(
    model: Any,
    tokenizer: Any,
    examples: list[Example],
    tmp_path: Path,
    said: str,
    steps: int,
) -> None:
    with _saying(model, [tokenizer(said)["input_ids"]]) as made:
        _predict(model, tokenizer, examples[:1], tmp_path / "plain.jsonl")
    assert made == list(range(steps))


def test_a_model_may_end_with_a_token_of_its_own(
    tiny_base: models.Base, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    """Many chat models end with one of several tokens; the tokenizer knows one of them."""
    model: Any = models.load_model(tiny_base, dtype="float32")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.bos_token_id]
    with _saying(model, [tokenizer("Lima<|im_start|>")["input_ids"]]):
        (row,) = _predict(model, tokenizer, examples[2:3], tmp_path / "plain.jsonl")
    assert (row["prediction"], row["stopped_by"]) == ("Lima", "end")


def test_line_separators_within_an_answer_survive_the_file(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    output = tmp_path / "plain.jsonl"
    with _saying(model, [tokenizer("Li\u2028ma\x85")["input_ids"]]):
        rows = _predict(model, tokenizer, examples[2:4], output, batch=1)
    assert rows[0]["prediction"].startswith("Li\u2028ma")
    assert read_predictions(output) == rows


# --- Going on after a kill ---------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    whole = _predict(model, tokenizer, examples, tmp_path / "whole" / "plain.jsonl")
    output = tmp_path / "killed" / "plain.jsonl"
    _kill(model, tokenizer, examples, output)
    assert not output.exists()
    with _prompts_read(model) as sizes:
        rows = _predict(model, tokenizer, examples, output)
    assert sizes == [1]  # two batches of two were there already
    assert rows == whole
    assert output.read_bytes() == (tmp_path / "whole" / "plain.jsonl").read_bytes()
    assert names(output.parent) == ["plain.jsonl"]


def test_a_line_that_was_cut_is_answered_again(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    whole = _predict(model, tokenizer, examples, tmp_path / "whole" / "plain.jsonl")
    output = tmp_path / "killed" / "plain.jsonl"
    partial = _kill(model, tokenizer, examples, output)
    text = partial.read_text(encoding="utf-8")
    partial.write_text(text[:-20], encoding="utf-8")
    with _prompts_read(model) as sizes:
        rows = _predict(model, tokenizer, examples, output)
    assert sizes == [2]
    assert rows == whole
    assert read_predictions(output) == whole


def test_a_line_that_was_damaged_is_answered_again(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path, capsys: Any
) -> None:
    whole = _predict(model, tokenizer, examples, tmp_path / "whole" / "plain.jsonl")
    output = tmp_path / "killed" / "plain.jsonl"
    partial = _kill(model, tokenizer, examples, output)
    content = bytearray(partial.read_bytes())
    content[120] ^= 1  # in the middle of the first line: still JSON, perhaps
    partial.write_bytes(content)
    with _prompts_read(model) as sizes:
        assert _predict(model, tokenizer, examples, output) == whole
    assert sizes == [2]
    assert "1 damaged lines" in capsys.readouterr().err


def _sealed(line: str) -> str:
    return f"{hashlib.sha256(line.encode()).hexdigest()} {line}"


def test_another_identity_starts_anew(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    output = tmp_path / "killed" / "plain.jsonl"
    partial = _kill(model, tokenizer, examples, output)
    # Were these rows taken over, they would show.
    rows = [json.loads(line[65:]) | {"prediction": "stale"} for line in partial.open()]
    partial.write_text("".join(_sealed(json.dumps(row) + "\n") for row in rows), encoding="utf-8")
    with _prompts_read(model) as sizes:
        found = _predict(model, tokenizer, examples, output, identity="b" * 64)
    assert sizes == [2, 2, 1]
    assert "stale" not in [row["prediction"] for row in found]


def test_a_run_killed_before_its_last_rename_answers_nothing_again(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    output = tmp_path / "plain.jsonl"
    whole = _predict(model, tokenizer, examples, output)
    partial = output.with_name(f".plain.{_IDENTITY[:16]}.partial")
    partial.write_text("".join(map(_sealed, output.open(encoding="utf-8"))), encoding="utf-8")
    output.unlink()
    with _prompts_read(model) as sizes:
        assert _predict(model, tokenizer, examples, output) == whole
    assert sizes == []


# --- Other views -------------------------------------------------------------------------------

_VIEWS = views_of(Positions(2, [1, 2]), [700], True, ["random"], _LENGTH)


def _other(examples: Sequence[Example]) -> list[Example]:
    """The same questions among other distractors."""
    return [
        example.model_copy(
            update={
                "documents": [
                    each if each.gold else each.model_copy(update={"text": each.text[::-1]})
                    for each in example.documents
                ]
            }
        )
        for example in examples
    ]


def _answer_views(
    model: Any, tokenizer: Any, examples: Sequence[Example], folder: Path, batch: int = 2
) -> dict[str, list[Row]]:
    return predict_views(
        model, tokenizer, _VIEWS, {"test": examples, "test-random": _other(examples)}, folder,
        max_new_tokens=_NEW, batch=batch, identity=_IDENTITY,
    )  # fmt: skip


def test_views_have_the_answers_that_their_prompts_get(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    """Against `predict`, given examples that were put into the views by hand."""
    found = _answer_views(model, tokenizer, examples, tmp_path / "views")
    assert names(tmp_path / "views") == sorted(f"{view.name}.jsonl" for view in _VIEWS)
    for name, rows in found.items():
        assert read_predictions(tmp_path / f"views/{name}.jsonl") == rows
        assert [row["id"] for row in rows] == [example.id for example in examples]
    assert found["random"] == _predict(model, tokenizer, _other(examples), tmp_path / "r.jsonl")
    for name, given in (("length700", examples), ("random-length700", _other(examples))):
        expected = predict(
            model, tokenizer, given, tmp_path / "length.jsonl",
            length=700, max_new_tokens=_NEW, batch=2, identity=_IDENTITY,
        )  # fmt: skip
        assert found[name] == expected
    for name in ("position1of2", "random-position1of2"):
        assert {(row["documents"], *row["gold"]) for row in found[name]} == {(2, 1)}
    assert {(row["documents"], *row["gold"]) for row in found["position2of2"]} == {(2, 2)}
    assert all(a["depth"] < b["depth"] for a, b in zip(
        found["position1of2"], found["position2of2"], strict=True
    ))  # fmt: skip
    closed = found["closed_book"]
    assert {(row["documents"], len(row["gold"]), row["depth"]) for row in closed} == {(0, 0, None)}
    assert max(row["prompt_tokens"] for row in closed) < 200


def test_killed_views_go_on_where_they_were(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    whole = _answer_views(model, tokenizer, examples, tmp_path / "whole")
    folder = tmp_path / "killed"
    views = len(_VIEWS)
    with _prompts_read(model, killed_at=2 * views + 2), pytest.raises(KeyboardInterrupt):
        _answer_views(model, tokenizer, examples, folder)
    assert not list(folder.glob("[!.]*"))  # no view is there before all are
    with _prompts_read(model) as sizes:
        assert _answer_views(model, tokenizer, examples, folder) == whole
    assert sizes == [1] * views
    assert len(names(folder)) == views


def test_nothing_is_answered_where_an_example_cannot_be_shown_in_a_view(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    views = [view_of("length700", _LENGTH), view_of("position1of90", _LENGTH)]
    with (
        _prompts_read(model) as sizes,
        pytest.raises(ValueError, match=r"^position1of90: 5 of 5 examples:") as caught,
    ):
        predict_views(
            model, tokenizer, views, {"test": examples}, tmp_path,
            max_new_tokens=_NEW, batch=2, identity=_IDENTITY,
        )  # fmt: skip
    assert all(example.id in str(caught.value) for example in examples)
    assert (sizes, list(tmp_path.iterdir())) == ([], [])


def test_the_command_answers_views_of_both_files(
    tiny_base: models.Base,
    tokenizer: Any,
    examples: list[Example],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_examples(tmp_path / "test.jsonl", examples[:2])
    write_examples(tmp_path / "test-random.jsonl", _other(examples[:2]))
    monkeypatch.setattr(sys, "argv", [
        "predict_views", "--base", str(Path(tiny_base.path).parent / "base.json"),
        "--examples", str(tmp_path / "test.jsonl"),
        "--other-examples", str(tmp_path / "test-random.jsonl"),
        "--views", "closed_book", "random", "--length", str(_LENGTH), "--max-new-tokens", "4",
        "--output", str(tmp_path / "views"),
    ])  # fmt: skip
    runpy.run_path(str(root / "scripts/predict_views.py"), run_name="__main__")
    expected = predict(
        models.load_model(tiny_base, dtype="float32"), tokenizer, _other(examples[:2]),
        tmp_path / "random.jsonl", length=_LENGTH, max_new_tokens=4, batch=1, identity=_IDENTITY,
    )  # fmt: skip
    assert read_predictions(tmp_path / "views/random.jsonl") == expected
    assert [row["documents"] for row in read_predictions(tmp_path / "views/closed_book.jsonl")] == [
        0, 0,
    ]  # fmt: skip
