"""Every way in which a server says how long to wait is read, and nothing else is believed."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.llm.retry_after import seconds_to_wait

_NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "20", "retry-after": "7"}, 0.02),
        ({"retry-after": "7", "x-ratelimit-reset": "9"}, 7.0),
        ({"x-ratelimit-reset": "9"}, 9.0),
        ({"x-ratelimit-reset": str(int(_NOW) + 30)}, 30.0),
        ({"x-ratelimit-reset": str((int(_NOW) + 30) * 1000)}, 30.0),
        ({"x-ratelimit-reset": str(int(_NOW) - 30)}, 0.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-tokens": "6 minutes"}, None),
        ({"x-ratelimit-reset-tokens": ""}, None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m"}, 360.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m",
                "x-ratelimit-remaining-tokens": "30000",
            },
            1.0,
        ),
    ],
)
def test_what_the_headers_say(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_to_wait(headers, now=_NOW) == pytest.approx(seconds)


@given(st.integers(0, 10**6))
def test_a_date_is_the_time_until_it_and_the_past_is_no_wait(seconds: int) -> None:
    later = formatdate(_NOW + seconds, usegmt=True)
    assert seconds_to_wait({"retry-after": later}, now=_NOW) == seconds
    earlier = format_datetime(datetime.fromtimestamp(_NOW - seconds - 1, UTC), usegmt=True)
    assert seconds_to_wait({"retry-after": earlier}, now=_NOW) == 0


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]),
        st.text(max_size=12),
    )
)
def test_nonsense_is_no_wait_and_no_error(headers: dict[str, str]) -> None:
    wait = seconds_to_wait(headers, now=_NOW)
    assert wait is None or 0 <= wait < 10**15
