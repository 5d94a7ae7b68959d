"""Rewriting against a real HTTP server: asked again until it passes, in order, and all counted."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.factbook import Corpus
from needlework.examples import Example
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Generator, GeneratorError
from needlework.synthesis.concepts import facts_of, rewrite_prompt
from needlework.synthesis.rewriting import (
    Rewrite,
    read_rewrites,
    rewrite_all,
    rewriting_report,
)

# The reply to a fact's statement when it is asked for the n-th time, from 0; None is a failure.
Model = Callable[[str, int], str | None]


@dataclass
class _Served:
    url: str = ""
    statements: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)


@contextmanager
def _serving(examples: list[Example], model: Model) -> Iterator[_Served]:
    known = [fact.state() for example in examples for fact in facts_of(example)]
    served = _Served()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = asked["messages"][0]["content"]
            with lock:
                statement = max((s for s in known if s in prompt), key=len, default="")
                attempt = served.statements.count(statement)
                served.statements.append(statement)
                served.prompts.append(prompt)
                served.seeds.append(asked["seed"])
            reply = model(statement, attempt)
            message = {"role": "assistant", "content": reply}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            content = json.dumps({"choices": [choice]}).encode()
            self.send_response(400 if reply is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _generator(url: str) -> Generator:
    return Generator(
        base_url=url,
        model="m",
        identity="test-server",
        api_key_env=None,
        temperature=0.7,
        max_tokens=64,
        concurrency=4,
    )


def _rewrite(
    url: str, cache: Path, examples: list[Example], *, attempts: int = 3, seed: int = 1
) -> tuple[list[Rewrite], dict[str, int]]:
    async def run() -> tuple[list[Rewrite], dict[str, int]]:
        async with Client(_generator(url), ResponseCache(cache)) as client:
            rewrites = await rewrite_all(client, examples, attempts=attempts, seed=seed)
            return rewrites, client.usage()

    return asyncio.run(run())


def _good(statement: str, attempt: int) -> str:
    return f"It is known that {statement}"


def _last_comes_first(example: Example, model: Model) -> Model:
    """The same model, which replies to the fact of `example` after those of three others."""
    first = facts_of(example)[0].state()
    others = threading.Semaphore(0)

    def reply(statement: str, attempt: int) -> str | None:
        if statement == first:
            assert all(others.acquire(timeout=30) for _ in range(3))
        else:
            others.release()
        return model(statement, attempt)

    return reply


def test_a_good_reply_is_taken_at_once_in_the_order_of_the_examples(
    corpus: Corpus, tmp_path: Path
) -> None:
    with _serving(corpus.train, _last_comes_first(corpus.train[0], _good)) as served:
        rewrites, usage = _rewrite(served.url, tmp_path, corpus.train)
    assert rewrites == [
        Rewrite(example.id, [f"It is known that {fact.state()}" for fact in facts_of(example)], [])
        for example in corpus.train
    ]
    assert usage["requests"] == len(served.prompts) == len(corpus.train)
    assert set(served.prompts) == {rewrite_prompt(facts_of(e)[0], 0) for e in corpus.train}


def test_a_refused_reply_is_asked_for_again(corpus: Corpus, tmp_path: Path) -> None:
    replies: list[Model] = [
        lambda statement, attempt: "",
        lambda statement, attempt: f'"{statement}"',
        lambda statement, attempt: f"Here it is:\n\n*It is known that {statement}*\nAnd more.",
    ]
    examples = corpus.train[:4]
    with _serving(examples, lambda said, attempt: replies[attempt](said, attempt)) as served:
        rewrites, usage = _rewrite(served.url, tmp_path, examples)
    for rewrite, example in zip(rewrites, examples, strict=True):
        (fact,) = facts_of(example)
        assert rewrite.sentences == [f"It is known that {fact.state()}"]
        assert rewrite.refused == ["empty", "copied the statement"]
    assert usage["requests"] == 3 * len(examples)


def test_a_fact_that_is_always_lost_fails_after_all_attempts_and_no_other_does(
    corpus: Corpus, tmp_path: Path
) -> None:
    lost = {facts_of(example)[0].state() for example in corpus.train[2:5]}

    def model(statement: str, attempt: int) -> str:
        return "Nobody knows." if statement in lost else _good(statement, attempt)

    with _serving(corpus.train, model) as served:
        rewrites, usage = _rewrite(served.url, tmp_path, corpus.train, attempts=4)
    failed = [rewrite for rewrite in rewrites if rewrite.sentences is None]
    assert [rewrite.id for rewrite in failed] == [example.id for example in corpus.train[2:5]]
    assert all(rewrite.refused == ["lost the answer"] * 4 for rewrite in failed)
    assert usage["requests"] == 4 * 3 + len(corpus.train) - 3
    assert rewriting_report(rewrites, 4) == {
        "asked": len(corpus.train),
        "kept": len(corpus.train) - 3,
        "failed": 3,
        "failed_ids": [rewrite.id for rewrite in failed],
        "attempts_at_most": 4,
        "refused_replies": {"lost the answer": 12},
    }


def test_every_request_has_a_seed_of_its_own_that_every_server_takes(
    corpus: Corpus, tmp_path: Path
) -> None:
    examples = corpus.train[:5]
    seeds = {}
    for number, seed in enumerate((1, 1, 2)):
        with _serving(examples, lambda statement, attempt: "Nobody knows.") as served:
            _rewrite(served.url, tmp_path / str(number), examples, seed=seed)
        seeds[number] = set(served.seeds)
        assert len(seeds[number]) == len(served.seeds) == 15
        assert all(0 <= s < 2**31 for s in served.seeds)
    assert seeds[0] == seeds[1]
    assert not seeds[0] & seeds[2]


def test_a_second_run_asks_for_nothing(corpus: Corpus, tmp_path: Path) -> None:
    with _serving(corpus.train, lambda s, n: _good(s, n) if n else "No.") as served:
        first, _ = _rewrite(served.url, tmp_path, corpus.train)
    second, usage = _rewrite("http://127.0.0.1:9/v1", tmp_path, corpus.train)
    assert second == first
    assert usage["requests"] == 0
    assert usage["cached"] == 2 * len(corpus.train)


def test_a_server_that_fails_ends_every_request(corpus: Corpus, tmp_path: Path) -> None:
    async def run(client: Client) -> set[asyncio.Task[Any]]:
        async with client:
            with pytest.raises(GeneratorError, match=r"127\.0\.0\.1.*400"):
                await rewrite_all(client, corpus.train, attempts=3, seed=1)
            return asyncio.all_tasks() - {asyncio.current_task()}

    with _serving(corpus.train, lambda statement, attempt: None) as served:
        client = Client(_generator(served.url), ResponseCache(tmp_path))
        assert asyncio.run(run(client)) == set()


def test_all_hops_are_rewritten_in_order_until_one_fails(corpus: Corpus, tmp_path: Path) -> None:
    (fact,) = facts_of(corpus.train[0])
    rows = [fact.model_dump() | {"hop": hop, "answer": f"Ada{hop}"} for hop in (3, 1, 2)]
    example = corpus.train[0].model_copy(update={"source": {"facts": rows}})
    with _serving([example], _good) as served:
        (whole,), _ = _rewrite(served.url, tmp_path / "whole", [example])
    assert whole.sentences == [
        f"It is known that {fact.state(answer=f'Ada{hop}')}" for hop in (1, 2, 3)
    ]
    with _serving([example], lambda s, n: "No." if "Ada2" in s else _good(s, n)) as served:
        (partial,), _ = _rewrite(served.url, tmp_path / "partial", [example], attempts=2)
    assert partial == Rewrite(example.id, None, ["lost the answer"] * 2)
    assert len(served.prompts) == 1 + 2


def test_rewrites_survive_a_file(tmp_path: Path) -> None:
    rewrites = [
        Rewrite("a\u2028b", ["Ñuñoa is\x85 known.", "two"], ["empty"]),
        Rewrite("b", None, ["lost the answer", "empty"]),
    ]
    path = tmp_path / "rewrites.jsonl"
    lines = [json.dumps(rewrite._asdict(), ensure_ascii=False) + "\n" for rewrite in rewrites]
    path.write_text("".join(lines), encoding="utf-8")
    assert read_rewrites(path) == rewrites
