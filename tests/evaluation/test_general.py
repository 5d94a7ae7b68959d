"""General abilities: what lm-eval gives for a tiny model, against the same worked out by hand."""

from __future__ import annotations

import csv
import gzip
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES

from needlework import models
from needlework.adapters import attach
from needlework.evaluation.general import (
    BENCHMARKS,
    ITEMS,
    RECORD,
    evaluate,
    question_key,
    read_items,
)
from tests.listing import names

pytest.importorskip("lm_eval", reason="lm-eval is not installed: make install-extras")

_CHOICES = "A. {}\nB. {}\nC. {}\nD. {}\nAnswer:"
_RUNS: dict[str, Any] = {
    "limit": None, "batch": 2, "seed": 0, "about": {"model": "tiny"},
    "shots": dict.fromkeys(BENCHMARKS, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tiny_base: models.Base) -> Any:
    return models.load_model(tiny_base, dtype="float32")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handful of items of every benchmark, in the layout of the published files."""
    folder = tmp_path_factory.mktemp("eval")
    for subject, count in (("anatomy", 5), ("virology", 3)):
        for split, rows in (("test", count), ("dev", 2)):
            path = folder / f"mmlu/{split}/{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(_mmlu_row(subject, split, i) for i in range(rows))
    _write(folder / "hellaswag/val.jsonl", [_hellaswag_row(i) for i in range(6)])
    _write(folder / "gsm8k/test.jsonl", [_gsm8k_row(i) for i in range(4)])
    _write(folder / "triviaqa/sample.jsonl.gz", [_triviaqa_row(i) for i in range(3)])
    _write(folder / "nq_open/dev.jsonl", [_nq_row(i) for i in range(3)])
    return folder


def _mmlu_row(subject: str, split: str, i: int) -> list[str]:
    return [f" {subject} {split} {i}?", f"{i}.50", "None", "x" * i, "d", "ABCD"[i % 4]]


def _first_ending(i: int) -> str:
    return f"walks {i} in." if i < 5 else "go."  # one so short that it is the likeliest as a whole


def _hellaswag_row(i: int) -> dict[str, Any]:
    return {
        "context": f"[header] How to row {i}. the man" if i % 2 else f"How to knit {i}.",
        "endings": [_first_ending(i), "[step] sits  down.", "runs to me.", "eats a pie."],
        "label": i % 4 if i < 5 else 0,
        "activity_label": "Sport",
    }


def _hellaswag_texts(i: int) -> tuple[str, list[str]]:
    """What a model reads of the row: WikiHow's marks are gone (not the space after one)."""
    prompt = f"Sport: How to row {i}. The man" if i % 2 else f"Sport: How to knit {i}."
    return prompt, [f" {_first_ending(i)}", "  sits down.", " runs to me.", " eats a pie."]


def _gsm8k_row(i: int) -> dict[str, Any]:
    return {"question": f"What is {i} and 1?", "answer": f"It is.\n#### {i + 1}"}


def _triviaqa_row(i: int) -> dict[str, Any]:
    return {"context": f"Question: Who is {i}?\nAnswer:", "answer": "He", "aliases": ["He", "Him"]}


def _nq_row(i: int) -> dict[str, Any]:
    return {"question": f"where is {i}", "answer": ["here", f"place {i}"]}


def _write(path: Path, rows: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _likelihood(model: Any, tokenizer: Any, prompt: str, answer: str) -> float:
    """log p(answer | prompt), token by token from the logits."""
    before, after = tokenizer(prompt).input_ids, tokenizer(answer).input_ids
    with torch.no_grad():
        shares = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
    return sum(float(shares[len(before) + i - 1, t]) for i, t in enumerate(after))


def _likeliest(model: Any, tokenizer: Any, prompt: str, answers: Sequence[str]) -> int:
    found = [_likelihood(model, tokenizer, prompt, answer) for answer in answers]
    return found.index(max(found))


def _continued(model: Any, tokenizer: Any, prompt: str, until: Sequence[str]) -> str:
    """The greedy continuation up to one of the stop texts, one token at a time."""
    ids: list[int] = []
    text = ""
    new, cache = tokenizer(prompt).input_ids, None
    while len(ids) < 256 and not any(stop in text for stop in until):
        with torch.no_grad():
            found = model(torch.tensor([new]), past_key_values=cache, use_cache=True)
        cache, new = found.past_key_values, [int(found.logits[0, -1].argmax())]
        if new == [tokenizer.eos_token_id]:
            break
        ids += new
        text = tokenizer.decode(ids, skip_special_tokens=True)
    return min((text.split(stop)[0] for stop in until), key=len)


def _shown(model: Any, tokenizer: Any) -> Iterator[set[str]]:
    """The texts that the model reads within the block, without padding and last token."""
    texts: set[str] = set()

    def see(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        texts.update(tokenizer.batch_decode(ids, skip_special_tokens=True))

    handle = model.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield texts
    finally:
        handle.remove()


@pytest.fixture
def shown(tiny: Any, tokenizer: Any) -> Iterator[set[str]]:
    yield from _shown(tiny, tokenizer)


def test_mmlu_is_what_the_likeliest_letter_gives(
    tiny: Any, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    record = evaluate(tiny, tokenizer, benchmarks=["mmlu"], data=data, output=tmp_path, **_RUNS)
    scores = []
    for item in read_items(tmp_path / RECORD):
        row = _mmlu_row(item["subject"], "test", int(item["id"].split("-")[0]))
        about = "The following are multiple choice questions (with answers) about "
        prompt = f"{about}{item['subject']}.\n\n{row[0].strip()}\n{_CHOICES.format(*row[1:5])}"
        chosen = _likeliest(tiny, tokenizer, prompt, [" A", " B", " C", " D"])
        scores.append(float("ABCD"[chosen] == row[5]))
        assert (item["prediction"], item["score"]) == (chosen, scores[-1])
        assert item["question"] == question_key(row[0])
    mean = sum(scores) / 8
    found = record["benchmarks"]["mmlu"]
    assert len(scores) == found["n"] == 8
    assert 0 < found["value"] == mean < 1
    variance = sum((score - mean) ** 2 for score in scores) / 7
    assert found["stderr"] == pytest.approx(math.sqrt(variance / 8))
    assert (found["metric"], found["shots"], found["cut"]) == ("acc", 0, 0)


def test_hellaswag_is_what_the_likeliest_ending_gives(
    tiny: Any, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    evaluate(tiny, tokenizer, benchmarks=["hellaswag"], data=data, output=tmp_path, **_RUNS)
    items = read_items(tmp_path / RECORD)
    assert len(items) == 6
    for i, item in enumerate(items):
        assert item["prediction"] == _likeliest(tiny, tokenizer, *_hellaswag_texts(i))
        assert item["score"] == (item["prediction"] == _hellaswag_row(i)["label"])
    prompt, endings = _hellaswag_texts(5)  # by its mean per letter, another ending is the likeliest
    means = [_likelihood(tiny, tokenizer, prompt, e) / len(e.strip()) for e in endings]
    assert items[5]["score"] == 1
    assert means[0] < max(means)


def test_open_questions_are_scored_by_exact_match(
    tiny: Any, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    prompts = {
        "nq_open": "Answer these questions:\n\nQ: where is {}?\nA:",
        "triviaqa": "Question: Who is {}??\nAnswer:",
    }
    said = {
        name: [_continued(tiny, tokenizer, p.format(i), ["\n", ".", ","]).strip() for i in range(3)]
        for name, p in prompts.items()
    }
    # Random weights know nothing: the answers accepted for the second item are made to fit.
    rows = [
        _nq_row(i) | ({"answer": ["no", said["nq_open"][1]]} if i == 1 else {}) for i in range(3)
    ]
    _write(tmp_path / "nq_open/dev.jsonl", rows)
    aliases = {"aliases": [said["triviaqa"][1].upper(), "no"]}
    rows = [_triviaqa_row(i) | (aliases if i == 1 else {}) for i in range(3)]
    _write(tmp_path / "triviaqa/sample.jsonl.gz", rows)
    output = tmp_path / "out"
    evaluate(tiny, tokenizer, benchmarks=list(prompts), data=tmp_path, output=output, **_RUNS)
    for item in read_items(output / RECORD):
        number = int(item["id"].split("-")[0])
        assert item["prediction"] == said[item["benchmark"]][number]
        assert item["score"] == float(number == 1)


def test_gsm8k_takes_the_number_after_the_marks(
    tiny_base: models.Base, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    shot = "Question: What is 0 and 1?\nAnswer: It is.\n#### 1\n\n"
    lesson = f"{shot}Question: What is 2 and 1?\nAnswer: So #### 3\n\nQuestion:"
    _learn(model, tokenizer, lesson)
    record = evaluate(
        model, tokenizer, benchmarks=["gsm8k"], data=data, output=tmp_path,
        **_RUNS | {"shots": {"gsm8k": 1}},
    )  # fmt: skip
    items = read_items(tmp_path / RECORD)
    assert [item["id"].split("-")[0] for item in items] == ["0", "1", "2"]
    assert items[1] | {"prediction": "3", "score": 1.0} == items[1]
    assert [item["score"] for item in items] == [
        float(item["prediction"] == str(i + 2)) for i, item in enumerate(items)
    ]
    found = record["benchmarks"]["gsm8k"]
    assert (found["filter"], found["shots"], found["n"]) == ("strict-match", 1, 3)
    assert found["shots_from"] == "the first 1 rows, which are not scored"


def _learn(model: Any, tokenizer: Any, text: str) -> None:
    ids = torch.tensor([tokenizer(text).input_ids])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_examples_in_prompts_are_the_first_and_never_the_scored(
    tiny: Any, tokenizer: Any, data: Path, tmp_path: Path, shown: set[str]
) -> None:
    evaluate(
        tiny, tokenizer, benchmarks=["mmlu"], data=data, output=tmp_path,
        **_RUNS | {"limit": 1, "shots": {"mmlu": 2}},
    )  # fmt: skip
    assert len(read_items(tmp_path / RECORD)) == 2  # one of each subject
    expected = set()
    for subject in ("anatomy", "virology"):
        rows = [_mmlu_row(subject, split, i) for split, i in (("dev", 0), ("dev", 1), ("test", 0))]
        turns = [f"{row[0].strip()}\n{_CHOICES.format(*row[1:5])}" for row in rows]
        about = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        expected.add(f"{about}{turns[0]} A\n\n{turns[1]} B\n\n{turns[2]}")
    assert {text.removesuffix(" ") for text in shown} == expected


def test_five_rows_are_set_aside_where_nothing_else_is_asked_for(
    tiny: Any, tokenizer: Any, tmp_path: Path, shown: set[str]
) -> None:
    _write(tmp_path / "nq_open/dev.jsonl", [_nq_row(i) for i in range(7)])
    record = evaluate(
        tiny, tokenizer, benchmarks=["nq_open"], data=tmp_path, output=tmp_path,
        **_RUNS | {"shots": None},
    )  # fmt: skip
    found = record["benchmarks"]["nq_open"]
    assert (found["shots"], found["n"]) == (5, 2)
    examples = "".join(f"Q: where is {i}?\nA: here\n" for i in range(5))
    prompts = {f"Answer these questions:\n\n{examples}Q: where is {i}?\nA:" for i in (5, 6)}
    assert prompts <= shown


def test_another_adapter_gives_other_answers(
    tiny_base: models.Base, tiny: Any, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    whole = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"]
    kinds = {
        "lora": LoraConfig(r=4, target_modules=["q_proj", "o_proj"], init_lora_weights=False),
        "full": LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=whole),
    }
    found = {"untuned": _hellaswag_predictions(tiny, tokenizer, data, tmp_path / "untuned")}
    for name, config in kinds.items():
        torch.manual_seed(1)
        made = get_peft_model(models.load_model(tiny_base, dtype="float32"), config)
        for parameter in made.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.5)
        made.save_pretrained(tmp_path / name)
        record = {"base": tiny_base.model_dump()}
        (tmp_path / name / "training.json").write_text(json.dumps(record), encoding="utf-8")
        base = models.load_model(tiny_base, dtype="float32")
        model = attach(base, tiny_base, {"run": tmp_path / name})
        found[name] = _hellaswag_predictions(model, tokenizer, data, tmp_path / f"out-{name}")
        for i, prediction in enumerate(found[name]):
            assert prediction == _likeliest(made.eval(), tokenizer, *_hellaswag_texts(i))
    assert found["lora"] != found["untuned"] != found["full"]


def _hellaswag_predictions(model: Any, tokenizer: Any, data: Path, output: Path) -> list[int]:
    evaluate(model, tokenizer, benchmarks=["hellaswag"], data=data, output=output, **_RUNS)
    return [item["prediction"] for item in read_items(output / RECORD)]


def test_prompts_that_do_not_fit_are_counted(
    tiny: Any, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    around = len("Answer these questions:\n\nQ: ?\nA:")
    rows = [{"question": "x" * (3840 - around + over), "answer": ["a"]} for over in (0, 1)]
    _write(tmp_path / "nq_open/dev.jsonl", rows)  # 4,096 positions, 256 of them to answer in
    around = len("Sport: x ends.")
    rows = [
        _hellaswag_row(0) | {"context": "x" * (4098 - around + over), "endings": ["ends."] * 4}
        for over in (0, 1)
    ]
    _write(tmp_path / "hellaswag/val.jsonl", rows)
    names = ["nq_open", "hellaswag"]
    record = evaluate(tiny, tokenizer, benchmarks=names, data=tmp_path, output=tmp_path, **_RUNS)
    assert {name: record["benchmarks"][name]["cut"] for name in names} == dict.fromkeys(names, 1)


def test_a_later_run_takes_over_finished_benchmarks(
    tiny: Any, tokenizer: Any, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks = ["hellaswag", "nq_open"]
    settings = _RUNS | {"benchmarks": benchmarks, "limit": 2}
    evaluate(tiny, tokenizer, data=data, output=tmp_path / "whole", **settings)
    own = tmp_path / "own"
    _write(own / "hellaswag/val.jsonl", [_hellaswag_row(i) for i in range(6)])
    output = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="nq_open"):
        evaluate(tiny, tokenizer, data=own, output=output, **settings)
    assert not (output / RECORD).exists()
    _write(own / "nq_open/dev.jsonl", [_nq_row(i) for i in range(3)])
    capsys.readouterr()
    evaluate(tiny, tokenizer, data=own, output=output, **settings | {"about": {"model": "other"}})
    assert "asking hellaswag\n" in capsys.readouterr().err
    evaluate(tiny, tokenizer, data=own, output=output, **settings)
    asked = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asking")]
    assert asked == ["asking nq_open"]
    assert names(output) == [RECORD, ITEMS]
    for name in (RECORD, ITEMS):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_benchmark_that_is_not_known_is_refused(
    tiny: Any, tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="'mmul' is no benchmark; takes mmlu"):
        evaluate(tiny, tokenizer, benchmarks=["mmul"], data=None, output=tmp_path, **_RUNS)


def test_overflow_is_not_taken_for_an_answer(
    tiny_base: models.Base, tokenizer: Any, data: Path, tmp_path: Path
) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(ValueError, match="overflows"):
        evaluate(model, tokenizer, benchmarks=["hellaswag"], data=data, output=tmp_path, **_RUNS)


@pytest.mark.slow
def test_the_real_files_run_end_to_end(
    root: Path, shared_data: Path, tiny_base: models.Base, tmp_path: Path
) -> None:
    if not (shared_data / "eval").is_dir():
        pytest.skip("shared/data/eval is not here: the real files are not part of the repository")
    base = tmp_path / "base.json"
    base.write_text(tiny_base.model_dump_json(), encoding="utf-8")
    subprocess.run(
        [
            sys.executable, root / "scripts/evaluate_general.py", "--base", base, "--limit", "2",
            "--data", shared_data / "eval", "--output", tmp_path / "out",
        ],
        cwd=root, check=True,
    )  # fmt: skip
    record = json.loads((tmp_path / "out" / RECORD).read_text(encoding="utf-8"))
    counts = {name: found["n"] for name, found in record["benchmarks"].items()}
    assert counts == {"mmlu": 114, "hellaswag": 2, "gsm8k": 2, "triviaqa": 2, "nq_open": 2}
    assert len(read_items(tmp_path / "out" / RECORD)) == sum(counts.values())
