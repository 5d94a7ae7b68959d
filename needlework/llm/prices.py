"""What tokens cost, from prices.yaml: known, or plainly unknown."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PRICES = Path(__file__).with_name("prices.yaml")


class Price(NamedTuple):
    """US dollars per million tokens."""

    input: float
    output: float

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


def price(model: str, *, batch: bool) -> Price | None:
    """The list price of `model`, live or through the Batch API; None where it is unknown.

    A dated name (`gpt-4o-mini-2024-07-18`) without a price of its own has that of the undated one.
    """
    prices = _prices()
    name = model if model in prices else _undated(model)
    if name not in prices:
        return None
    return Price(**prices[name]["batch" if batch else "live"])


@cache
def _prices() -> dict[str, Any]:
    import yaml  # a run that has no use for prices does not wait for it

    return dict(yaml.safe_load(PRICES.read_text(encoding="utf-8")))


def _undated(model: str) -> str:
    name, *date = model.rsplit("-", 3)
    is_date = [len(part) for part in date] == [4, 2, 2] and all(part.isdigit() for part in date)
    return name if is_date else model
