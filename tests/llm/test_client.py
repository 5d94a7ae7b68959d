"""The client against a real HTTP server that speaks the protocol, its errors included."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from needlework.llm.cache import ResponseCache
from needlework.llm.client import (
    Client,
    Completion,
    Failure,
    Generator,
    GeneratorError,
    Request,
    RequestFailed,
)
from tests.llm.asking import Run, ask, requests, settings
from tests.llm.server import CUT, JSON, Reply, answer, failure, serving


def _in_turn(*replies: Reply) -> Any:
    """A model that gives these replies in order, whatever is asked, and the last for ever."""
    left = list(replies)
    return lambda body, times: left.pop(0) if len(left) > 1 else left[0]


def _failed(generator: Generator, folder: Path, **options: Any) -> Failure:
    """The failure of one request, which is not cached and is in failures.jsonl."""
    (outcome,), usage = ask(generator, folder, ["Capital of Peru?"], **options)
    assert isinstance(outcome, Failure)
    assert usage["failed"] == 1
    assert _logged(folder) == [outcome]
    assert _rows(folder) == 0
    return outcome


def _logged(folder: Path) -> list[Failure]:
    lines = (folder / "failures.jsonl").read_text(encoding="utf-8").splitlines()
    return [Failure(**json.loads(line)) for line in lines]


def _rows(folder: Path) -> int:
    connection = sqlite3.connect(folder / "cache.sqlite")
    (number,) = connection.execute("SELECT count(*) FROM responses").fetchone()
    connection.close()
    return int(number)


def test_the_request_is_as_the_settings_say(tmp_path: Path) -> None:
    with serving(answer()) as served:
        run = ask(settings(served.url), tmp_path, [Request("Capital of Peru?", seed=7)])
    assert run.outcomes == [Completion("Lima.", 11, 3, cached=False, ended="end")]
    assert run.usage == {
        "requests": 1,
        "cached": 0,
        "prompt_tokens": 11,
        "completion_tokens": 3,
        "failed": 0,
        "retries": 0,
        "usd": None,
    }
    assert served.paths == {"POST /chat/completions": 1}
    assert served.asked == [
        {
            "model": "asked-model",
            "messages": [{"role": "user", "content": "Capital of Peru?"}],
            "temperature": 0.5,
            "max_tokens": 20,
            "seed": 7,
        }
    ]


def test_a_request_says_its_own_length_and_a_seed_of_63_bits_fits_every_server(
    tmp_path: Path,
) -> None:
    with serving(answer()) as served:
        ask(settings(served.url), tmp_path, [Request("p", seed=2**62 + 5, max_tokens=7)])
    assert (served.asked[0]["seed"], served.asked[0]["max_tokens"]) == (5, 7)


def test_the_answers_are_in_the_order_of_the_requests(tmp_path: Path) -> None:
    with serving(lambda body, times: answer(body["messages"][0]["content"] * 2)) as served:
        prompts = [f"<{n}>" for n in range(200)]
        assert ask(settings(served.url), tmp_path, prompts).texts == [p * 2 for p in prompts]


def test_an_equal_request_is_read_from_the_cache_and_any_other_is_asked(tmp_path: Path) -> None:
    with serving(_in_turn(*map(answer, "abcdef"))) as served:
        generator = settings(served.url)
        assert ask(generator, tmp_path, requests("p")).texts == ["a"]
        again = ask(generator, tmp_path, requests("p", kind="another template's name"))
        assert again.outcomes == [Completion("a", 11, 3, cached=True, ended="end")]
        assert (again.usage["requests"], again.usage["cached"]) == (0, 1)
        assert ask(generator, tmp_path, requests("p", seed=2)).texts == ["b"]
        assert ask(generator, tmp_path, requests("another p")).texts == ["c"]
        assert ask(generator, tmp_path, requests("p", max_tokens=9)).texts == ["d"]
        assert ask(settings(served.url, temperature=0.1), tmp_path, ["p"]).texts == ["e"]
        assert ask(settings(served.url, model="m"), tmp_path, ["p"]).texts == ["f"]


def test_a_changed_template_changes_only_its_own_requests(tmp_path: Path) -> None:
    with serving(answer()) as served:
        ask(settings(served.url), tmp_path, ["one: a", "one: b", "two: a"])
        ask(settings(served.url), tmp_path, ["one: a", "one: b", "new two: a"])
    assert sorted(served.prompts()) == ["new two: a", "one: a", "one: b", "two: a"]


def test_the_cache_knows_the_server_by_its_identity_not_its_port(tmp_path: Path) -> None:
    with serving(answer("one")) as served:
        ask(settings(served.url), tmp_path, ["p"])
    with serving(answer("other")) as served:
        assert ask(settings(served.url), tmp_path, ["p"]).texts == ["one"]
    assert served.asked == []


def test_equal_requests_at_once_are_sent_once_and_agree(tmp_path: Path) -> None:
    with serving(_in_turn(answer("first"), answer("second"))) as served:
        run = ask(settings(served.url), tmp_path, ["p", "p", "p"])
    assert len(served.asked) == 1
    assert run.texts == ["first"] * 3
    assert (run.usage["requests"], run.usage["cached"]) == (1, 2)


def test_equal_requests_that_fail_are_sent_once_too(tmp_path: Path) -> None:
    with serving(failure(400)) as served:
        run = ask(settings(served.url), tmp_path, ["p", "p", "p"])
    assert len(served.asked) == 1
    assert (len(set(run.outcomes)), run.usage["failed"], len(_logged(tmp_path))) == (1, 1, 1)


def test_as_many_requests_are_under_way_as_concurrency_says(tmp_path: Path) -> None:
    with serving(answer(), latency=0.05) as served:
        ask(settings(served.url, concurrency=3), tmp_path, [str(n) for n in range(12)])
    assert served.most_active == 3


def test_complete_gives_one_answer_or_raises(tmp_path: Path) -> None:
    async def run(url: str) -> Completion:
        cache = ResponseCache(tmp_path / "cache.sqlite")
        async with Client(settings(url), cache) as client:
            with pytest.raises(RequestFailed, match="the server's own words") as caught:
                await client.complete(Request("bad", seed=1, kind="rewrite"))
            assert url in str(caught.value)
            assert caught.value.failure.kind == "rewrite"
            good = (client.complete(Request(str(n), seed=1)) for n in range(9))
            return (await asyncio.gather(*good))[0]

    def model(body: JSON, times: int) -> Reply:
        is_bad = body["messages"][0]["content"] == "bad"
        return failure(400, "the server's own words") if is_bad else answer()

    with serving(model) as served:
        assert asyncio.run(run(served.url)).text == "Lima."
    assert served.most_active <= 4


@pytest.mark.parametrize(
    "passing",
    [failure(s) for s in (408, 429, 500, 503)] + [CUT, Reply(200, '{"choices": [{"ind')],
    ids=["408", "429", "500", "503", "cut", "half"],
)
def test_a_passing_failure_is_retried(tmp_path: Path, passing: Reply) -> None:
    with serving(lambda body, times: answer() if times == 2 else passing) as served:
        run = ask(settings(served.url), tmp_path, ["p", "q"])
    assert run.texts == ["Lima.", "Lima."]
    assert len(served.asked) == 6
    assert (run.usage["requests"], run.usage["retries"], run.usage["failed"]) == (2, 4, 0)
    assert _logged(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "tries", "fix"),
    [
        (400, 1, "what it does not accept"),
        (404, 1, "`model` is one that it serves"),
        (500, 6, "see its log"),
        (503, 6, "see its log"),
    ],
)
def test_a_lasting_failure_names_status_words_and_fix(
    tmp_path: Path, status: int, tries: int, fix: str
) -> None:
    with serving(failure(status, "the server's own words")) as served:
        failed = _failed(settings(served.url), tmp_path, max_retries=5)
    assert (failed.status, failed.attempts, len(served.asked)) == (status, tries, tries)
    assert "the server's own words" in failed.reason
    assert fix in failed.reason


def test_one_failure_leaves_the_others_and_a_rerun_asks_for_it_alone(tmp_path: Path) -> None:
    bad = {"3", "7"}

    def model(body: JSON, times: int) -> Reply:
        prompt = body["messages"][0]["content"]
        return failure(400) if prompt in bad else answer(prompt)

    prompts = [str(n) for n in range(10)]
    with serving(model) as served:
        run = ask(settings(served.url), tmp_path, prompts)
        assert [t for t in run.texts if t is not None] == [p for p in prompts if p not in bad]
        assert {failed.key for failed in _logged(tmp_path)} == {
            outcome.key for outcome in run.outcomes if isinstance(outcome, Failure)
        }
        served.asked.clear()
        bad.clear()
        assert ask(settings(served.url), tmp_path, prompts).texts == prompts
    assert sorted(served.prompts()) == ["3", "7"]
    assert _logged(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run_at_once(tmp_path: Path, status: int) -> None:
    with (
        serving(failure(status)) as served,
        pytest.raises(GeneratorError, match=f"{status}.*api_key_env"),
    ):
        ask(settings(served.url), tmp_path, [str(n) for n in range(100)])
    assert len(served.asked) <= 4


def test_a_used_up_quota_ends_the_run_at_once(tmp_path: Path) -> None:
    with (
        serving(failure(429, "You exceeded your quota", "insufficient_quota")) as served,
        pytest.raises(GeneratorError, match="quota is used up"),
    ):
        ask(settings(served.url), tmp_path, [str(n) for n in range(100)])
    assert len(served.asked) <= 4


def test_a_rate_limit_that_lets_nothing_through_ends_the_run(tmp_path: Path) -> None:
    with (
        serving(failure(429)) as served,
        pytest.raises(GeneratorError, match="nothing through for 4 rounds"),
    ):
        ask(settings(served.url), tmp_path, [str(n) for n in range(100)], max_retries=3)
    assert len(served.asked) <= 4 + 2 + 1 + 1


def test_a_rate_limit_that_lets_some_through_fails_nothing(tmp_path: Path) -> None:
    turn = iter(range(10**6))
    with serving(lambda b, t: answer() if next(turn) % 4 == 0 else failure(429)) as served:
        run = ask(settings(served.url), tmp_path, [str(n) for n in range(40)], max_retries=6)
    assert run.texts == ["Lima."] * 40


def test_too_many_errors_end_the_run_and_what_was_answered_stays(tmp_path: Path) -> None:
    def model(body: JSON, times: int) -> Reply:
        return answer() if int(body["messages"][0]["content"]) < 20 else failure(400, "bad field")

    with serving(model) as served:
        prompts = [str(n) for n in range(500)]
        with pytest.raises(GeneratorError, match=r"30 of the last 50 requests.*bad field"):
            ask(settings(served.url), tmp_path, prompts)
        assert len(served.asked) < 60
    assert _rows(tmp_path) == 20


def test_an_unreachable_server_ends_the_run_and_names_the_fix(tmp_path: Path) -> None:
    with serving(answer()) as served:
        pass
    with pytest.raises(GeneratorError, match="Check `base_url`") as caught:
        ask(settings(served.url), tmp_path, [str(n) for n in range(100)])
    assert served.url in str(caught.value)


def test_an_answer_that_never_comes_is_a_failure(tmp_path: Path) -> None:
    with serving(answer(), latency=10.0) as served:
        failed = _failed(settings(served.url), tmp_path, timeout=0.05, max_retries=1)
    assert "timed out" in failed.reason
    assert (failed.status, failed.attempts) == (None, 2)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, "<html>a login page</html>"), "login page"),
        (Reply(200, {"error": {"message": "upstream is down"}}), "upstream is down"),
        (answer(choices=[]), "choices"),
        (answer(choices=[{"index": 0}]), r"choices.0.message"),
        (answer(choices=None), "choices"),
    ],
)
def test_an_answer_of_another_shape_is_a_failure_that_shows_it(
    tmp_path: Path, reply: Reply, words: str
) -> None:
    with serving(reply) as served:
        failed = _failed(settings(served.url), tmp_path, max_retries=2)
    assert "not a chat completion" in failed.reason
    assert words in failed.reason
    assert failed.attempts == 3


@pytest.mark.parametrize("text", ["", None])
def test_tokens_spent_without_a_word_are_a_failure_and_are_counted(
    tmp_path: Path, text: str | None
) -> None:
    with serving(answer(text, "length")) as served:
        run = ask(settings(served.url), tmp_path, ["p"])
    (failed,) = run.outcomes
    assert isinstance(failed, Failure)
    assert "20 tokens without a word" in failed.reason
    assert "Raise `max_tokens`" in failed.reason
    assert (run.usage["prompt_tokens"], run.usage["completion_tokens"]) == (11, 3)


def test_a_refusal_is_a_failure(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    with serving(answer(choices=[{"message": message, "finish_reason": "stop"}])) as served:
        failed = _failed(settings(served.url), tmp_path)
    assert "I cannot help" in failed.reason


def test_a_cut_or_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    replies = _in_turn(answer("Lima is", "length"), answer("", "stop"), answer(usage=None))
    with serving(replies) as served:
        generator = settings(served.url)
        assert ask(generator, tmp_path, ["cut"])[0] == [
            Completion("Lima is", 11, 3, False, "limit")
        ]
        assert ask(generator, tmp_path, ["empty"])[0] == [Completion("", 11, 3, False, "end")]
        assert ask(generator, tmp_path, ["uncounted"])[0] == [
            Completion("Lima.", 0, 0, False, "end")
        ]


def test_every_outcome_is_told_as_it_comes(tmp_path: Path) -> None:
    told: list[Completion | Failure] = []
    with serving(answer()) as served:
        run = ask(settings(served.url), tmp_path, ["p", "q", "p"], each=told.append)
    assert sorted(told) == sorted(run.outcomes)


def test_a_budget_is_never_exceeded_and_says_what_to_do(tmp_path: Path) -> None:
    body = answer(usage={"prompt_tokens": 10, "completion_tokens": 20})
    cost = (10 * 0.15 + 20 * 0.60) / 1e6
    with serving(body) as served:
        generator = settings(served.url, model="gpt-4o-mini", budget_usd=cost * 10.5)
        with pytest.raises(GeneratorError, match=r"budget is reached.*`budget_usd`"):
            ask(generator, tmp_path, ["p" * 30 + str(n) for n in range(100)])
    assert 5 <= len(served.asked) <= 10
    assert _rows(tmp_path) == len(served.asked)


def test_money_is_counted_and_a_budget_without_a_price_is_refused(tmp_path: Path) -> None:
    with serving(answer()) as served:
        run = ask(settings(served.url, model="gpt-4o-mini-2024-07-18"), tmp_path, ["p", "q"])
        assert run.usage["usd"] == pytest.approx((22 * 0.15 + 6 * 0.60) / 1e6)
        with pytest.raises(GeneratorError, match=r"price.*unknown.*prices\.yaml"):
            ask(settings(served.url, model="mystery", budget_usd=1.0), tmp_path, ["p"])


def test_a_run_that_is_cancelled_keeps_what_it_has(tmp_path: Path) -> None:
    async def run(url: str) -> Run:
        cache = ResponseCache(tmp_path / "cache.sqlite")
        async with Client(settings(url, concurrency=1), cache) as client:
            done = asyncio.Event()
            client_all = client.complete_all(requests("a", "b"))
            task = asyncio.create_task(client_all)
            second = asyncio.create_task(_when_asked(served, 2, done))
            await second
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return Run([], client.usage())

    with serving(lambda b, t: answer(), latency=0.2) as served:
        asyncio.run(run(served.url))
    assert _rows(tmp_path) == 1


async def _when_asked(served: Any, number: int, done: asyncio.Event) -> None:
    while len(served.asked) < number:
        await asyncio.sleep(0)
    done.set()
