"""What tokens cost, from prices.yaml: known, or plainly unknown."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from needlework.llm.generator import Generator, GeneratorError

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


def price_of(settings: Generator) -> Price | None:
    """The price of what the settings ask for; None where it is unknown.

    Raises:
        GeneratorError: it is unknown, and there is a budget to keep.
    """
    found = price(settings.model, batch=settings.batch)
    if found is None and settings.budget_usd is not None:
        raise GeneratorError(
            f"`budget_usd` is {settings.budget_usd}, but the price of model {settings.model!r} is "
            "unknown: add it to needlework/llm/prices.yaml, or remove the budget."
        )
    return found


@cache
def _prices() -> dict[str, Any]:
    import yaml  # a run that has no use for prices does not wait for it

    return dict(yaml.safe_load(PRICES.read_text(encoding="utf-8")))


def _undated(model: str) -> str:
    name, *date = model.rsplit("-", 3)
    is_date = [len(part) for part in date] == [4, 2, 2] and all(part.isdigit() for part in date)
    return name if is_date else model
