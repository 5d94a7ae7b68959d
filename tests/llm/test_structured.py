"""Schemas: what counts as valid, and how a client gets there on servers of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.llm import structured
from needlework.llm.client import Failure, Request
from tests.llm.asking import SCHEMA, ask, settings
from tests.llm.server import JSON, Reply, answer, failure, serving

_CITY = json.dumps({"city": "Lima"})


def _asked(*prompts: str, schema: dict[str, Any] = SCHEMA) -> list[Request]:
    return [Request(prompt, seed=1, schema=schema) for prompt in prompts]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_json_survives_a_fence_and_the_empty_schema_takes_all_of_it(value: Any) -> None:
    text = json.dumps(value)
    for reply in (text, f"\n{text} ", f"```json\n{text}\n```", f"```\n{text}```\n"):
        assert json.loads(structured.json_text(reply)) == value
        assert structured.problem(structured.json_text(reply), {}) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Lima", "not JSON"),
        ("", "not JSON"),
        ('{"city": "Li', "not JSON"),
        ('{"city": NaN}', "NaN"),
        ("[" * 10**5, "not JSON"),
        ('{"city": 3}', r"at \$.city, 3 is not of type 'string'"),
        ("{}", "'city' is a required property"),
        ('{"city": "Lima", "more": 1}', "more"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    found = structured.problem(text, SCHEMA)
    assert found is not None
    assert words.replace("\\", "") in found


def test_a_schema_that_is_none_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with (
        serving(answer(_CITY)) as served,
        pytest.raises(ValueError, match=r"not a JSON schema.*nonsense"),
    ):
        ask(settings(served.url), tmp_path, _asked("p", schema={"type": "nonsense"}))
    assert served.asked == []


def test_a_server_that_takes_a_schema_gets_it_as_response_format(tmp_path: Path) -> None:
    with serving(answer(f"```json\n{_CITY}\n```")) as served:
        run = ask(settings(served.url), tmp_path, _asked("Capital of Peru?"))
    assert run.texts == [_CITY]
    (body,) = served.asked
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
    }
    assert body["messages"] == [{"role": "user", "content": "Capital of Peru?"}]


def _refusing(body: JSON, times: int) -> Reply:
    return failure(400, "unknown field") if "response_format" in body else answer(_CITY)


@pytest.mark.parametrize("batch", [False, True])
def test_a_server_that_refuses_schemas_is_remembered_and_gets_them_in_the_prompt(
    tmp_path: Path, batch: bool
) -> None:
    with serving(_refusing) as served:
        generator = settings(served.url, concurrency=1, batch=batch)
        assert ask(generator, tmp_path, _asked("p")).texts == [_CITY]
        run = ask(generator, tmp_path, _asked("q", "r"))
    assert run.texts == [_CITY, _CITY]
    assert (run.usage["failed"], run.usage["retries"]) == (0, 0)
    assert ["response_format" in body for body in served.asked] == [True, False, False, False]
    assert json.dumps(SCHEMA, sort_keys=True) in served.prompts()[-1]


def test_another_schema_and_another_model_are_tried_anew(tmp_path: Path) -> None:
    with serving(_refusing) as served:
        ask(settings(served.url), tmp_path, _asked("p"))
        ask(settings(served.url), tmp_path, _asked("p", schema={"type": "object"}))
        ask(settings(served.url, model="m"), tmp_path, _asked("p"))
    assert ["response_format" in body for body in served.asked] == [True, False] * 3


def test_a_400_for_another_reason_fails_and_is_not_remembered(tmp_path: Path) -> None:
    def model(body: JSON, times: int) -> Reply:
        is_long = "long" in body["messages"][0]["content"]
        return failure(400, "too long for the context") if is_long else answer(_CITY)

    with serving(model) as served:
        generator = settings(served.url, concurrency=1)
        (failed, good) = ask(generator, tmp_path, _asked("long", "short")).outcomes
    assert isinstance(failed, Failure)
    assert "too long for the context" in failed.reason
    assert not isinstance(good, Failure)
    assert ["response_format" in body for body in served.asked] == [True, False, True]


@pytest.mark.parametrize("batch", [False, True])
def test_a_reply_that_is_not_valid_is_asked_again_with_the_error_told(
    tmp_path: Path, batch: bool
) -> None:
    replies = ["I think Lima.", '{"town": "Lima"}', _CITY]
    with serving(lambda body, times: answer(replies[len(body["messages"]) // 2])) as served:
        run = ask(settings(served.url, batch=batch), tmp_path, _asked("Capital of Peru?"))
    assert run.texts == [_CITY]
    assert (run.usage["requests"], run.usage["retries"]) == (1, 2)
    assert run.outcomes[0][1:3] == (33, 9), "tokens of all three replies"
    last = [(message["role"], message["content"]) for message in served.asked[-1]["messages"]]
    assert [role for role, _ in last] == ["user", "assistant", "user", "assistant", "user"]
    assert [last[1][1], last[3][1]] == replies[:2]
    assert "it is not JSON" in last[2][1]
    assert "'city' is a required property" in last[4][1]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("repairs", [0, 1, 3])
def test_repairs_are_bounded_and_then_a_failure(tmp_path: Path, batch: bool, repairs: int) -> None:
    with serving(answer('{"city": "Lim', "length")) as served:
        generator = settings(served.url, batch=batch)
        run = ask(generator, tmp_path, _asked("p"), repairs=repairs)
    (failed,) = run.outcomes
    assert isinstance(failed, Failure)
    assert len(served.asked) == failed.attempts == repairs + 1
    assert f"after {repairs} repairs" in failed.reason
    assert "cut off at 20 tokens" in failed.reason


def test_models_that_fail_the_schema_do_not_count_as_a_failing_server(tmp_path: Path) -> None:
    with serving(answer("no JSON")) as served:
        prompts = [str(n) for n in range(80)]
        run = ask(settings(served.url), tmp_path, _asked(*prompts), repairs=0)
    assert run.usage["failed"] == 80


def test_a_schema_is_part_of_what_determines_the_answer(tmp_path: Path) -> None:
    with serving(answer(_CITY)) as served:
        for schema in (SCHEMA, SCHEMA | {"title": "another"}, SCHEMA):
            ask(settings(served.url), tmp_path, _asked("p", schema=schema))
        ask(settings(served.url), tmp_path, ["p"])
    assert len(served.asked) == 3
