"""A key is in the environment and in the requests, and in nothing that a run writes or prints."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote

import pytest

from needlework.corpora.corpus import Corpus
from needlework.examples import write_examples
from needlework.llm.client import GeneratorError
from needlework.llm.keys import scrubbed
from tests.llm.asking import ask, settings
from tests.llm.server import CUT, JSON, Reply, answer, failure, serving
from tests.security.planted import KEY, VARIABLE, left_in, traces

REPEATED = " ".join(
    [KEY, json.dumps(KEY), repr(KEY), quote(KEY, safe=""), quote(KEY)]
    + [base64.b64encode(f"{each}{KEY}".encode()).decode() for each in ("", "Bearer ", "user:", "a")]
)
HEADERS = {"x-echo": quote(KEY), "x-echo-plain": KEY, "set-cookie": f"key={quote(KEY)}"}
REPLIES = {
    "success": answer(f"Lima. {REPEATED}", model=KEY, system_fingerprint=REPEATED),
    "refused": failure(401, f"Incorrect API key provided: {REPEATED}"),
    "failed": Reply(500, {"error": {"message": REPEATED}}, HEADERS),
    "malformed": Reply(200, f"<html>{REPEATED}</html>", HEADERS),
    "no JSON object": Reply(200, json.dumps([REPEATED]), HEADERS),
    "bad request": Reply(400, REPEATED, HEADERS),
    "moved": Reply(302, REPEATED, HEADERS | {"location": f"/v1/{quote(KEY)}"}),
    "cut": CUT,
}


def test_the_search_finds_what_it_is_for() -> None:
    for text in REPEATED.split("Bearer"):
        assert traces(text.encode())
    for each in (
        KEY,
        json.dumps(KEY),
        quote(KEY),
        base64.b64encode(f"user:{KEY}".encode()).decode(),
    ):
        assert traces(each.encode())
    assert not traces(b"sk-planted, and other texts" + os.urandom(10_000).hex().encode())


def test_a_text_is_scrubbed_of_every_form() -> None:
    text = f"before {REPEATED} after"
    found = scrubbed(text, KEY)
    assert not traces(found.encode())
    assert found.startswith("before <key>")
    assert found.endswith(" after")
    assert scrubbed("EMPTY or none", "EMPTY") == "EMPTY or none"
    assert scrubbed("of another", KEY) == "of another"


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("name", REPLIES)
def test_no_reply_brings_it_to_light(
    name: str,
    batch: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)
    shown = ""
    with serving(REPLIES[name]) as served:
        generator = settings(served.url, api_key_env=VARIABLE, batch=batch)
        try:
            shown = repr(ask(generator, tmp_path, ["Name a city."], max_retries=1))
        except GeneratorError as error:
            shown = f"{error!r} {error.__context__} {error.__cause__}"
        assert served.headers[0]["authorization"] == f"Bearer {KEY}"
    assert left_in(tmp_path) == []
    assert traces(f"{shown} {caplog.text} {capfd.readouterr()}".encode()) == []


@pytest.fixture(scope="module")
def examples(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "train.jsonl"
    write_examples(path, corpus.train[:2])
    return path


@pytest.mark.parametrize("name", ["success", "refused", "failed", "no server"])
def test_a_command_with_every_debug_switch_on_keeps_it(
    name: str, examples: Path, root: Path, tmp_path: Path
) -> None:
    """Where a server cannot be reached, the command tries no more than three times."""
    reply: Callable[[JSON, int], Reply] | None = None
    if name != "no server":
        reply = lambda body, times: REPLIES[name] if times == 0 else failure(401, REPEATED)  # noqa: E731
    with serving(reply) if reply else nullcontext() as served:
        url = served.url if served else "http://127.0.0.1:9/v1"
        command = [
            sys.executable, "scripts/rewrite_facts.py", "--examples", str(examples), "--base-url",
            url, "--model", "m", "--api-key-env", VARIABLE, "--temperature", "0.5", "--max-tokens",
            "20", "--attempts", "1", "--concurrency", "1", "--seed", "0",
            "--cache", str(tmp_path / "cache.sqlite"), "--output", str(tmp_path / "out.jsonl"),
            "--report", str(tmp_path / "report.json"),
        ]  # fmt: skip
        switches = {"OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "trace", "PYTHONASYNCIODEBUG": "1"}
        switches |= {"NEEDLEWORK_TRACEBACK": "1", "PYTHONPATH": str(root), VARIABLE: KEY}
        done = subprocess.run(
            command, cwd=root, env=os.environ | switches, capture_output=True, text=True
        )
    assert done.returncode in (0, 1)
    assert "usage:" not in done.stderr
    (tmp_path / "printed").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert left_in(tmp_path) == []
