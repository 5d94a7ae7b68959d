"""Rewriting against a real HTTP server: asked again until it passes, in order, and all counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from needlework.corpora.corpus import Corpus
from needlework.examples import Example
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, GeneratorError
from needlework.synthesis.concepts import parts_of
from needlework.synthesis.generated import Rewrite, read_rewrites
from needlework.synthesis.rewriting import (
    first_requests,
    rewrite_all,
    rewriting_report,
)
from tests.llm.asking import settings
from tests.llm.server import JSON, Reply, answer, failure, serving
from tests.synthesis import by_hand
from tests.synthesis.by_hand import SHAPES, all_shapes

# The reply to the last line of a prompt, a fact's statement; None is a failure for good.
Model = Callable[[str], str | None]


def _good(statement: str) -> str:
    return f"It is known that {statement}"


def _replying(model: Model) -> Callable[[JSON, int], Reply]:
    def reply(body: JSON, times: int) -> Reply:
        text = model(body["messages"][0]["content"].splitlines()[-1])
        return failure(400, "refused") if text is None else answer(text)

    return reply


def _by_round(*models: Model) -> Model:
    """A model for each time that a statement is asked for."""
    seen: dict[str, int] = {}

    def model(statement: str) -> str | None:
        seen[statement] = seen.get(statement, -1) + 1
        return models[seen[statement]](statement)

    return model


def _rewrite(
    url: str, folder: Path, examples: Sequence[Example], *, attempts: int = 3, seed: int = 1
) -> tuple[list[Rewrite], dict[str, Any]]:
    async def run() -> tuple[list[Rewrite], dict[str, Any]]:
        with ResponseCache(folder / "cache.sqlite") as cache:
            generator = settings(url, concurrency=4)
            async with Client(generator, cache, first_wait=0.001, timeout=20.0) as client:
                rewrites = await rewrite_all(client, examples, attempts=attempts, seed=seed)
                return rewrites, client.usage()

    return asyncio.run(run())


def _sentences(example: Example) -> list[str]:
    return [_good(fact.state()) for fact, _ in parts_of(example)]


def test_a_good_reply_is_taken_at_once_in_the_order_of_examples_and_facts(tmp_path: Path) -> None:
    examples = list(all_shapes().values())
    with serving(_replying(_good)) as served:
        rewrites, usage = _rewrite(served.url, tmp_path, examples)
    assert rewrites == [Rewrite(example.id, _sentences(example), []) for example in examples]
    assert usage["requests"] == sum(len(parts_of(example)) for example in examples)


def test_what_is_asked_first_is_known_before(tmp_path: Path) -> None:
    examples = list(all_shapes().values())
    planned = first_requests(examples, seed=5)
    with serving(_replying(_good)) as served:
        _rewrite(served.url, tmp_path, examples, seed=5)
    asked = [(body["messages"][0]["content"], body["seed"]) for body in served.asked]
    assert sorted(asked) == sorted((r.prompt, r.seed % 2**31) for r in planned)
    assert len(set(asked)) == len(asked)


def test_a_refused_reply_is_asked_for_again_with_other_words(tmp_path: Path) -> None:
    example = by_hand.linear(3)
    model = _by_round(
        lambda statement: "",
        lambda statement: f'"{statement}"',
        lambda statement: f"Here it is:\n\n*{_good(statement)}*\nAnd more.",
    )
    with serving(_replying(model)) as served:
        (rewrite,), usage = _rewrite(served.url, tmp_path, [example])
    assert rewrite.sentences == _sentences(example)
    assert sorted(rewrite.refused) == ["copied the statement"] * 3 + ["empty"] * 3
    assert usage["requests"] == 9
    assert len({body["seed"] for body in served.asked}) == 9
    about_last = [p for p in served.prompts() if p.endswith(example.facts[2].state())]
    assert ['"Brussels"' in prompt for prompt in about_last] == [True, False, True]


def test_a_round_asks_only_for_what_is_open(tmp_path: Path) -> None:
    examples = list(all_shapes().values())
    lost = by_hand.tree().facts[1].state()
    with serving(_replying(lambda s: "Nobody knows." if s == lost else _good(s))) as served:
        rewrites, _ = _rewrite(served.url, tmp_path, examples, attempts=4)
    facts = sum(len(parts_of(example)) for example in examples)
    assert len(served.asked) == facts + 3
    assert all(prompt.endswith(lost) for prompt in served.prompts()[facts:])
    failed = [rewrite for rewrite in rewrites if rewrite.sentences is None]
    assert failed == [Rewrite("tree", None, ["lost the answer"] * 4)]
    assert rewriting_report(rewrites, 4) == {
        "asked": 6, "kept": 5, "failed": 1, "failed_ids": ["tree"], "attempts_at_most": 4,
        "refused_replies": {"lost the answer": 4},
    }  # fmt: skip


def test_a_request_that_fails_is_counted_and_asked_again_and_spoils_no_other(
    tmp_path: Path,
) -> None:
    one, two = by_hand.one_hop(), by_hand.linear(2)
    first, second = (fact.state() for fact in two.facts)
    model = _by_round(lambda s: None if s in {first, second} else _good(s),
                      lambda s: None if s == first else _good(s), lambda s: None)  # fmt: skip
    with serving(_replying(model)) as served:
        rewrites, usage = _rewrite(served.url, tmp_path, [one, two], attempts=3)
    assert rewrites[0] == Rewrite("one", _sentences(one), [])
    assert rewrites[1].sentences is None
    assert rewrites[1].refused == ["request failed: rewrite_fact"] * 4
    assert usage["failed"] == 4
    report = rewriting_report(rewrites, 3)
    assert report["refused_replies"] == {"request failed: rewrite_fact": 4}
    assert (report["asked"], report["kept"], report["failed"]) == (2, 1, 1)


def test_a_failed_request_may_succeed_in_the_next_round(tmp_path: Path) -> None:
    example = by_hand.citing_insight()
    replies = iter([None, None, None])
    model = _replying(lambda statement: next(replies, _good(statement)))
    with serving(model) as served:
        (rewrite,), _ = _rewrite(served.url, tmp_path, [example], attempts=2)
    assert rewrite.sentences == _sentences(example)
    assert rewrite.refused == ["request failed: rewrite_insight"] * 3


def test_seeds_depend_on_the_seed_and_nothing_else(tmp_path: Path) -> None:
    examples = list(all_shapes().values())
    seeds = {}
    for number, seed in enumerate((1, 1, 2)):
        with serving(_replying(lambda statement: "Nobody knows.")) as served:
            _rewrite(served.url, tmp_path / str(number), examples, attempts=2, seed=seed)
        seeds[number] = {body["seed"] for body in served.asked}
        assert len(seeds[number]) == len(served.asked)
    assert seeds[0] == seeds[1]
    assert not seeds[0] & seeds[2]


def test_requests_of_an_example_do_not_depend_on_those_beside_it() -> None:
    examples = list(all_shapes().values())
    alone = [request for example in examples for request in first_requests([example], seed=1)]
    assert alone == first_requests(examples, seed=1)


def test_a_second_run_sends_nothing(corpus: Corpus, tmp_path: Path) -> None:
    examples = [*all_shapes().values(), *corpus.train]
    model = _by_round(lambda s: "No.", *[_good] * 9)
    with serving(_replying(model)) as served:
        first, _ = _rewrite(served.url, tmp_path, examples)
    assert all(rewrite.sentences for rewrite in first)
    second, usage = _rewrite("http://127.0.0.1:9/v1", tmp_path, examples)
    assert second == first
    assert usage["requests"] == 0
    assert usage["cached"] == len(served.asked)


def test_a_server_that_refuses_the_key_ends_the_run(tmp_path: Path) -> None:
    with (
        serving(failure(401, "no such key")) as served,
        pytest.raises(GeneratorError, match="401"),
    ):
        _rewrite(served.url, tmp_path, [by_hand.linear(3)])


@pytest.mark.parametrize("name", SHAPES)
def test_without_attempts_nothing_is_asked_and_all_fail(name: str, tmp_path: Path) -> None:
    example = all_shapes()[name]
    rewrites, usage = _rewrite("http://127.0.0.1:9/v1", tmp_path, [example], attempts=0)
    assert rewrites == [Rewrite(name, None, [])]
    assert usage["requests"] == 0


def test_rewrites_survive_a_file(tmp_path: Path) -> None:
    rewrites = [
        Rewrite("a\u2028b", ["Ñuñoa is\x85 known.", "two"], ["empty"]),
        Rewrite("b", None, ["lost the answer", "empty"]),
    ]
    path = tmp_path / "rewrites.jsonl"
    lines = [json.dumps(rewrite._asdict(), ensure_ascii=False) + "\n" for rewrite in rewrites]
    path.write_text("".join(lines), encoding="utf-8")
    assert read_rewrites(path) == {rewrite.id: rewrite for rewrite in rewrites}
