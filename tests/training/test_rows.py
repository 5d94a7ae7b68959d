"""Which examples are trained on, with which labels, and that the trainer takes all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from needlework import models
from needlework.examples import Example, read_examples
from needlework.rendering.prompt import render
from needlework.training.rows import check_rows, chosen, rows_of, tokens_of
from needlework.training.trainer import Place, make_trainer
from tests.training.trainings import LENGTH, example, settings

EXAMPLES = [example(number) for number in range(40)]


def test_the_answer_and_its_end_are_labelled_and_nothing_else(
    tiny_base: models.Base, data: Path
) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    examples = read_examples(data / "train.jsonl")
    rows = rows_of(examples, tokenizer, LENGTH)
    prompts = answers = 0
    for shown, row in zip(examples, rows, strict=True):
        ids, labels = row["input_ids"], row["labels"]
        answer = [label for label in labels if label != -100]
        assert tokenizer.decode(answer) == f" {shown.answers[0]}<|im_end|>"
        # They are the last tokens, and the prompt before them is what evaluation shows.
        assert ids[-len(answer) :] == labels[-len(answer) :] == answer
        assert ids[: -len(answer)] == render(shown, tokenizer, LENGTH).prompt
        assert tokenizer.decode(ids[: -len(answer)]).endswith("assistant\nAnswer:")
        prompts, answers = prompts + len(ids) - len(answer), answers + len(answer)
    assert tokens_of(rows) == (prompts, answers)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_trainer_keeps_these_rows_whole(
    tiny_base: models.Base, tmp_path: Path, split: str
) -> None:
    """Padding has the token of the end: it must not be learned, and the end must.

    One example is longer than the 1,024 tokens after which the trainer would cut by itself.
    """
    tokenizer = models.load_tokenizer(tiny_base)
    rows = rows_of([example(number) for number in [*range(10), 2000]], tokenizer, 4000)
    trainer = make_trainer(
        tiny_base, {"train": rows, "validation": rows}, tokenizer, tmp_path,
        Place(4000, "float32", "cpu", "sdpa", 1, 0), settings(batch_per_device=4), [],
    )  # fmt: skip
    expected = {tuple(row["input_ids"]): row["labels"] for row in rows}
    assert max(map(len, expected)) > 2000
    seen: dict[tuple[int, ...], list[int]] = {}
    padded = 0
    for batch in getattr(trainer, f"get_{split}_dataloader")():
        for ids, mask, labels in zip(
            batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], strict=True
        ):
            assert (labels[~mask] == -100).all()
            padded += int((~mask).sum())
            seen[tuple(ids[mask].tolist())] = labels[mask].tolist()
    assert padded
    assert seen == expected


def _lost(rows: list[dict[str, list[int]]], row: dict[str, list[int]] | None) -> Dataset:
    return Dataset.from_list([*rows[:1], *([row] if row else []), *rows[2:]])


@pytest.mark.parametrize("how", ["dropped", "cut", "unlabelled", "another in its place"])
def test_a_row_that_the_trainer_lost_is_named(tiny_base: models.Base, how: str) -> None:
    examples = EXAMPLES[:3]
    given = rows_of(examples, models.load_tokenizer(tiny_base), LENGTH)
    check_rows(examples, given, given)
    rows = list(given)
    second = rows[1]
    row = {
        "dropped": None,
        "cut": {key: values[:100] for key, values in second.items()},
        "unlabelled": second | {"labels": [-100] * len(second["labels"])},
        "another in its place": rows[0],
    }[how]
    with pytest.raises(ValueError, match=r"kept \d of 3 examples whole; it dropped or cut e1:"):
        check_rows(examples, given, _lost(rows, row))


def test_examples_with_nothing_to_learn_are_named(tiny_base: models.Base) -> None:
    examples = EXAMPLES[:8]
    rows = [dict(row) for row in rows_of(examples, models.load_tokenizer(tiny_base), LENGTH)]
    for row in rows[:7]:
        row["labels"] = [-100] * len(row["labels"])
    given = Dataset.from_list(rows)
    with pytest.raises(ValueError, match=r"no token is .* in e0, e1, e2, e3, e4 and 2 more"):
        check_rows(examples, given, given)


# --- Some of the examples ----------------------------------------------------------------------


def _ids(examples: list[Example]) -> list[str]:
    return [e.id for e in examples]


@given(sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)), data_hash=st.text(max_size=8))
def test_fewer_examples_are_part_of_more(sizes: tuple[int, int], data_hash: str) -> None:
    few, many = (_ids(chosen(EXAMPLES, size, data_hash)) for size in sorted(sizes))
    assert (len(few), len(many)) == tuple(sorted(sizes))
    assert set(few) <= set(many)
    order = _ids(EXAMPLES)
    assert few == sorted(few, key=order.index)
    assert many == sorted(set(many), key=order.index)


def test_other_data_give_another_choice() -> None:
    assert _ids(chosen(EXAMPLES, 10, "a")) != _ids(chosen(EXAMPLES, 10, "b"))
    assert _ids(chosen(EXAMPLES, 10, "a")) != _ids(EXAMPLES)[:10]
    assert chosen(EXAMPLES, None, "a") == chosen(EXAMPLES, 40, "a") == EXAMPLES


@pytest.mark.parametrize("count", [0, 41])
def test_more_examples_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"examples {count}: the dataset has 40; take 1 to 40"):
        chosen(EXAMPLES, count, "a")
