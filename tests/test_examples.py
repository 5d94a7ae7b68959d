"""What the record refuses, naming file, line and reason, and that files give back what they got."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from needlework.examples import (
    Document,
    Example,
    Fact,
    Needle,
    citation,
    iter_examples,
    read_examples,
    write_examples,
)
from needlework.text import contains_answer

_ROW: dict[str, Any] = {
    "id": "peru",
    "task": "capitals",
    "variant": "real",
    "question": "What is the capital of Peru?",
    "answers": ["Lima"],
    "documents": [
        {"id": "pe", "title": "Peru", "text": "The capital is Lima.", "gold": True},
        {"id": "cl", "title": "Chile", "text": "The climate is dry.", "gold": False},
    ],
    "needles": [
        {
            "document": "pe", "start": 15, "end": 19, "role": "answer", "hop": 1,
            "relation": "capital",
        }
    ],
    "cluster": "pe",
    "source": {"seed": 7, "share": 0.5, "none": None, "facts": [{"hop": 1}]},
}  # fmt: skip


_WHOLE_ROW = {
    **_ROW,
    "documents": [document | {"unit": "word"} for document in _ROW["documents"]],
    "facts": [], "cites": [], "style": "documents",
}  # fmt: skip
_CITING = {
    **_ROW, "answers": ["[1]"], "cites": ["pe"],
    "needles": [{**_ROW["needles"][0], "role": "insight"}],
}  # fmt: skip


def _with(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    row = deepcopy(_ROW)
    change(row)
    return row


_BROKEN = {
    "the needle 15:99 is outside the document 'pe' of 20 characters": _with(
        lambda row: row["needles"][0].update(end=99)
    ),
    "the needle -1:19 is outside the document 'pe'": _with(
        lambda row: row["needles"][0].update(start=-1)
    ),
    "the needle 19:19 is outside the document 'pe'": _with(
        lambda row: row["needles"][0].update(start=19)
    ),
    "the answer needle 'capital' contains none of the answers ['Lima']": _with(
        lambda row: row["needles"][0].update(start=4, end=11)
    ),
    "the distractor 'cl' contains the answer 'Lima'": _with(
        lambda row: row["documents"][1].update(text="It is south of LIMA!")
    ),
    "the distractor 'cl' contains the answer 'dry'": _with(
        lambda row: row["answers"].append("dry")
    ),
    "a needle names the document 'zz', which is not here": _with(
        lambda row: row["needles"][0].update(document="zz")
    ),
    "two documents have the same id": _with(lambda row: row["documents"][1].update(id="pe")),
    "answers is empty": _with(lambda row: row["answers"].clear()),
    "question: Field required": _with(lambda row: row.pop("question")),
    "answer: Extra inputs are not permitted": _with(lambda row: row.update(answer="Lima")),
    "needles.0.start: Input should be a valid integer": _with(
        lambda row: row["needles"][0].update(start="15")
    ),
    "needles.0.role: Input should be 'answer', 'bridge' or 'insight'": _with(
        lambda row: row["needles"][0].update(role="hint")
    ),
    "documents.1.gold: Input should be a valid boolean": _with(
        lambda row: row["documents"][1].update(gold=0)
    ),
}


def _file(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(ValueError, match="line") as caught:
        read_examples(path)
    return str(caught.value)


@pytest.mark.parametrize("reason", _BROKEN)
def test_a_broken_row_is_refused_with_file_line_and_reason(tmp_path: Path, reason: str) -> None:
    path = _file(tmp_path / "train.jsonl", {**_ROW, "id": "first"}, _BROKEN[reason])
    refusal = _refusal(path)
    assert refusal.startswith(f"{path}, line 2: ")
    assert reason in refusal


def test_every_reason_is_given_at_once(tmp_path: Path) -> None:
    row = _with(lambda row: (row.pop("task"), row.update(cluster=3)))
    refusal = _refusal(_file(tmp_path / "train.jsonl", row))
    assert "task: Field required; cluster: Input should be a valid string" in refusal


@pytest.mark.parametrize("line", ["{'id': 1}", "", "[]", '{"id": "peru"'])
def test_a_line_that_is_no_example_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(_ROW) + "\n" + line + "\n")
    assert _refusal(path).startswith(f"{path}, line 2: ")


def test_an_id_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = _file(tmp_path / "train.jsonl", _ROW, {**_ROW, "id": "other"}, _ROW)
    refusal = _refusal(path)
    assert refusal.startswith(f"{path}, line 3: the id 'peru' stands in line 1 already")


def test_a_record_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="the distractor 'cl' contains the answer"):
        Example.model_validate(_BROKEN["the distractor 'cl' contains the answer 'Lima'"])


def test_a_distractor_may_hold_the_answer_only_where_no_needle_is_an_answer() -> None:
    row = _with(lambda row: row["documents"][1].update(text="South of Lima."))
    (needle,) = row["needles"]
    bridge, insight = {**needle, "role": "bridge"}, {**needle, "role": "insight"}
    for needles in ([], [insight], [bridge, insight]):
        assert Example.model_validate({**row, "needles": needles}).needles == [
            Needle.model_validate(needle) for needle in needles
        ]
    for needles in ([needle], [bridge, needle]):
        with pytest.raises(ValueError, match="the distractor 'cl' contains the answer"):
            Example.model_validate({**row, "needles": needles})


def test_the_text_of_a_needle_is_its_characters() -> None:
    example = Example.model_validate(_ROW)
    assert example.needle_text(example.needles[0]) == "Lima"


def test_one_of_several_answers_in_the_needle_is_enough() -> None:
    row = _with(lambda row: row["answers"].insert(0, "City of Kings"))
    assert Example.model_validate(row).answers == ["City of Kings", "Lima"]


def test_a_record_cannot_be_changed() -> None:
    example = Example.model_validate(_ROW)
    with pytest.raises(ValueError, match="frozen"):
        example.question = "?"  # type: ignore[misc]


def test_two_examples_of_one_id_are_not_written(tmp_path: Path) -> None:
    example = Example.model_validate(_ROW)
    path = tmp_path / "train.jsonl"
    with pytest.raises(ValueError, match=r"train\.jsonl: two examples have the id 'peru'"):
        write_examples(path, [example, example])
    assert not path.exists()


def test_a_copy_broken_after_its_check_is_not_written(tmp_path: Path) -> None:
    path = _file(tmp_path / "train.jsonl", _ROW)
    before = path.read_bytes()
    broken = Example.model_validate(_ROW).model_copy(update={"answers": ["Cusco"]})
    with pytest.raises(ValueError, match="contains none of the answers"):
        write_examples(path, [broken])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_read_and_written_has_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    rows = [Example.model_validate(row) for row in (_ROW, {**_ROW, "id": "Nuñoa\u2028"})]
    write_examples(first, rows)
    assert json.loads(first.read_text(encoding="utf-8").split("\n")[0]) == _WHOLE_ROW
    write_examples(second, read_examples(first))
    assert first.read_bytes() == second.read_bytes()
    assert "Nuñoa".encode() in first.read_bytes()


def test_an_answer_cites_the_documents_by_their_numbers() -> None:
    example = Example.model_validate(_CITING)
    assert citation(example.documents, ["pe"]) == "[1]"
    assert citation(example.documents[::-1], ["pe"]) == "[2]"
    assert citation(example.documents, ["cl", "pe"]) == "[1][2]"  # as shown, not as named


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"answers": ["[2]"]}, "the answer '[2]' does not cite what `cites` names; expected '[1]'"),
        ({"cites": ["pe", "cl"]}, "cites names ['cl'], which are no gold documents"),
        ({"documents": _ROW["documents"][::-1]}, "expected '[2]'"),
    ],
)
def test_a_citation_that_is_wrong_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(problem)):
        Example.model_validate(_CITING | change)


def test_a_fact_is_stated_by_its_template() -> None:
    fact = Fact(
        hop=2, relation="part", subject="Bond", answer="Connery", question="Who plays {subject}?",
        statement="{answer} plays {subject} in {other}.", other="Dr. No", subject_hop=1,
    )  # fmt: skip
    assert fact.state() == "Connery plays Bond in Dr. No."
    assert fact.state("ABCD", "EFGH", "IJKL") == "EFGH plays ABCD in IJKL."
    assert fact.state("", "", "") == " plays  in ."
    with pytest.raises(ValueError, match="no template states the relation 'part' of hop 2"):
        fact.model_copy(update={"statement": None}).state()


def test_examples_are_read_one_by_one(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "train.jsonl"
    write_examples(whole, [Example.model_validate(_ROW)])
    path.write_text(whole.read_text(encoding="utf-8") + "broken\n", encoding="utf-8")
    rows = iter_examples(path)
    assert next(rows).id == "peru"  # what comes later is not read yet
    with pytest.raises(ValueError, match="line 2"):
        next(rows)


def test_examples_are_written_one_by_one(tmp_path: Path) -> None:
    def failing() -> Iterator[Example]:
        yield Example.model_validate(_ROW)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_examples(tmp_path / "train.jsonl", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_distractor_with_the_answer_in_its_title_is_refused() -> None:
    documents = [_ROW["documents"][0], _ROW["documents"][1] | {"title": "Lima, Ohio"}]
    with pytest.raises(ValidationError, match="the distractor 'cl' contains the answer 'Lima'"):
        Example.model_validate(_ROW | {"documents": documents})


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def _examples(draw: st.DrawFn) -> Example:
    texts = draw(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=4))
    documents, needles, answers = [], [], []
    for number, text in enumerate(texts):
        documents.append(Document(id=str(number), title=draw(st.text()), text=text, gold=True))
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        answers.append(text[start:end])
        is_answer = contains_answer(answers[-1], answers[-1])
        roles = ["bridge", "insight", *(["answer"] if is_answer else [])]
        needles.append(
            Needle(
                document=str(number), start=start, end=end, role=draw(st.sampled_from(roles)),
                hop=number + 1, relation=draw(st.none() | st.text()),
            )
        )  # fmt: skip
    source = draw(st.dictionaries(st.text(), _JSON, max_size=3))
    question, cluster = draw(st.text()), draw(st.text())
    return Example(
        id=draw(st.text()), task="t", variant="real", question=question, answers=answers,
        documents=documents, needles=needles, cluster=cluster, source=source,
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(_examples(), max_size=3, unique_by=lambda example: example.id))
def test_any_examples_survive_a_file(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write_examples(path, examples)
    written = path.read_bytes()
    assert read_examples(path) == examples
    write_examples(path, read_examples(path))
    assert path.read_bytes() == written
    for example in examples:
        for needle, answer in zip(example.needles, example.answers, strict=True):
            assert example.needle_text(needle) == answer


def test_a_needle_in_a_distractor_is_refused() -> None:
    with pytest.raises(ValueError, match="a needle lies in 'd', which is not gold"):
        Example(
            id="e", task="t", variant="real", question="?", answers=["Lima"],
            documents=[Document(id="d", title="", text="It is a clue.", gold=False)],
            needles=[Needle(document="d", start=0, end=2, role="bridge")],
            cluster="c", source={},
        )  # fmt: skip
