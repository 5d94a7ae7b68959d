"""The client against a real HTTP server that speaks the protocol, its errors included."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Completion, Generator, GeneratorError

_KEY_VARIABLE = "NEEDLEWORK_TEST_KEY"
_KEY = "sk-test-2c1f9a"


class Reply(NamedTuple):
    """One answer of the server; a body that is not a string is sent as JSON."""

    status: int
    body: Any
    # openai waits for what the server says, so that tests need not wait out its own back-off.
    headers: dict[str, str] = {"retry-after-ms": "1"}  # noqa: RUF012


def _answer(text: str | None = "Lima.", finish_reason: str = "stop", **more: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [{**choice, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }
    return Reply(200, body | more)


def _failure(status: int, message: str = "no") -> Reply:
    return Reply(status, {"error": {"message": message, "type": "test"}})


@dataclass
class Served:
    """What the server answers, in order and the last one for ever, and what it was asked."""

    replies: list[Reply]
    meanwhile: Callable[[], None] = lambda: None
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def _serving(*replies: Reply, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Served]:
    served = Served(list(replies), meanwhile)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with served.lock:
                served.asked.append({"path": self.path, **json.loads(body)})
                served.headers.append({k.lower(): v for k, v in self.headers.items()})
                reply = served.replies.pop(0) if len(served.replies) > 1 else served.replies[0]
            served.meanwhile()
            is_text = isinstance(reply.body, str)
            content = (reply.body if is_text else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", "text/html" if is_text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _settings(url: str, key: str | None = None, concurrency: int = 4) -> Generator:
    return Generator(
        base_url=url,
        model="asked-model",
        identity="test-server",
        api_key_env=key,
        temperature=0.5,
        max_tokens=20,
        concurrency=concurrency,
    )


def _ask(
    settings: Generator,
    folder: Path,
    *prompts: str,
    seed: int = 1,
    timeout: float = 20.0,
    max_retries: int = 5,
) -> tuple[list[Completion], dict[str, int]]:
    async def run() -> tuple[list[Completion], dict[str, int]]:
        cache = ResponseCache(folder)
        async with Client(settings, cache, timeout=timeout, max_retries=max_retries) as client:
            tasks = (client.complete(prompt, seed=seed) for prompt in prompts)
            return await asyncio.gather(*tasks), client.usage()

    return asyncio.run(run())


def _error(settings: Generator, folder: Path, **options: Any) -> GeneratorError:
    with pytest.raises(GeneratorError) as caught:
        _ask(settings, folder, "Capital of Peru?", **options)
    assert settings.base_url in str(caught.value)
    assert not list(folder.rglob("*.json")), "an error must not be cached"
    return caught.value


def test_the_request_is_as_the_settings_say(tmp_path: Path) -> None:
    with _serving(_answer()) as served:
        answers, usage = _ask(_settings(served.url), tmp_path, "Capital of Peru?", seed=7)
    assert answers == [Completion("Lima.", 11, 3, cached=False)]
    assert usage == {"requests": 1, "cached": 0, "prompt_tokens": 11, "completion_tokens": 3}
    assert served.asked == [
        {
            "path": "/v1/chat/completions",
            "model": "asked-model",
            "messages": [{"role": "user", "content": "Capital of Peru?"}],
            "temperature": 0.5,
            "max_tokens": 20,
            "seed": 7,
        }
    ]


def test_a_seed_of_63_bits_is_sent_as_one_that_every_server_takes(tmp_path: Path) -> None:
    with _serving(_answer()) as served:
        _ask(_settings(served.url), tmp_path, "p", seed=2**62 + 5)
    assert served.asked[0]["seed"] == 5


def test_an_equal_request_is_read_from_the_cache_and_any_other_is_asked(tmp_path: Path) -> None:
    with _serving(_answer("first"), _answer("second"), _answer("third")) as served:
        settings = _settings(served.url)
        _ask(settings, tmp_path, "p")
        answers, usage = _ask(settings, tmp_path, "p")
        assert answers == [Completion("first", 11, 3, cached=True)]
        assert usage == {"requests": 0, "cached": 1, "prompt_tokens": 0, "completion_tokens": 0}
        assert _ask(settings, tmp_path, "p", seed=2)[0][0].text == "second"
        assert _ask(settings, tmp_path, "another p")[0][0].text == "third"


def test_the_cache_knows_the_server_by_its_identity_not_its_port(tmp_path: Path) -> None:
    with _serving(_answer("one")) as served:
        _ask(_settings(served.url), tmp_path, "p")
    with _serving(_answer("other")) as served:
        answers, _ = _ask(_settings(served.url), tmp_path, "p")
    assert (answers[0].text, served.asked) == ("one", [])


def test_equal_requests_at_once_are_sent_once_and_agree(tmp_path: Path) -> None:
    with _serving(_answer("first"), _answer("second")) as served:
        answers, usage = _ask(_settings(served.url), tmp_path, "p", "p", "p")
    assert len(served.asked) == 1
    assert {a.text for a in answers} == {"first"}
    assert (usage["requests"], usage["cached"]) == (1, 2)


def test_as_many_requests_are_under_way_as_concurrency_says(tmp_path: Path) -> None:
    arrived, answering = threading.Semaphore(0), threading.Event()

    def meanwhile() -> None:
        arrived.release()
        answering.wait(timeout=20)

    async def run(url: str) -> tuple[bool, int]:
        async with Client(_settings(url, concurrency=2), ResponseCache(tmp_path)) as client:
            tasks = [asyncio.create_task(client.complete(str(n), seed=1)) for n in range(6)]
            waits = [asyncio.to_thread(arrived.acquire, timeout=20) for _ in range(2)]
            together = all(await asyncio.gather(*waits))
            sent = client.requests
            answering.set()
            await asyncio.gather(*tasks)
            return together, sent

    with _serving(_answer(), meanwhile=meanwhile) as served:
        assert asyncio.run(run(served.url)) == (True, 2)


def test_the_connections_are_closed_with_the_block(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        async with Client(_settings(url), ResponseCache(tmp_path), max_retries=0) as client:
            await client.complete("p", seed=1)
        with pytest.raises(RuntimeError, match="closed"):
            await client.complete("another p", seed=1)

    with _serving(_answer()) as served:
        asyncio.run(run(served.url))
    assert len(served.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_failure_is_retried_and_counts_as_one_request(
    tmp_path: Path, status: int
) -> None:
    with _serving(_failure(status), _failure(status), _answer()) as served:
        answers, usage = _ask(_settings(served.url), tmp_path, "p")
    assert answers[0].text == "Lima."
    assert len(served.asked) == 3
    assert usage["requests"] == 1


@pytest.mark.parametrize(
    ("status", "tries", "fix"),
    [
        (400, 1, "what it does not accept"),
        (401, 1, "api_key_env"),
        (403, 1, "api_key_env"),
        (404, 1, "`model` is one that it serves"),
        (429, 6, "lower `concurrency`"),
        (500, 6, "see its log"),
        (503, 6, "see its log"),
    ],
)
def test_a_lasting_failure_names_server_status_words_and_fix(
    tmp_path: Path, status: int, tries: int, fix: str
) -> None:
    with _serving(_failure(status, "the server's own words")) as served:
        message = str(_error(_settings(served.url), tmp_path))
    assert str(status) in message
    assert "the server's own words" in message
    assert fix in message
    assert len(served.asked) == tries


def test_a_refused_connection_names_the_server_and_the_fix(tmp_path: Path) -> None:
    with _serving(_answer()) as served:
        pass
    message = str(_error(_settings(served.url), tmp_path, max_retries=0))
    assert "onnect" in message
    assert "Check `base_url`" in message


def test_an_answer_that_never_comes_is_an_error(tmp_path: Path) -> None:
    gone = threading.Event()

    def meanwhile() -> None:
        gone.wait(timeout=10)

    with _serving(_answer(), meanwhile=meanwhile) as served:
        message = str(_error(_settings(served.url), tmp_path, timeout=0.05, max_retries=0))
        gone.set()
    assert "timed out" in message


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, "<html>a login page</html>"), "login page"),
        (Reply(200, {"error": {"message": "upstream is down"}}), "upstream is down"),
        (_answer(choices=[]), "choices"),
        (_answer(choices=[{"index": 0}]), r"choices.0.message"),
        (_answer(choices=None), "choices"),
    ],
)
def test_an_answer_of_another_shape_is_an_error_that_shows_it(
    tmp_path: Path, reply: Reply, words: str
) -> None:
    with _serving(reply) as served:
        message = str(_error(_settings(served.url), tmp_path))
    assert "not a chat completion" in message
    assert words in message


@pytest.mark.parametrize("text", ["", None])
def test_tokens_spent_without_a_word_are_an_error_and_are_counted(
    tmp_path: Path, text: str | None
) -> None:
    async def run(url: str) -> dict[str, int]:
        async with Client(_settings(url), ResponseCache(tmp_path)) as client:
            with pytest.raises(GeneratorError, match=r"20 tokens.*Raise `max_tokens`"):
                await client.complete("p", seed=1)
            return client.usage()

    with _serving(_answer(text, "length")) as served:
        usage = asyncio.run(run(served.url))
    assert usage == {"requests": 1, "cached": 0, "prompt_tokens": 11, "completion_tokens": 3}
    assert not list(tmp_path.rglob("*.json"))


def test_a_cut_or_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    with _serving(_answer("Lima is", "length"), _answer("", "stop"), _answer(usage=None)) as served:
        settings = _settings(served.url)
        assert _ask(settings, tmp_path, "cut")[0] == [Completion("Lima is", 11, 3, False)]
        assert _ask(settings, tmp_path, "empty")[0] == [Completion("", 11, 3, False)]
        assert _ask(settings, tmp_path, "uncounted")[0] == [Completion("Lima.", 0, 0, False)]


def test_the_key_reaches_the_server_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(_KEY_VARIABLE, f"{_KEY}\n")  # as a shell reads it from a file
    caplog.set_level(logging.DEBUG)
    refusal = _failure(401, f"Incorrect API key provided: {_KEY}")
    html = Reply(200, f"<html>{_KEY}</html>")
    with _serving(refusal, html, _failure(500), _answer()) as served:
        settings = _settings(served.url, key=_KEY_VARIABLE)
        errors = [_error(settings, tmp_path) for _ in range(2)]
        client = Client(settings, ResponseCache(tmp_path))
        _ask(settings, tmp_path, "Capital of Peru?")
    assert [h["authorization"] for h in served.headers] == [f"Bearer {_KEY}"] * 4
    traces = "".join("".join(traceback.format_exception(error)) for error in errors)
    assert f"environment variable {_KEY_VARIABLE}" in traces
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1
    stored = "".join(path.read_text(encoding="utf-8") + str(path) for path in files)
    assert "sk-test" not in traces + stored + caplog.text + repr(settings) + repr(client)
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)


@pytest.mark.parametrize("value", [None, "", "  ", "sk-\x1b", "sk-“quoted”"])
def test_a_missing_key_names_its_variable_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(_KEY_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(_KEY_VARIABLE, value)
    with _serving(_answer()) as served:
        with pytest.raises(GeneratorError, match=f"export {_KEY_VARIABLE}=") as caught:
            _ask(_settings(served.url, key=_KEY_VARIABLE), tmp_path, "p")
        assert served.asked == []
    assert "sk-" not in str(caught.value)


def test_a_run_from_the_cache_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_KEY_VARIABLE, _KEY)
    with _serving(_answer()) as served:
        settings = _settings(served.url, key=_KEY_VARIABLE)
        _ask(settings, tmp_path, "p")
    monkeypatch.delenv(_KEY_VARIABLE)
    answers, _ = _ask(settings, tmp_path, "p")
    assert answers[0].cached


def test_openai_variables_of_the_environment_decide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-stray")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-stray")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-stray")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-stray")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Bearer sk-stray")
    with _serving(_answer()) as served:
        answers, _ = _ask(_settings(served.url), tmp_path, "p", max_retries=0)
    assert answers[0].text == "Lima."
    (headers,) = served.headers
    assert headers["authorization"] == "Bearer none"
    assert "stray" not in json.dumps(headers)
