"""The limiter in virtual time: caps hold, waits are kept to, concurrency halves and grows."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.llm.generator import GeneratorError
from needlework.llm.limits import Limiter, Pass, backoff
from tests.llm.asking import settings

Result = TypeVar("Result")


class _Selector(selectors.SelectSelector):
    """Passes the time instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing will ever happen"
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing that happens."""

    def __init__(self) -> None:
        self.passing = _Selector()
        super().__init__(self.passing)

    def time(self) -> float:
        return self.passing.now


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def _limiter(concurrency: int = 8, max_retries: int = 5, **caps: Any) -> Limiter:
    generator = settings("http://127.0.0.1:9/v1", concurrency=concurrency, **caps)
    return Limiter(generator, first_wait=0.5, max_retries=max_retries)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _sent(limiter: Limiter, number: int, tokens: int, latency: float) -> list[float]:
    """When each of so many requests was sent, all of them waiting from the beginning."""
    times: list[float] = []

    async def one() -> None:
        used = await limiter.enter(tokens, 0.0)
        times.append(_now())
        await asyncio.sleep(latency)
        limiter.leave(used, tokens=tokens, usd=0.0)
        limiter.succeeded()

    await asyncio.gather(*(one() for _ in range(number)))
    return times


def _most_in_a_minute(times: list[float]) -> int:
    return max(sum(start <= time < start + 60 - 1e-6 for time in times) for start in times)


@given(cap=st.integers(1, 60), latency=st.floats(0, 5))
def test_no_minute_has_more_requests_than_the_cap_nor_much_fewer(cap: int, latency: float) -> None:
    times = _run(_sent(_limiter(1000, requests_per_minute=cap), 2 * cap + 1, 10, latency))
    assert _most_in_a_minute(times) <= cap
    assert times[-1] == pytest.approx(120)


@given(cap=st.integers(100, 10_000), tokens=st.integers(1, 2000))
def test_no_minute_has_more_tokens_than_the_cap(cap: int, tokens: int) -> None:
    times = _run(_sent(_limiter(1000, tokens_per_minute=cap), 40, tokens, 0.1))
    # A request goes when those before it have had their time; it may be the one over the edge.
    assert (_most_in_a_minute(times) - 1) * tokens <= cap
    assert times[-1] == pytest.approx(39 * tokens * 60 / cap)


def test_tokens_that_were_not_used_are_given_back() -> None:
    async def run() -> float:
        limiter = _limiter(1, tokens_per_minute=600)
        used = await limiter.enter(600, 0.0)
        limiter.leave(used, tokens=10, usd=0.0)
        await limiter.enter(1, 0.0)
        return _now()

    assert _run(run()) == pytest.approx(1.0)


@given(concurrency=st.integers(1, 40), number=st.integers(1, 80))
def test_without_caps_the_time_is_the_ideal_one(concurrency: int, number: int) -> None:
    times = _run(_sent(_limiter(concurrency), number, 1, 0.5))
    assert times[-1] == pytest.approx((number - 1) // concurrency * 0.5)


async def _overloaded(limiter: Limiter, number: int, wait: float | None) -> None:
    """So many requests, sent together, are all answered 429."""
    passes = [await limiter.enter(1, 0.0) for _ in range(number)]
    for used in passes:
        limiter.leave(used, tokens=0, usd=0.0)
        limiter.overloaded(used, wait)


def test_the_window_halves_once_a_round_and_the_wait_is_kept_by_all() -> None:
    async def run() -> None:
        limiter = _limiter(16)
        await _overloaded(limiter, 16, 7.0)
        assert limiter.window == 8
        await limiter.enter(1, 0.0)
        assert _now() == pytest.approx(7.0)

    _run(run())


def test_the_window_grows_again_by_an_eighth_a_round_and_never_beyond_its_most() -> None:
    async def run() -> list[float]:
        limiter = _limiter(32)
        await _overloaded(limiter, 32, 0.0)
        sizes = [limiter.window]
        for _ in range(6):
            await _sent(limiter, int(limiter.window), 1, 0.5)
            sizes.append(limiter.window)
        return sizes

    sizes = _run(run())
    assert sizes[0] == 16
    assert all(3 <= b - a <= 4 for a, b in pairwise(sizes[:4]))
    assert sizes[-1] == 32


def test_the_window_is_never_less_than_one_and_one_success_is_enough() -> None:
    async def run() -> None:
        limiter = _limiter(2)
        for _ in range(20):
            await _overloaded(limiter, 1, 0.0)
            assert limiter.window >= 1
            await _sent(limiter, 1, 1, 0.1)

    _run(run())


def test_rounds_without_any_success_wait_longer_and_then_end_the_run() -> None:
    async def run() -> None:
        limiter = _limiter(1, max_retries=3)
        waits = []
        for _ in range(3):
            start = _now()
            await _overloaded(limiter, 1, 0.25)
            used = await limiter.enter(1, 0.0)
            limiter.leave(used, tokens=0, usd=0.0)
            waits.append(_now() - start)
        assert waits[0] == pytest.approx(0.25), "first exactly what the server said"
        assert 0.5 <= waits[1] <= 1.0 <= waits[2] <= 2.0
        await _overloaded(limiter, 1, 0.25)
        with pytest.raises(GeneratorError, match=r"429.*nothing through"):
            await limiter.enter(1, 0.0)

    _run(run())


def test_a_wait_of_hours_ends_the_run() -> None:
    async def run() -> None:
        limiter = _limiter()
        await _overloaded(limiter, 1, 7200.0)
        with pytest.raises(GeneratorError, match="120 minutes"):
            await limiter.enter(1, 0.0)

    _run(run())


@given(st.lists(st.floats(0.0, 0.3), min_size=1, max_size=30), st.integers(1, 8))
def test_money_reserved_and_spent_never_exceeds_the_budget(
    prices: list[float], concurrency: int
) -> None:
    async def one(limiter: Limiter, usd: float) -> None:
        used = await limiter.enter(1, usd)
        assert limiter.spent + usd <= 1.0 + 1e-9
        await asyncio.sleep(1)
        limiter.leave(used, tokens=1, usd=usd / 2)

    async def run() -> Limiter:
        limiter = _limiter(concurrency, model="gpt-4o", budget_usd=1.0)
        ended = await asyncio.gather(*(one(limiter, usd) for usd in prices), return_exceptions=True)
        assert all(isinstance(e, GeneratorError) for e in ended if e is not None)
        if any(ended):
            assert limiter.spent + 0.3 > 1.0, "it stopped though there was enough"
        return limiter

    assert _run(run()).spent <= 1.0 + 1e-9


def test_a_stop_wakes_who_waits_and_lets_nothing_more_through() -> None:
    async def run() -> None:
        limiter = _limiter(1)
        held: Pass = await limiter.enter(1, 0.0)
        waiting = [
            asyncio.create_task(limiter.enter(1, 0.0)),
            asyncio.create_task(limiter.sleep(900)),
        ]
        await asyncio.sleep(1)
        limiter.stop("enough")
        for task in waiting:
            with pytest.raises(GeneratorError, match="enough"):
                await task
        assert _now() == pytest.approx(1.0)
        limiter.leave(held, tokens=1, usd=0.0)

    _run(run())


def test_some_errors_are_borne_and_half_of_them_end_the_run() -> None:
    async def run() -> None:
        limiter = _limiter()
        for number in range(500):
            limiter.failed("bad luck") if number % 3 == 0 else limiter.succeeded()
        limiter.check()
        for _ in range(49):
            limiter.failed("disk full")
        with pytest.raises(GeneratorError, match=r"of the last 50.*(bad luck|disk full)"):
            limiter.check()

    _run(run())


@given(st.integers(0, 60))
def test_a_wait_doubles_is_at_random_and_ends_at_a_minute(tries: int) -> None:
    longest = min(60.0, 0.5 * 2**tries)
    assert longest / 2 <= backoff(0.5, tries) <= longest
