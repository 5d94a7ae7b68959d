"""What is asked: a template for each kind, each with its own words and no others."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from jinja2 import UndefinedError

from needlework.examples import Example
from needlework.llm.client import Request
from needlework.synthesis.concepts import parts_of
from needlework.synthesis.prompts import requests
from tests.synthesis import by_hand
from tests.synthesis.by_hand import INSIGHT_TEXT, SHAPES, all_shapes

_FOLDER = Path(requests.__file__).parent
_KINDS = {"rewrite_fact", "rewrite_insight", "state_answer", "write_document"}


def _unstated(example: Example) -> Example:
    facts = [fact.model_copy(update={"statement": None}) for fact in example.facts]
    return example.model_copy(update={"facts": facts})


def _of(module: ModuleType, example: Example, attempt: int = 0) -> list[Request]:
    return [
        module.rewrite_request(example, fact, needle, attempt, 7)
        for fact, needle in parts_of(example)
    ]


def _all_requests(module: ModuleType) -> list[Request]:
    examples = [*all_shapes().values(), _unstated(by_hand.tree())]
    asked = [request for example in examples for request in _of(module, example)]
    return [*asked, module.document_request("Peru: Capital", 3, 99)]


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    """A copy of the folder of templates and of the module that reads them."""
    shutil.copytree(_FOLDER, tmp_path / "prompts", ignore=shutil.ignore_patterns("__pycache__"))
    yield tmp_path / "prompts"
    sys.modules.pop("copied_requests", None)


def _loaded(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("copied_requests", folder / "requests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_template_is_a_kind_of_request() -> None:
    assert {path.stem for path in _FOLDER.glob("*.j2")} == _KINDS
    assert {request.kind for request in _all_requests(requests)} == _KINDS


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_a_changed_template_changes_the_requests_of_its_own_kind_alone(
    copied: Path, kind: str
) -> None:
    before = _all_requests(requests)
    assert _all_requests(_loaded(copied)) == before
    path = copied / f"{kind}.j2"
    path.write_text(path.read_text(encoding="utf-8") + " Take care.", encoding="utf-8")
    after = _all_requests(_loaded(copied))
    for one, other in zip(before, after, strict=True):
        assert (one == other) == (one.kind != kind)
        assert one.kind == other.kind


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_a_template_with_an_unknown_name_is_an_error(copied: Path, kind: str) -> None:
    path = copied / f"{kind}.j2"
    path.write_text("{{ nothing_of_this_name }}", encoding="utf-8")
    with pytest.raises(UndefinedError, match="nothing_of_this_name"):
        _all_requests(_loaded(copied))


def test_answer_and_subject_come_first_in_turn() -> None:
    example = by_hand.one_hop()
    prompts = [_of(requests, example, attempt)[0].prompt for attempt in range(4)]
    assert all(prompt.endswith(f":\n{example.facts[0].state()}") for prompt in prompts)
    assert ['"Lima"' in prompt for prompt in prompts] == [True, False, True, False]
    assert ['"Peru"' in prompt for prompt in prompts] == [False, True, False, True]


def test_a_citation_of_facts_rewrites_each_document_s_own() -> None:
    asked = _of(requests, by_hand.citing_facts())
    for request, country in zip(asked, ("Chile", "Cuba", "Spain"), strict=True):
        assert request.kind == "rewrite_fact"
        assert f"The official language of {country} is Spanish." in request.prompt


def test_an_insight_is_asked_for_as_it_is_whatever_it_is_called() -> None:
    asked = _of(requests, by_hand.citing_insight())
    assert [request.kind for request in asked] == ["rewrite_insight"] * 3
    assert all(request.prompt.endswith(f":\n{INSIGHT_TEXT}") for request in asked)
    example = by_hand.citing_insight()
    named = example.facts[0].model_copy(update={"subject": "Ferries"})  # a word of the insight
    assert _of(requests, example.model_copy(update={"facts": [named]})) == asked


def test_a_fact_without_a_template_is_asked_of_its_document() -> None:
    example = _unstated(by_hand.tree())
    request = _of(requests, example)[2]
    (document,) = (d for d in example.documents if d.id == "trip")
    assert request.kind == "state_answer"
    assert 'Passage from an article titled "A trip":\n' + document.text in request.prompt
    assert "Question: When did Ann Lee visit Ghent?\nAnswer: 1951\n" in request.prompt
    untitled = [d.model_copy(update={"title": ""}) for d in example.documents]
    request = _of(requests, example.model_copy(update={"documents": untitled}))[2]
    assert request.prompt.startswith(f"Passage:\n{document.text}\n")


@pytest.mark.parametrize("before", [0, 250, 5000])
def test_of_a_long_document_the_words_around_the_needle_are_shown(before: int) -> None:
    example = _unstated(by_hand.one_hop())
    text = "a " * before + "Its capital is Lima." + " z" * 5000
    start = text.index("Lima")
    gold = example.documents[0].model_copy(update={"text": text})
    example = example.model_copy(
        update={
            "documents": [gold, *example.documents[1:]],
            "needles": [example.needles[0].model_copy(update={"start": start, "end": start + 4})],
        }
    )
    (request,) = _of(requests, example)
    assert "Its capital is Lima." in request.prompt
    assert len(request.prompt) < 1200
    if before == 5000:
        assert "a a a Its capital" in request.prompt
    assert "Lima. z z z" in request.prompt


def test_the_words_of_a_fact_are_plain_text() -> None:
    example = by_hand.one_hop()
    fact = example.facts[0].model_copy(update={"subject": "R&D <{{ 7 * 7 }}>", "answer": "'A'"})
    (request,) = _of(requests, example.model_copy(update={"facts": [fact]}))
    assert "The capital of R&D <{{ 7 * 7 }}> is 'A'." in request.prompt


@pytest.mark.parametrize("name", SHAPES)
def test_seed_and_length_are_those_given(name: str) -> None:
    for request in _of(requests, all_shapes()[name]):
        assert (request.seed, request.max_tokens, request.schema) == (7, None, None)
    request = requests.document_request("Lakes & rivers", 3, 99)
    assert (request.seed, request.max_tokens, request.kind) == (3, 99, "write_document")
    assert '"Lakes & rivers"' in request.prompt
