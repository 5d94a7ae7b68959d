"""The Batch API: same prompts and cache as live, nothing submitted twice, every end handled."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.llm.batch_files import results, split
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Completion, Failure, GeneratorError
from needlework.llm.exchange import Exchange
from needlework.llm.transport import Trouble
from tests.llm.asking import Run, ask, requests, settings
from tests.llm.server import CUT, JSON, Reply, Served, answer, failure, serving

_PROMPTS = [f"<{n}>" for n in range(12)]


def _echo(body: JSON, times: int) -> Reply:
    return answer(body["messages"][0]["content"])


def _ask(served: Served, folder: Path, prompts: list[str] = _PROMPTS, **options: Any) -> Run:
    return ask(settings(served.url, batch=True), folder, prompts, **options)


def _under_way(folder: Path) -> tuple[int, int]:
    """Batches and requests that are on disk as waiting."""
    with ResponseCache(folder / "cache.sqlite") as cache:
        tables = ("batches", "batch_items")
        counts = [cache.read(f"SELECT count(*) FROM {table}")[0][0] for table in tables]
    return counts[0], counts[1]


def _reasons(run: Run) -> list[str]:
    return [outcome.reason for outcome in run.outcomes if isinstance(outcome, Failure)]


def test_a_batch_asks_the_same_as_live_and_fills_the_same_cache(tmp_path: Path) -> None:
    with serving(_echo) as live:
        ask(settings(live.url), tmp_path / "live", _PROMPTS)
    with serving(_echo) as served:
        run = _ask(served, tmp_path / "batch")
        assert run.texts == _PROMPTS
        assert not any(o.cached for o in run.outcomes if isinstance(o, Completion))
        assert (run.usage["requests"], run.usage["prompt_tokens"]) == (12, 132)
        again = ask(settings(served.url), tmp_path / "batch", _PROMPTS)
    assert again.usage["cached"] == 12
    assert served.paths["POST /chat/completions"] == 0
    assert served.paths["POST /batches"] == served.paths["POST /files"] == 1
    by_prompt = [sorted(s.asked, key=json.dumps) for s in (live, served)]
    assert by_prompt[0] == by_prompt[1]
    assert _under_way(tmp_path / "batch") == (0, 0)


def test_what_is_cached_is_not_submitted_and_equal_requests_are_once(tmp_path: Path) -> None:
    with serving(_echo) as served:
        ask(settings(served.url), tmp_path, ["a"])
        run = _ask(served, tmp_path, ["a", "b", "b"])
        assert run.texts == ["a", "b", "b"]
        assert (run.usage["requests"], run.usage["cached"]) == (1, 2)
        _ask(served, tmp_path, ["a", "b", "b"])
    assert sorted(served.prompts()) == ["a", "b"]
    assert served.paths["POST /batches"] == 1


def test_polling_goes_on_after_a_restart_and_nothing_is_submitted_twice(tmp_path: Path) -> None:
    with serving(_echo, polls_until_end=10**9) as served:
        with pytest.raises(_Interrupted):
            _ask(served, tmp_path, say=_interrupt)
        assert _under_way(tmp_path) == (1, 12)
        served.polls_until_end = 1
        run = _ask(served, tmp_path, [*_PROMPTS[:5], "new"])
        assert run.texts == [*_PROMPTS[:5], "new"]
        assert _under_way(tmp_path) == (1, 7), "the others still wait for who wants them"
        assert _ask(served, tmp_path).texts == _PROMPTS
    assert served.paths["POST /batches"] == 2
    assert max(served.paid.values()) == 1


class _Interrupted(Exception):
    pass


def _interrupt(line: str) -> None:
    raise _Interrupted(line)


@pytest.mark.parametrize(
    ("reply", "submissions"),
    [(CUT, 1), (failure(502), 2), (failure(429, retry_after_ms="1"), 2)],
    ids=["made, answer lost", "not made", "limited"],
)
def test_a_submission_whose_answer_is_lost_is_found_and_not_repeated(
    tmp_path: Path, reply: Reply, submissions: int
) -> None:
    others = {f"batch_{n}": {"id": f"batch_{n}", "metadata": None} for n in range(5)}
    with serving(_echo, batches=others, on_batch_create=[reply]) as served:
        assert _ask(served, tmp_path).texts == _PROMPTS
    assert served.paths["POST /batches"] == submissions
    assert max(served.paid.values()) == 1


def test_a_batch_is_found_among_later_ones_of_others(tmp_path: Path) -> None:
    with serving(_echo, on_batch_create=[CUT], polls_until_end=10**9) as served:
        with pytest.raises(GeneratorError):
            _ask(served, tmp_path, max_retries=0)
        for n in range(1, 6):
            served.batches[f"batch_{n}"] = {"id": f"batch_{n}", "metadata": {"token": "theirs"}}
        served.polls_until_end = 1
        assert _ask(served, tmp_path).texts == _PROMPTS
    assert served.paths["POST /batches"] == 1
    assert served.paths["GET /batches"] >= 3


def test_lines_that_fail_are_asked_again_or_failures(tmp_path: Path) -> None:
    replies = {
        "<1>": [failure(500), answer("at last")],
        "<2>": [failure(400, "the server's own words")],
        "<3>": [failure(429)],
        "<4>": [Reply(200, {"half": "an answer"}), answer("whole")],
    }

    def model(body: JSON, times: int) -> Reply:
        listed = replies.get(body["messages"][0]["content"])
        return listed[min(times, len(listed) - 1)] if listed else answer("good")

    with serving(model) as served:
        run = _ask(served, tmp_path, _PROMPTS[:6])
    assert run.texts == ["good", "at last", None, None, "whole", "good"]
    wrong, limited = _reasons(run)
    assert "the server's own words" in wrong
    assert "429" in limited
    assert [o.attempts for o in run.outcomes if isinstance(o, Failure)] == [1, 3]
    lines = (tmp_path / "failures.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == run.usage["failed"] == 2
    assert max(served.paid[name] for name in served.paid if "<0>" in name or "<5>" in name) == 1


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_a_batch_that_ends_early_gives_what_it_has(tmp_path: Path, status: str) -> None:
    def ends(batch: JSON, lines: list[JSON]) -> JSON:
        if batch["id"] != "batch_0":
            return {"status": "completed"}
        unfinished = [
            li["custom_id"] for li in lines if "7" in li["body"]["messages"][0]["content"]
        ]
        return {"status": status, "unfinished": unfinished}

    with serving(_echo, batch_ends=ends) as served:
        run = _ask(served, tmp_path)
        if status == "expired":
            assert run.texts == _PROMPTS
            assert run.usage["retries"] == 1
        else:
            assert run.texts == [None if p == "<7>" else p for p in _PROMPTS]
            assert "batch_cancelled" in _reasons(run)[0]
            assert _ask(served, tmp_path).texts == _PROMPTS
    assert max(served.paid.values()) == 1
    assert [len(served.lines(b["input_file_id"])) for b in served.batches.values()] == [12, 1]


def test_a_batch_that_fails_says_why_and_a_rerun_asks_again(tmp_path: Path) -> None:
    errors = {"data": [{"code": "model_not_found", "message": "no such model", "line": 1}]}
    with serving(_echo, batch_ends=lambda b, li: {"status": "failed", "errors": errors}) as served:
        run = _ask(served, tmp_path)
        assert run.texts == [None] * 12
        assert all("no such model" in reason for reason in _reasons(run))
        served.batch_ends = lambda batch, lines: {"status": "completed"}
        assert _ask(served, tmp_path).texts == _PROMPTS


def test_too_many_enqueued_tokens_make_smaller_batches_one_at_a_time(tmp_path: Path) -> None:
    errors = {"data": [{"code": "token_limit_exceeded", "message": "enqueued token limit"}]}

    def ends(batch: JSON, lines: list[JSON]) -> JSON:
        waiting = [b for b in served.batches.values() if b["status"] == "validating"]
        assert len(waiting) == 1
        if len(lines) > 4:
            return {"status": "failed", "errors": errors}
        return {"status": "completed"}

    with serving(_echo, batch_ends=ends) as served:
        assert _ask(served, tmp_path).texts == _PROMPTS
    sizes = [len(served.lines(batch["input_file_id"])) for batch in served.batches.values()]
    assert sizes == [12, 6, 3, 3, 3, 3]


def test_a_server_without_batches_says_what_to_set(tmp_path: Path) -> None:
    with (
        serving(_echo, on_batch_create=[failure(404)] * 9) as served,
        pytest.raises(GeneratorError, match="batch: false"),
    ):
        _ask(served, tmp_path)
    with serving(_echo) as served:
        assert _ask(served, tmp_path).texts == _PROMPTS


def test_a_batch_the_server_does_not_know_ends_the_run_and_says_how_to_give_it_up(
    tmp_path: Path,
) -> None:
    with serving(_echo, polls_until_end=10**9) as served:
        with pytest.raises(_Interrupted):
            _ask(served, tmp_path, say=_interrupt)
        served.batches.clear()
        with pytest.raises(GeneratorError, match=r"batch_0.*DELETE FROM batch_items") as caught:
            _ask(served, tmp_path)
        assert served.paths["POST /batches"] == 1
        (statement,) = [p for p in str(caught.value).split('"') if p.startswith("DELETE")]
        with ResponseCache(tmp_path / "cache.sqlite") as cache, cache.writing() as connection:
            connection.execute(statement)
        served.polls_until_end = 1
        assert _ask(served, tmp_path).texts == _PROMPTS


def test_a_budget_that_a_batch_may_exceed_submits_nothing(tmp_path: Path) -> None:
    with serving(_echo) as served:
        generator = settings(served.url, batch=True, model="gpt-4o-mini", budget_usd=1e-6)
        with pytest.raises(GeneratorError, match="budget"):
            ask(generator, tmp_path, _PROMPTS)
        assert served.paths["POST /files"] == 0
        generator = settings(served.url, batch=True, model="gpt-4o-mini", budget_usd=1.0)
        run = ask(generator, tmp_path, _PROMPTS)
    assert run.usage["usd"] == pytest.approx(12 * (11 * 0.075 + 3 * 0.30) / 1e6)


def test_money_is_not_held_for_a_batch_that_was_not_made(tmp_path: Path) -> None:
    with serving(_echo, on_batch_create=[failure(502)]) as served:
        generator = settings(served.url, batch=True, model="gpt-4o-mini")
        bounds = [Exchange(generator, r, repairs=0).bounds() for r in requests(*_PROMPTS)]
        most = sum(prompt * 0.075 + answer * 0.30 for prompt, answer in bounds) / 1e6
        run = ask(replace(generator, budget_usd=1.5 * most), tmp_path, _PROMPTS)
    assert run.texts == _PROMPTS


def test_what_was_answered_otherwise_is_forgotten(tmp_path: Path) -> None:
    with serving(_echo, polls_until_end=10**9) as served:
        with pytest.raises(_Interrupted):
            _ask(served, tmp_path, say=_interrupt)
        ask(settings(served.url), tmp_path, _PROMPTS)
        served.polls_until_end = 1
        _ask(served, tmp_path, ["another"])
    assert _under_way(tmp_path) == (0, 0)


@given(
    sizes=st.lists(st.integers(1, 30), max_size=40),
    most_requests=st.integers(1, 10),
    most_bytes=st.integers(1, 60),
)
def test_groups_are_in_order_within_limits_and_no_more_than_needed(
    sizes: list[int], most_requests: int, most_bytes: int
) -> None:
    (exchange,) = (Exchange(settings("u"), r, repairs=0) for r in requests("p"))
    lines = [(exchange, bytes([n]) * size) for n, size in enumerate(sizes)]
    groups = list(split(lines, most_requests, most_bytes))
    assert [line for group in groups for line in group] == lines
    for group in groups:
        assert len(group) <= most_requests
        assert sum(len(content) for _, content in group) <= most_bytes or len(group) == 1
    for group, after in pairwise(groups):
        full = sum(len(content) for _, content in [*group, after[0]]) > most_bytes
        assert full or len(group) == most_requests


def test_results_are_read_line_by_line_whatever_is_in_them() -> None:
    body = {"choices": [{"message": {"content": "one\u2028two\u0085three"}}]}
    good = {"custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    lines = [json.dumps(good, ensure_ascii=False), "", '{"custom_id": "b", "respo', "[]", "{}"]
    found = results("\n".join(lines) + "\n")
    assert list(found) == ["a"]
    assert not isinstance(found["a"], Trouble)
    assert json.loads(found["a"]) == body
