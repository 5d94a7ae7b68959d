"""How far a long piece of work has come: a bar for a person, plain lines for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import timedelta
from typing import TypeVar

Item = TypeVar("Item")

# A log keeps about this many lines for one piece of work, however long it is.
_LINES_IN_LOG = 20


def say(message: str) -> None:
    """One plain line on standard error, where a rule's log takes it."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Pass `items` on, showing count, rate and the time left.

    On a terminal it is a bar; elsewhere about twenty lines, each whole on its own.
    """
    if total is None:
        if not isinstance(items, Sized):
            raise TypeError("track needs `total` for an iterable without a length")
        total = len(items)
    if sys.stderr.isatty():
        yield from _bar(items, what, total)
    else:
        yield from _lines(items, what, total)


def ticks(what: str, total: int) -> Callable[[object], None]:
    """A function to call at each of about `total` events; it shows how far they have come."""
    steps = iter(track(range(total), what))
    next(steps, None)

    def tick(event: object) -> None:
        next(steps, None)

    return tick


def _bar(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    # Not rich's own speed: it is None at first and whenever one item takes half a minute.
    rate = TextColumn("{task.fields[rate]}", justify="right")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, Left())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, rate="")
        start = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            bar.update(task, advance=1, rate=_rate(done, _elapsed(start)))


def _lines(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    start = time.monotonic()
    step = max(1, total // _LINES_IN_LOG)
    for done, item in enumerate(items, start=1):
        yield item
        if done % step == 0 or done == total:
            elapsed = _elapsed(start)
            left = timedelta(seconds=round(elapsed / done * (total - done)))
            say(f"{what}: {done} of {total}, {_rate(done, elapsed)}, {left} left")


def _elapsed(start: float) -> float:
    return max(time.monotonic() - start, 1e-9)


def _rate(done: int, elapsed: float) -> str:
    return f"{done / elapsed:.2g}/s"
