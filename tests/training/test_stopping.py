"""A training whose loss goes wrong ends early, says why, and leaves nothing that looks whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needlework.training.stopping import Diverged, verdict

Train = Callable[..., Path]
LOSSES = st.floats(0.01, 100)


def test_an_absurd_learning_rate_stops_the_training(trained: Train, tmp_path: Path) -> None:
    """The random model has a small head: its loss starts at 5.5 and cannot grow far above 5.9."""
    with pytest.raises(Diverged) as raised:
        trained(
            folder=tmp_path, learning_rate=30.0, schedule="constant", stop_above=1.005, epochs=12.0
        )
    message = str(raised.value)
    step = int(message.split("stopped at step ")[1].split()[0])
    assert 5 < step < 36  # before its end
    assert "of 36" in message
    assert "times that of the first 5" in message
    assert "the most allowed is 1.005 times (stop_above)" in message
    assert "learning_rate 30" in message
    assert "lower it" in message
    assert not (tmp_path / "adapter").exists()


def test_a_loss_that_is_not_a_number_stops_at_once(trained: Train, tmp_path: Path) -> None:
    """Weights of 1e38 overflow in the second step."""
    with pytest.raises(Diverged, match=r"stopped at step 2 of 36: the loss is (nan|inf)"):
        trained(folder=tmp_path, learning_rate=1e38, schedule="constant", epochs=12.0)
    assert not (tmp_path / "adapter").exists()


def test_broken_weights_of_the_last_step_are_not_written(trained: Train, tmp_path: Path) -> None:
    """No later step shows their loss."""
    with pytest.raises(ValueError, match="trained weights are NaN or infinite"):
        trained(
            folder=tmp_path, learning_rate=3.3e38, examples=4, epochs=1.0, weight_decay=3.0,
            validation_loss=False,
        )  # fmt: skip
    assert not (tmp_path / "adapter").exists()


@given(st.lists(LOSSES, max_size=20), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_not_finite_is_wrong_at_any_step(before: list[float], last: float) -> None:
    assert verdict([*before, last], 1e9) == f"the loss is {last}"


@given(st.lists(LOSSES, min_size=1, max_size=20), st.floats(1.01, 10))
def test_means_of_five_decide(losses: list[float], stop_above: float) -> None:
    first, last = (sum(part) / len(part) for part in (losses[:5], losses[-5:]))
    wrong = verdict(losses, stop_above)
    assert (wrong is not None) == (len(losses) > 5 and last > stop_above * first)


def test_one_high_loss_is_no_trend() -> None:
    assert verdict([1.0] * 9 + [5.0], 2.0) is None
    assert verdict([1.0] * 9 + [5.1, 6.2], 2.0) == (
        "the mean loss of the last 5 steps, 2.86, is 2.86 times that of the first 5, 1, and the "
        "most allowed is 2 times (stop_above)"
    )
