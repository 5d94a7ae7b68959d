"""Texts from models and corpora are escaped, needles are marked, p values are never zero."""

from __future__ import annotations

import pytest

from needlework.examples import Document, Example, Needle
from needlework.report.page import duration, highlighted, p_value


def example(text: str, start: int, end: int) -> Example:
    return Example(
        id="e", task="t", variant="real", question="?", answers=[text[start:end]],
        documents=[Document(id="d", title="<b>", text=text, gold=True)],
        needles=[Needle(document="d", start=start, end=end, role="answer")],
        cluster="c", source={},
    )  # fmt: skip


def test_the_needle_is_marked_and_everything_else_escaped() -> None:
    text = "<script>alert(1)</script> the answer is Lima & no other"
    start = text.index("Lima")
    (shown,) = highlighted(example(text, start, start + 4))
    assert "<script>" not in shown["text"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown["text"]
    assert ">Lima</mark> &amp; no other" in shown["text"]


def test_markup_inside_the_needle_is_escaped() -> None:
    text = "it is <i>x"
    (shown,) = highlighted(example(text, 6, len(text)))
    assert shown["text"].endswith(">&lt;i&gt;x</mark>")


@pytest.mark.parametrize(
    ("p", "shown"),
    [(1 / 10_001, "< 0.0001"), (0.0023, "0.0023"), (0.0456, "0.05"), (1.0, "1.00"),
     (float("nan"), "–")],
)  # fmt: skip
def test_p_value(p: float, shown: str) -> None:
    assert p_value(p, 10_000) == shown


def test_duration() -> None:
    assert [duration(s) for s in (0.4, 59.6, 61)] == ["0 s", "1 min 00 s", "1 min 01 s"]
