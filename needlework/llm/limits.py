"""How fast to ask: concurrency that adapts, caps per minute, and when to stop altogether."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from needlework.llm.generator import Generator, GeneratorError
from needlework.llm.transport import AGAIN

_RECENT = 50  # exchanges that the error rate is over
_TOO_MANY = 0.5
_LONGEST_WAIT = 900.0  # seconds; a server that asks for more has no quota left today


def backoff(first: float, tries: int) -> float:
    """Seconds to wait after so many tries before this: doubling, at random, at most a minute."""
    return min(60.0, first * 2.0**tries) * random.uniform(0.5, 1.0)


class Pass(NamedTuple):
    """The right to send one request: given back to the limiter with what came of it."""

    round: int
    tokens: int
    usd: float


class Limiter:
    """Lets requests through, inside one event loop.

    The number under way adapts as TCP's window does (RFC 5681, section 3.1): halved by an answer
    429, at most once per round trip, and then grown by an eighth of `concurrency` per round trip.
    Caps per minute space requests evenly, so that no minute has more than its cap.

    Attributes:
        window: requests that may be under way now.
        spent: US dollars for what has been answered.
        successes: exchanges that gave an answer.
    """

    def __init__(self, settings: Generator, *, first_wait: float, max_retries: int) -> None:
        """`first_wait` (seconds) doubles with every round of answers 429 without any other."""
        self.window = float(settings.concurrency)
        self.spent = 0.0
        self.successes = 0
        self._settings = settings
        self._first_wait = first_wait
        self._max_retries = max_retries
        self._fruitless = 0
        self._step = max(1.0, settings.concurrency / 8)
        self._active = 0
        self._reserved = 0.0
        self._round = 0  # of what was sent since the window was last halved
        self._paused_until = self._next_request = self._next_token = -math.inf
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._stopped: str | None = None
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()  # asyncio's locks are fair: first come, first served
        self._changed = asyncio.Event()

    async def enter(self, tokens: int, usd: float) -> Pass:
        """Wait until a request of at most so many tokens and so much money may be sent.

        Raises:
            GeneratorError: the run has been stopped, or the budget does not allow for it.
        """
        async with self._turn:
            while (wait := self._wait(usd)) > 0:
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if wait == math.inf else wait):
                        await self._changed.wait()
            now = self._now()
            self._active += 1
            self._reserved += usd
            if self._settings.requests_per_minute is not None:
                self._next_request = now + 60 / self._settings.requests_per_minute
            self._use_tokens(now, tokens)
            return Pass(self._round, tokens, usd)

    def leave(self, used: Pass, *, tokens: int, usd: float) -> None:
        """Give a pass back, with the tokens and the money that were really used."""
        self._active -= 1
        self._reserved -= used.usd
        self.spent += usd
        self._use_tokens(self._next_token, tokens - used.tokens)
        self._changed.set()

    def succeeded(self) -> None:
        """An exchange gave an answer: the window grows."""
        self.successes += 1
        self._fruitless = 0
        self._recent.append(True)
        most = float(self._settings.concurrency)
        self.window = min(most, self.window + min(self._step, self.window) / self.window)
        self._changed.set()

    def overloaded(self, used: Pass, wait: float | None) -> None:
        """The server asks for less: nothing is sent for `wait` seconds, then half as much.

        Several answers to what was sent together count as one.
        """
        now = self._now()
        if used.round == self._round:
            self._round += 1
            self.window = max(1.0, self.window / 2)
            self._fruitless += 1
        if self._fruitless > self._max_retries:
            self._end(
                f"the rate limit (429) has let nothing through for {self._fruitless} rounds: it or "
                f"the quota is used up. Lower `concurrency`, wait, or buy. {AGAIN}"
            )
        if wait is not None and wait > _LONGEST_WAIT:
            self._end(
                f"the rate limit (429) asks for a wait of {wait / 60:.0f} minutes: its quota may "
                f"be used up. Wait, or buy. {AGAIN}"
            )
        if wait is None or self._fruitless > 1:
            wait = max(wait or 0.0, backoff(self._first_wait, max(0, self._fruitless - 1)))
        self._paused_until = max(self._paused_until, now + wait)

    def failed(self, reason: str) -> None:
        """An exchange failed by the server's fault or was refused: too many stop the run."""
        self._recent.append(False)
        errors = self._recent.count(False)
        if len(self._recent) == _RECENT and errors >= _TOO_MANY * _RECENT:
            self._end(
                f"{errors} of the last {_RECENT} requests failed, the last with: {reason[:400]}. "
                f"Nothing more is asked. Mend what the reason names. {AGAIN}"
            )

    def stop(self, message: str) -> None:
        """Let nothing more through; what is under way may end."""
        self._stopped = self._stopped or message
        self._stopping.set()
        self._changed.set()

    async def sleep(self, seconds: float) -> None:
        """Wait, and raise GeneratorError as soon as the run is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        self.check()

    def check(self) -> None:
        """Raise GeneratorError if the run has been stopped."""
        if self._stopped is not None:
            raise GeneratorError(self._stopped)

    def afford(self, usd: float) -> bool:
        """Whether the budget allows for `usd` more.

        Raises:
            GeneratorError: it does not, and nothing under way could give some back.
        """
        budget = self._settings.budget_usd
        if budget is None or self.spent + self._reserved + usd <= budget:
            return True
        if self._reserved <= 1e-12:
            self._end(
                f"the budget is reached: {self.spent:.4f} of `budget_usd` {budget} US dollars are "
                f"spent, and the next request may cost {usd:.4f}. Raise it. {AGAIN}"
            )
            self.check()
        return False

    def reserve(self, usd: float) -> None:
        """Count money that a batch under way may cost."""
        self._reserved += usd

    def release(self, reserved: float, spent: float) -> None:
        """Count what a batch has cost instead of what was reserved for it."""
        self._reserved -= reserved
        self.spent += spent

    def _end(self, why: str) -> None:
        self.stop(f"{self._settings.base_url}, model {self._settings.model!r}: {why}")

    def _wait(self, usd: float) -> float:
        """Seconds until a request may go; infinity where another must end first."""
        self.check()
        if self._active >= int(self.window) or not self.afford(usd):
            return math.inf
        return max(self._paused_until, self._next_request, self._next_token) - self._now()

    def _use_tokens(self, start: float, tokens: int) -> None:
        if self._settings.tokens_per_minute is not None:
            self._next_token = start + tokens * 60 / self._settings.tokens_per_minute

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
