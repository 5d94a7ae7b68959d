"""Keys go from the environment to the server and nowhere else; prompts stay out of failures."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from needlework.llm.cache import ResponseCache
from needlework.llm.client import Failure, GeneratorError, Request
from tests.llm.asking import ask, settings
from tests.llm.server import Reply, answer, failure, serving

_KEY_VARIABLE = "NEEDLEWORK_TEST_KEY"
_KEY = "sk-test-2c1f9a"


def _everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("batch", [False, True])
def test_the_key_reaches_the_server_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    batch: bool,
) -> None:
    monkeypatch.setenv(_KEY_VARIABLE, f"{_KEY}\n")  # as a shell reads it from a file
    caplog.set_level(logging.DEBUG)
    errors, runs = [], []
    repeats = [
        failure(401, f"Incorrect API key provided: {_KEY}"),
        failure(400, f"{_KEY} {_KEY}"),
        answer(f"My key is {_KEY}."),
        answer(finish_reason="length", choices=[], model=_KEY),
        Reply(200, f"<html>{_KEY}</html>"),
    ]
    for reply in repeats:
        with serving(reply) as served:
            generator = settings(served.url, api_key_env=_KEY_VARIABLE, batch=batch)
            asked = [Request(f"{reply}".replace(_KEY, ""), seed=1, kind="k")]
            try:
                runs.append(ask(generator, tmp_path, asked, max_retries=1))
            except GeneratorError as error:
                errors.append(error)
            # Before the files are closed, so that the write-ahead log is looked at as well.
            with ResponseCache(tmp_path / "cache.sqlite") as cache:
                cache.put([({"a": 1}, {"b": 1})])
                assert b"sk-test" not in _everything_written(tmp_path)
        assert {h["authorization"] for h in served.headers} == {f"Bearer {_KEY}"}
    traces = "".join("".join(traceback.format_exception(error)) for error in errors)
    assert f"environment variable {_KEY_VARIABLE}" in traces
    shown = "".join(capfd.readouterr()) + traces + repr(runs) + repr(generator)
    assert "<key>" in shown
    assert "sk-test" not in shown
    assert "sk-test" not in caplog.text
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)


@pytest.mark.parametrize("echo", [str, json.dumps, repr])
def test_failures_do_not_repeat_the_prompt(tmp_path: Path, echo: Callable[[str], str]) -> None:
    prompt = 'A "secret"\nprompt, Perú'
    with serving(lambda b, t: failure(400, echo(b["messages"][0]["content"]))) as served:
        (failed,) = ask(settings(served.url), tmp_path, [prompt]).outcomes
    assert isinstance(failed, Failure)
    assert b"secret" not in (tmp_path / "failures.jsonl").read_bytes()


@pytest.mark.parametrize("value", [None, "", "  ", "sk-\x1b", "sk-“quoted”"])
def test_a_missing_key_names_its_variable_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(_KEY_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(_KEY_VARIABLE, value)
    with serving(answer()) as served:
        with pytest.raises(GeneratorError, match=f"export {_KEY_VARIABLE}=") as caught:
            ask(settings(served.url, api_key_env=_KEY_VARIABLE), tmp_path, ["p", "q"])
        assert served.asked == []
    assert "sk-" not in str(caught.value)


def test_a_run_from_the_cache_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_KEY_VARIABLE, _KEY)
    with serving(answer()) as served:
        generator = settings(served.url, api_key_env=_KEY_VARIABLE)
        ask(generator, tmp_path, ["p"])
    monkeypatch.delenv(_KEY_VARIABLE)
    assert ask(generator, tmp_path, ["p"]).usage["cached"] == 1


def test_openai_variables_of_the_environment_decide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-stray")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-stray")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-stray")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-stray")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Bearer sk-stray")
    with serving(answer()) as served:
        assert ask(settings(served.url), tmp_path, ["p"]).texts == ["Lima."]
        ask(settings(served.url, batch=True), tmp_path, ["q"])
    assert {headers["authorization"] for headers in served.headers} == {"Bearer none"}
    assert "stray" not in json.dumps(served.headers)
