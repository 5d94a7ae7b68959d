"""The plan says what a run then takes; prices are dated, sourced and halved for batches."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from needlework.llm.cache import ResponseCache
from needlework.llm.client import Request
from needlework.llm.plan import Plan, plan
from needlework.llm.prices import PRICES, price
from tests.llm.asking import SCHEMA, ask, requests, settings
from tests.llm.server import answer, serving


def _words(text: str) -> int:
    return len(text.split())


def _planned(folder: Path, asked: list[Request], model: str = "gpt-4o-mini") -> Plan:
    with ResponseCache(folder / "cache.sqlite") as cache:
        generator = settings("http://127.0.0.1:9/v1", model=model, api_key_env="NOT_SET")
        return plan(asked, generator, cache, _words)


def test_requests_tokens_and_money_are_those_of_what_is_not_cached(tmp_path: Path) -> None:
    asked = [
        *requests("one two three", "four", kind="a"),
        *requests("one two three", kind="again"),
        Request("five", seed=1, max_tokens=100, schema=SCHEMA, kind="b"),
    ]
    planned = _planned(tmp_path, asked)
    prompt = 3 + 1 + 1 + 3 * 8 + _words(str(SCHEMA))
    assert planned.usd_live == pytest.approx((prompt * 0.15 + 140 * 0.60) / 1e6)
    assert planned.usd_batch == pytest.approx((prompt * 0.075 + 140 * 0.30) / 1e6)
    assert replace(planned, usd_live=0.0, usd_batch=0.0) == Plan(
        model="gpt-4o-mini",
        requests=3,
        cached=1,
        kinds={"a": 2, "b": 1},
        prompt_tokens=prompt,
        completion_tokens=20 + 20 + 100,
        usd_live=0.0,
        usd_batch=0.0,
    )
    with serving(answer('{"city": "Lima"}')) as served:
        run = ask(settings(served.url, model="gpt-4o-mini"), tmp_path, asked)
    assert (run.usage["requests"], run.usage["cached"]) == (planned.requests, planned.cached)
    again = _planned(tmp_path, asked)
    assert (again.requests, again.cached, again.usd_live) == (0, 4, 0.0)


@given(st.lists(st.tuples(st.sampled_from("pqrs"), st.integers(0, 3)), max_size=12))
def test_rows_in_are_rows_planned_or_cached(asked: list[tuple[str, int]]) -> None:
    with ResponseCache(Path(":memory:")) as cache:
        generator = settings("http://127.0.0.1:9/v1")
        listed = [Request(prompt, seed=seed) for prompt, seed in asked]
        planned = plan(listed, generator, cache, _words)
    assert planned.requests == len(set(asked)) == sum(planned.kinds.values())
    assert planned.requests + planned.cached == len(asked)


def test_an_unknown_price_is_said_plainly(tmp_path: Path) -> None:
    unknown = _planned(tmp_path, requests("p"), model="mystery")
    assert (unknown.usd_live, unknown.usd_batch) == (None, None)
    assert "cost unknown" in str(unknown)
    assert "mystery" in str(unknown)
    assert "$0.00 live" in str(_planned(tmp_path, requests("p")))


def test_every_price_has_a_date_and_a_source_and_a_batch_costs_half() -> None:
    listed = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    assert listed
    for model, entry in listed.items():
        assert isinstance(entry["date"], datetime.date)
        assert entry["source"].startswith("https://")
        live, batch = price(model, batch=False), price(model, batch=True)
        assert live is not None
        assert batch is not None
        assert 0 < live.input < live.output
        assert (batch.input, batch.output) == (live.input / 2, live.output / 2)


def test_a_dated_name_has_the_price_of_the_model_unless_it_has_its_own() -> None:
    assert price("gpt-4o-mini-2024-07-18", batch=False) == price("gpt-4o-mini", batch=False)
    assert price("gpt-4o-2024-05-13", batch=False) != price("gpt-4o", batch=False)
    assert price("gpt-4o-mini-turbo", batch=False) is None
    assert price("my-gpt-4o", batch=False) is None
