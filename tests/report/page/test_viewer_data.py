"""The viewer's data: the first examples, every answer and its score, no more text than needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.atomic import remove
from needlework.evaluation.metrics import main_metric, metrics_for
from needlework.examples import Document, Example, Needle, citation, write_examples
from needlework.layout import Run
from needlework.report.page.elements import script_json
from needlework.report.page.excerpt import kept_parts
from needlework.report.page.viewer_data import EXAMPLES, viewer_data
from needlework.study.runs import runs
from needlework.study.sections import Study

TASK = "factbook_lookup"


def study(task: str = TASK, models: tuple[str, ...] = ("m",), **more: Any) -> Study:
    sizes = {"train": 2, "validation": 8, "test": 50}
    source = {"source": "tiny-random-llama"}
    own = {
        "name": "s", "length": 256, "models": dict.fromkeys(models, source),
        "tasks": {task: sizes}, "variants": ["real", "low_low"], "training_seeds": [0, 1],
    }  # fmt: skip
    return Study.model_validate(own | more)


def document(key: str, text: str, gold: bool = False) -> Document:
    return Document(id=key, title=f"Title {key}", text=text, gold=gold)


def example(
    number: int, documents: list[Document] | None = None, answer: str = "Lima", **more: Any
) -> Example:
    """A question on the documents; the answer's first place in a gold one is its needle."""
    documents = documents or [document("d", "Quito."), document("g", "It is Lima.", True)]
    needles = [
        Needle(document=d.id, start=d.text.index(answer), end=d.text.index(answer) + len(answer),
               role="answer", hop=2)
        for d in documents if d.gold and answer in d.text
    ]  # fmt: skip
    return Example(
        id=f"q{number}", task=TASK, variant="real", question=f"Question {number}?", cluster="c",
        source={}, documents=documents, **({"answers": [answer], "needles": needles} | more),
    )  # fmt: skip


