"""Every real task by name: what draws its examples, and how many it can draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from needlework.corpora import factbook


class TaskSource(NamedTuple):
    """`build` draws a task's splits; `capacity` says how many examples each could hold."""

    build: Callable[..., factbook.Corpus]
    capacity: Callable[..., dict[str, int]]


TASKS: dict[str, TaskSource] = {
    "factbook_lookup": TaskSource(factbook.factbook_lookup, factbook.capacity),
}
