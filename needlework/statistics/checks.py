"""What every statistic asks of its numbers: finite, of the expected shape, a share, a count."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def finite_table(name: str, values: ArrayLike, columns: str) -> Floats:
    """A table of (items, columns) as floats.

    Raises:
        ValueError: it is not two-dimensional, is empty or has an entry that is not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(
            f"{name} has the shape {table.shape}; expected (items, {columns}s), at least one of "
            "each"
        )
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        item, column = bad[0]
        raise ValueError(
            f"{name} has {len(bad)} entries that are not finite, the first at item {item}, "
            f"{columns} {column}: {table[item, column]}. Score every item for every system"
        )
    return table


def finite_vector(name: str, values: ArrayLike) -> Floats:
    """A sequence of numbers as floats.

    Raises:
        ValueError: it is not one-dimensional or has an entry that is not finite.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name} has the shape {vector.shape}; expected one dimension")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        raise ValueError(
            f"{name} has {len(bad)} entries that are not finite, the first at {bad[0]}: "
            f"{vector[bad[0]]}. Drop the pair or compute the number"
        )
    return vector


def check_share(name: str, value: float) -> None:
    """Raise ValueError where a share is not between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; expected a share between 0 and 1, such as 0.95")


def check_count(name: str, value: int) -> None:
    """Raise ValueError where a number of resamples is not positive."""
    if value < 1:
        raise ValueError(f"{name} is {value}; it takes at least 1 (10,000 is usual)")