def write(
    results: Path,
    made: Study,
    examples: list[Example],
    predictions: dict[tuple[str, int], list[str]] | None = None,
    **more: Any,
) -> None:
    """The corpus and the answers of every run: "Lima", where `predictions` has no others."""
    for task in made.tasks.chosen():
        write_examples(results / "corpora" / task / "test.jsonl", examples)
    for run in runs(made):
        texts = (predictions or {}).get((run.variant, run.seed), ["Lima"] * len(examples))
        rows = [
            {"id": e.id, "prediction": text, "answers": e.answers, "documents": len(e.documents)}
            | more
            for e, text in zip(examples, texts, strict=False)
        ]
        path = answers_of(results, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def answers_of(results: Path, run: Run) -> Path:
    model, task, variant, seed = run
    return results / "predictions" / model / task / variant / f"seed{seed}" / "plain.jsonl"


def write_attention(
    results: Path, model: str, documents: dict[str, list[str]], spans: list[list[Any]],
    task: str = TASK, variants: tuple[str, ...] = ("real",),
) -> None:  # fmt: skip
    """What one head, 3-1, of each variant looked at; the same for every example."""
    answers = {key: {"tokens": ["Li", "ma"], "spans": {"3-1": spans}} for key in documents}
    trace = {
        "model": model, "task": task, "seed": dict.fromkeys(variants, 1),
        "examples": list(documents), "documents": documents, "failures": {},
        "runs": {v: {"heads": [[3, 1, 0.123456]], "answers": answers} for v in variants},
    }  # fmt: skip
    path = results / "attention" / model / f"{task}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(trace), encoding="utf-8")


def only(data: dict[str, Any]) -> dict[str, Any]:
    (task,) = data["tasks"]
    return dict(task)


def test_the_first_examples_come_as_they_are_and_the_test_is_counted(tmp_path: Path) -> None:
    order = [7, 3, *range(100, 145)]
    write(tmp_path, study(), [example(number) for number in order])
    task = only(viewer_data(tmp_path, study()))
    assert [e["id"] for e in task["examples"]] == [f"q{n}" for n in order[:EXAMPLES]]
    assert (task["total"], EXAMPLES, task["metric"]) == (47, 24, "token F1")
    assert task["examples"][0]["question"] == "Question 7?"
    assert (task["attention"], task["shown_to"]) == ({}, None)


def test_every_run_has_its_answer_and_its_score(tmp_path: Path) -> None:
    made = study()
    said = {("untuned", 0): ["no idea", "Lima"], ("real", 0): ["Lima", "Lima, Peru"],
            ("real", 1): ["lima.", "in Lima, Peru"], ("low_low", 1): ["Lima"]}  # fmt: skip
    write(tmp_path, made, [example(0), example(1)], said)
    task = only(viewer_data(tmp_path, made))
    names = [("untuned", 0), ("real", 0), ("real", 1), ("low_low", 0), ("low_low", 1)]
    assert task["runs"] == [["m", variant, seed] for variant, seed in names]
    score = metrics_for(TASK)[main_metric(TASK)]
    for i, shown in enumerate(task["examples"]):
        for name, found in zip(names, shown["runs"], strict=True):
            texts = said.get(name, ["Lima", "Lima"])
            if i < len(texts):
                expected = score(texts[i], ["Lima"])
                assert found == [round(expected, 4), expected > 0.5, texts[i]]
            else:
                assert found is None  # the run left this example out
    assert [found[1] for found in task["examples"][1]["runs"][:3]] == [True, True, False]


def test_a_long_answer_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    made = study("flenqa")
    long = "Let us think. " + "x" * 500 + " So the answer is: True"
    made_example = example(0, [document("g", "A fact.", True)], "True", needles=[])
    write(tmp_path, made, [made_example], {("real", 0): [long]})
    (shown,) = only(viewer_data(tmp_path, made))["examples"]
    score, right, first, left_out, last = shown["runs"][1]
    assert (score, right) == (1.0, True)
    assert (first + last, left_out) == (long[:200] + long[-100:], len(long) - 300)


def test_long_documents_are_cut_around_what_matters(tmp_path: Path) -> None:
    filler = "".join(f"word{i} " for i in range(600))
    gold = filler[:3000] + "It is Lima." + filler[3000:]
    documents = [document("long", filler), document("short", "s" * 240),
                 document("looked", filler), document("gold", gold, True)]  # fmt: skip
    write(tmp_path, study(), [example(0, documents)])
    write_attention(tmp_path, "m", {"q0": [d.id for d in documents]}, [["looked", 2000, 2004, [0]]])
    (shown,) = only(viewer_data(tmp_path, study()))["examples"]
    for whole, (title, length, is_gold, parts, needles) in zip(
        documents, shown["documents"], strict=True
    ):
        assert (title, length, is_gold) == (whole.title, len(whole.text), whole.gold)
        assert all(whole.text[start : start + len(text)] == text for start, text in parts)
        assert needles == ([(3006, 3010, "answer", 2)] if whole.gold else [])
    kept = {d.id: [[s, s + len(t)] for s, t in shown["documents"][i][3]]
            for i, d in enumerate(documents)}  # fmt: skip
    assert kept["long"] == [[0, 240]]
    assert kept["short"] == [[0, 240]]
    assert kept["looked"] == [[0, 240], [1940, 2064]]
    assert kept["gold"] == [[0, 1200], [2946, 3070]]


@given(
    st.integers(1, 3000),
    st.integers(1, 1500),
    st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 50)), max_size=8),
)
def test_kept_parts_hold_the_beginning_and_every_place_and_little_else(
    length: int, head: int, places: list[tuple[int, int]]
) -> None:
    around = [(s, min(length, s + n)) for s, n in places if s < length]
    parts = kept_parts(length, head, around)
    assert all(start < end for start, end in parts)
    assert [x for part in parts for x in part] == sorted({x for part in parts for x in part})
    assert (parts[0][0], parts[-1][1] <= length) == (0, True)
    wanted = set(range(min(head, length)))
    for start, end in around:
        wanted |= set(range(max(0, start - 60), min(length, end + 60)))
    kept = {place for start, end in parts for place in range(start, end)}
    assert wanted <= kept
    # What is kept beyond that are gaps of fewer than 20 characters.
    beyond = sorted(kept - wanted)
    runs = [n for i, n in enumerate(beyond) if i == 0 or beyond[i - 1] != n - 1]
    assert len(beyond) <= 19 * len(runs)


