"""Numbers say where they stand, texts and data stay in place, drawings follow a theme."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.examples import Document, Example, Needle
from needlework.report.figures.style import INK
from needlework.report.page.elements import (
    drawing,
    duration,
    highlighted,
    number,
    p_value,
    records,
    script_json,
)


def shown(value: object, form: str = "") -> str:
    row = {"x": value, "csv": "statistics/t.csv", "row": 7}
    return re.sub("<[^>]*>", "", number(row, "x", form, resamples=10_000))


def test_a_number_has_its_whole_value_and_its_place() -> None:
    table = pd.DataFrame({"a": [1, 2], "x": [0.5, -0.114881]}).iloc[1:]
    (row,) = records(table, "statistics/t.csv")
    assert number(row, "x", "+.2f", resamples=100) == (
        '<data class="n" value="-0.114881" data-csv="statistics/t.csv" data-row="1" '
        'data-column="x">−0.11</data>'
    )


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(12_345_678, ",", "12,345,678"), (12_345_678.0, "", "12345678"), (-0.001, "+z.2f", "+0.00"),
     (np.int64(3), "", "3"), (np.nan, ".2f", "–"), (pd.NA, ".0f", "–"), (None, "", "–"),
     (61.2, "time", "1 min 01 s"), (1e-9, "p", "&lt; 0.0001"), ("<b>", "", "&lt;b&gt;")],
)  # fmt: skip
def test_forms_of_numbers(value: object, form: str, text: str) -> None:
    assert shown(value, form) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(1 / 10_001, "< 0.0001"), (0.0023, "0.0023"), (0.0456, "0.05"), (1.0, "1.00"),
     (float("nan"), "–")],
)  # fmt: skip
def test_p_value(p: float, text: str) -> None:
    assert p_value(p, 10_000) == text


def test_duration() -> None:
    assert [duration(s) for s in (0.4, 59.6, 61, 3_600, 90_061)] == [
        "0 s", "1 min 00 s", "1 min 01 s", "1 h 00 min", "25 h 01 min"
    ]  # fmt: skip


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
    (document,) = highlighted(example(text, start, start + 4))
    assert "<script>" not in document["text"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in document["text"]
    assert ">Lima</mark> &amp; no other" in document["text"]


def test_markup_inside_the_needle_is_escaped() -> None:
    text = "it is <i>x"
    (document,) = highlighted(example(text, 6, len(text)))
    assert document["text"].endswith(">&lt;i&gt;x</mark>")


TEXTS = st.text() | st.sampled_from(["</script>", "<!--", "\u2028", "]]>", "&lt;"])


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_data_of_a_script_is_whole_and_cannot_end_it(value: object) -> None:
    text = script_json(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


def test_data_of_a_script_holds_no_number_that_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json({"x": float("nan")})


def test_a_drawing_follows_the_theme_and_shares_no_name(tmp_path: Path) -> None:
    path = tmp_path / "heads-m.1-t.svg"
    path.write_text(
        '<?xml version="1.0"?>\n<svg width="99.5pt" viewBox="0 0 9 9"><defs><path id="a"/></defs>'
        f'<use href="#a" style="fill: {INK}; clip-path: url(#b)"/>'
        f'<use xlink:href="#a" style="stroke: {INK.upper()}; fill: #0072b2"/></svg>',
        encoding="utf-8",
    )
    text = drawing(path, '"x" <b>')
    assert text.startswith('<svg role="img" aria-label="&#34;x&#34; &lt;b&gt;"')
    assert "--width: 99.5pt" in text
    assert text.count("var(--ink)") == 2
    assert "#0072b2" in text
    assert 'id="heads-m.1-t-a"' in text
    assert text.count('href="#heads-m.1-t-a"') == 2
    assert "url(#heads-m.1-t-b)" in text
