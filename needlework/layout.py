"""Where the results of one run lie: a path names model, task, variant and seed, and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

REAL = frozenset({"real", "real_limited", "multidoc_qa"})
"""Variants whose examples are real ones."""


class Run(NamedTuple):
    """One model after one training: what a folder `<model>/<task>/<variant>/seed<n>` stands for."""

    model: str
    task: str
    variant: str
    seed: int

    @classmethod
    def of(cls, path: Path | str) -> Run:
        """The run whose folder holds the file `path`.

        Raises:
            ValueError: the path does not have the layout.
        """
        parts = Path(path).parts[-5:-1]
        seed = re.fullmatch(r"seed(\d+)", parts[-1]) if len(parts) == 4 else None
        if seed is None:
            raise ValueError(f"{path} is not of the form <model>/<task>/<variant>/seed<n>/<file>")
        return cls(parts[0], parts[1], parts[2], int(seed.group(1)))


def mixture_of(variant: str) -> dict[str, float]:
    """The parts of a variant and their shares: "real:0.2+symbolic:0.8", or one name of share 1.

    Raises:
        ValueError: a part has no share, a part stands there twice, or the shares do not add up
            to 1.
    """
    if ":" not in variant and "+" not in variant:
        return {variant: 1.0}
    parts = [part.partition(":") for part in variant.split("+")]
    shares = {}
    for name, _, share in parts:
        if not re.fullmatch(r"0?\.\d+", share) or float(share) == 0:
            raise ValueError(
                f"{variant}: {share!r} is no share of {name!r}; a mixture is written as "
                "real:0.2+symbolic:0.8"
            )
        shares[name] = float(share)
    if len(shares) != len(parts) or len(parts) < 2 or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(
            f"{variant}: a mixture has two or more different parts whose shares add up to 1, "
            f"not to {sum(shares.values()):g}"
        )
    return shares


def holds_real(variant: str) -> bool:
    """Whether a variant is real data, or a mixture with some; all others are synthetic."""
    return not REAL.isdisjoint(mixture_of(variant))