def test_documents_are_those_that_the_first_traced_model_was_shown(tmp_path: Path) -> None:
    made = study(models=("first", "second"))
    documents = [document("a", "Quito."), document("b", "Paris."), document("g", "Is Lima.", True)]
    write(tmp_path, made, [example(0, documents), example(1, documents)])
    spans = [["g", 0, 2, [0, 1]], ["a", 0, 1, [1]], [None, 0, 0, [1]]]
    write_attention(tmp_path, "first", {"q0": ["g", "b"]}, [["b", 0, 2, [1]]])
    write_attention(tmp_path, "second", {"q0": ["g", "a"]}, spans, variants=("real", "low_low"))
    task = only(viewer_data(tmp_path, made))
    assert task["shown_to"] == "first"
    titles = [[d[0] for d in e["documents"]] for e in task["examples"]]
    assert titles == [["Title g", "Title b"], ["Title a", "Title b", "Title g"]]
    seen = task["attention"]["second"]["low_low"]
    assert (seen["seed"], seen["heads"]) == (1, [[3, 1, 0.1235]])
    assert seen["answers"]["q0"]["tokens"] == ["Li", "ma"]
    # g is the first of the list, a is not in it, and the last is outside of all documents.
    assert seen["answers"]["q0"]["spans"]["3-1"] == [
        [0, 0, 2, [0, 1]], [-1, 0, 1, [1]], [None, 0, 0, [1]]
    ]  # fmt: skip


def test_citations_count_the_documents_that_are_shown(tmp_path: Path) -> None:
    made = study("factbook_citation")
    documents = [document("a", "Quito."), document("g", "Lima.", True), document("h", "Too.", True)]
    cites = {"cites": ["g", "h"], "answers": [citation(documents, ["g", "h"])], "needles": []}
    examples = [example(i, documents, **cites) for i in (0, 1)]
    write(tmp_path, made, examples, {("real", 0): ["[1][2]"] * 2}, answers=["[1][2]"], documents=2)
    write_attention(tmp_path, "m", {"q0": ["g", "h"]}, [], task="factbook_citation")
    first, second = only(viewer_data(tmp_path, made))["examples"]
    assert (first["answers"], first["accepted"]) == (["[1][2]"], {})
    # Without a trace all documents are listed; the model was shown two, and cites by these.
    assert (second["answers"], second["accepted"]) == (["[2][3]"], {"m": ["[1][2]"]})
    assert second["count"] == {"m": 2}
    assert second["runs"][1] == [1.0, True, "[1][2]"]


def test_a_row_that_is_no_example_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, study(), [example(0)])
    path = tmp_path / "corpora" / TASK / "test.jsonl"
    remove(path)  # with its record
    path.write_text('{"id": 1}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"test\.jsonl, line 1"):
        viewer_data(tmp_path, study())


def test_many_long_contexts_stay_small(tmp_path: Path) -> None:
    # As 32,768 tokens: 200 documents of 650 characters each.
    fillers = [document(f"d{i}", "Some words of a country. " * 26) for i in range(199)]
    gold = document("g", "Words. " * 60 + "Lima. " + "Words. " * 40, True)
    documents = [*fillers[:70], gold, *fillers[70:]]
    examples = [example(i, documents) for i in range(EXAMPLES)]
    write(tmp_path, study(), examples)
    spans = [["g", 420, 422, [0]], ["d3", 10, 14, [1]]]
    order = [d.id for d in documents]
    write_attention(tmp_path, "m", {f"q{i}": order for i in range(8)}, spans)
    size = len(script_json(viewer_data(tmp_path, study())))
    assert size < 800_000  # three such tasks: 2.4 MB
