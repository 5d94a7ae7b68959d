"""Items pass unchanged; a log gets few whole lines, a terminal a bar."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needlework.progress import say, track

_LINE = re.compile(r"rows: (\d+) of (\d+), \S+/s, (\d+ days?, )?\d+:\d\d:\d\d left")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _logged(total: int) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", log := io.StringIO())
        assert list(track(range(total), "rows")) == list(range(total))
        return log.getvalue().splitlines()


@settings(deadline=None)
@given(st.integers(0, 700))
def test_a_log_gets_few_whole_lines_and_always_the_last(total: int) -> None:
    lines = _logged(total)
    assert min(total, 20) <= len(lines) < 40
    counts = []
    for line in lines:
        match = _LINE.fullmatch(line)
        assert match, line
        assert int(match[2]) == total
        counts.append(int(match[1]))
    assert counts == sorted(set(counts))
    assert counts[-1:] == ([total] if total else [])


def test_no_time_is_left_at_the_end() -> None:
    assert _logged(50)[-1].endswith(", 0:00:00 left")


def test_a_line_comes_when_its_item_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    for number in track(iter("abc"), "rows", total=3):
        done = {"a": 0, "b": 1, "c": 2}[number]
        assert capsys.readouterr().err.count("\n") == min(done, 1)


def test_items_are_taken_one_by_one() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    for number in track(items(), "rows", total=3):
        assert taken == list(range(number + 1))


def test_what_has_no_length_needs_a_total() -> None:
    with pytest.raises(TypeError, match="`total`"):
        next(track(iter([1]), "rows"))


@pytest.mark.parametrize("total", [0, 1, 7])
def test_a_terminal_gets_a_bar_of_count_and_rate(
    monkeypatch: pytest.MonkeyPatch, total: int
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(range(total), "rows")) == list(range(total))
    shown = terminal.getvalue()
    assert "rows" in shown
    assert f"{total}/{total}" in shown
    assert ("/s" in shown) == (total > 0)


def test_a_bar_ends_where_its_loop_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for _ in track(range(7), "rows"):
        break
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_a_message_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("resuming at batch 3")
    assert capsys.readouterr() == ("", "resuming at batch 3\n")
