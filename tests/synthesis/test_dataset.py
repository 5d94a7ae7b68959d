"""A dataset's files: whole, the same from run to run, and dataset.json true to them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from needlework.atomic import remove
from needlework.corpora.corpus import Corpus
from needlework.examples import Example, read_examples, write_examples
from needlework.provenance import versions
from needlework.rendering.prompt import render
from needlework.rendering.room import Room
from needlework.synthesis.building import Builder
from needlework.synthesis.dataset import write_dataset
from needlework.synthesis.leaks import EvaluationData
from needlework.synthesis.variants import Materials
from tests.listing import names
from tests.synthesis.by_hand import word_tokenizer

NAMES = ["".join(letters) for letters in product("BFKQXZ", repeat=4)]
WANTED = {"train": 8, "validation": 3}
LENGTH = 6000
FILES = ["README.md", "dataset.json", "train.jsonl", "validation.jsonl"]


@pytest.fixture
def folder(corpus: Corpus, tmp_path: Path) -> Path:
    """A corpus of which two examples have no template."""
    write_examples(tmp_path / "corpus/train.jsonl", _uncovered(corpus.train, [2, 3]))
    write_examples(tmp_path / "corpus/validation.jsonl", corpus.validation)
    return tmp_path


@pytest.fixture
def builder(tokenizer: Any, room: Room, corpus: Corpus) -> Builder:
    """For two models, with room for all documents."""
    materials = Materials(room, 3, NAMES)
    models = {"tiny": tokenizer, "words": word_tokenizer()}
    evaluation = EvaluationData.of([corpus.train[1]])
    return Builder(materials, models, LENGTH, evaluation, fills=False)


def _uncovered(examples: Sequence[Example], places: Sequence[int]) -> list[Example]:
    return [
        example.model_copy(
            update={"facts": [example.facts[0].model_copy(update={"statement": None})]}
        )
        if i in places
        else example
        for i, example in enumerate(examples)
    ]


def _write(builder: Builder, folder: Path, variant: str = "low_low", **options: Any) -> Any:
    values = {"workers": 1, "generator": None} | options
    wanted = values.pop("wanted", WANTED)
    output = folder / values.pop("to", "out")
    record = write_dataset(builder, variant, folder / "corpus", wanted, output, **values)
    assert names(output) == FILES
    assert json.loads((output / "dataset.json").read_text(encoding="utf-8")) == record
    return record


def _bytes(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("variant", ["low_low", "symbolic", "real", "real:0.25+low_low:0.75"])
def test_the_record_is_true_to_the_files(builder: Builder, folder: Path, variant: str) -> None:
    record = _write(builder, folder, variant, generator={"rewrites": {"model": "m"}})
    assert {key: record[key] for key in ("task", "variant", "seed", "length", "generator")} == {
        "task": "factbook_lookup", "variant": variant, "seed": 3, "length": LENGTH,
        "generator": {"rewrites": {"model": "m"}},
    }  # fmt: skip
    assert record["versions"] == versions()
    assert record["splits"].keys() == WANTED.keys()
    for name, split in record["splits"].items():
        path = folder / f"out/{name}.jsonl"
        examples = read_examples(path)
        real = read_examples(folder / f"corpus/{name}.jsonl")
        assert split["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert split["made"] == split["wanted"] == WANTED[name] == len(examples)
        assert split["real"] == len(real)
        skipped = [skipped for ids in split["skipped"].values() for skipped in ids]
        considered = [example.id for example in real[: split["considered"]]]
        assert sorted([*skipped, *(example.id for example in examples)]) == sorted(considered)
        for model, tokenizer in builder.tokenizers.items():
            lengths = [render(example, tokenizer, LENGTH).length for example in examples]
            told = split["tokens"][model]
            assert (told["min"], told["max"]) == (min(lengths), max(lengths))
            assert told["mean"] == pytest.approx(sum(lengths) / len(lengths), abs=0.01)
            assert sum(told["histogram"]["counts"]) == len(lengths)
        shown = [render(example, builder.tokenizers["tiny"], LENGTH) for example in examples]
        depths = [int(10 * s.needles[0].start / len(s.prompt)) for s in shown]
        assert split["depths"] == {"answer": [depths.count(depth) for depth in range(10)]}
        relations = Counter(example.needles[0].relation for example in examples)
        assert split["relations"] == dict(relations)
        numbers = [len(example.documents) for example in examples]
        assert (split["documents"]["min"], split["documents"]["max"]) == (
            min(numbers), max(numbers),
        )  # fmt: skip
        parts = Counter(example.variant for example in examples)
        assert split.get("parts", {variant: len(examples)}) == parts
        known = [e for e in examples if builder.evaluation.knows_answer(e)]
        assert split["answers_in_evaluation"] == len(known)
    if variant == "low_low":
        real = read_examples(folder / "corpus/train.jsonl")
        assert record["splits"]["train"]["skipped"] == {
            "no template covers a relation": [real[2].id, real[3].id]
        }
        assert record["splits"]["validation"]["skipped"] == {}
    if variant == "real":
        assert record["splits"]["train"]["answers_in_evaluation"] == 1


def test_the_card_is_there_and_shows_an_example(builder: Builder, folder: Path) -> None:
    record = _write(builder, folder)
    card = (folder / "out/README.md").read_text(encoding="utf-8")
    (first, *_) = read_examples(folder / "out/train.jsonl")
    assert "# factbook_lookup, low_low\n" in card
    assert first.question in card
    assert f"⟦{first.answers[0]}⟧" in card
    assert record["splits"]["train"]["sha256"] in card
    assert "skipped: no template covers a relation | 2 |" in card


def test_a_rerun_gives_the_same_bytes_with_any_number_of_processes(
    builder: Builder, folder: Path
) -> None:
    for to, workers in (("one", 1), ("two", 2), ("one", 1)):
        _write(builder, folder, "real:0.25+low_low:0.75", to=to, workers=workers)
        if to == "two":
            assert _bytes(folder / "one") == _bytes(folder / "two")
            first = _bytes(folder / "one")
    assert _bytes(folder / "one") == first


def test_too_few_are_said_and_counted(
    builder: Builder, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = _write(builder, folder, wanted={"train": 12, "validation": 3})
    split = record["splits"]["train"]
    assert (split["wanted"], split["made"], split["considered"]) == (12, 11, 13)
    assert "train: 11 of 12 examples could be made; raise `spare`" in capsys.readouterr().err
    assert len(read_examples(folder / "out/train.jsonl")) == 11


def test_a_split_of_which_nothing_could_be_made_is_empty(
    builder: Builder, folder: Path, corpus: Corpus
) -> None:
    nothing = _uncovered(corpus.validation, range(9))
    write_examples(folder / "corpus/validation.jsonl", nothing)
    record = _write(builder, folder)
    split = record["splits"]["validation"]
    assert (split["made"], split["considered"], split["wanted"]) == (0, 4, 3)
    assert split["sha256"] == hashlib.sha256(b"").hexdigest()
    assert (folder / "out/validation.jsonl").read_bytes() == b""


def test_where_nothing_could_be_made_the_error_counts_the_reasons(
    builder: Builder, folder: Path, corpus: Corpus
) -> None:
    bare = _uncovered(corpus.train, range(99))
    unnamed = corpus.train[0].model_copy(update={"id": "unnamed", "question": "What is it?"})
    write_examples(folder / "corpus/train.jsonl", [*bare, unnamed])
    write_examples(folder / "corpus/validation.jsonl", _uncovered(corpus.validation, range(9)))
    with pytest.raises(ValueError, match="no example of low_low could be made of ") as caught:
        write_dataset(
            builder, "low_low", folder / "corpus", WANTED, folder / "out", workers=1,
            generator=None,
        )  # fmt: skip
    message = str(caught.value)
    assert message.endswith(
        "corpus: 17 'no template covers a relation'; 1 'its question does not name the subject'"
    )
    assert corpus.train[0].id not in message
    assert not (folder / "out/dataset.json").exists()


def test_an_empty_corpus_is_an_error_too(builder: Builder, folder: Path) -> None:
    for split in WANTED:
        write_examples(folder / f"corpus/{split}.jsonl", [])
    with pytest.raises(ValueError, match=r"could be made of .*corpus: it has none"):
        _write(builder, folder)


def test_a_row_that_is_not_whole_is_named(builder: Builder, folder: Path) -> None:
    path = folder / "corpus/validation.jsonl"
    whole = path.read_text(encoding="utf-8")
    remove(path)  # with its record
    path.write_text(whole + '{"id": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"validation\.jsonl, line 5: "):
        _write(builder, folder)


def test_another_seed_gives_another_dataset(builder: Builder, folder: Path) -> None:
    other = replace(builder, materials=replace(builder.materials, seed=4))
    one, two = _write(builder, folder), _write(other, folder, to="other")
    assert one["splits"]["train"]["sha256"] != two["splits"]["train"]["sha256"]
    assert (one["seed"], two["seed"]) == (3, 4)
