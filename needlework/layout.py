"""Where the results of one run lie: a path names model, task, variant and seed, and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


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
