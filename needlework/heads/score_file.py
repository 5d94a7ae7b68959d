"""The file of a probe: every head's score on every example, by several measures, and their means.

A measure is named "kind/role", such as "copy/answer": how a score was computed, and the role of the
needles it is about. A place without a head (a layer without attention heads, or with fewer than the
widest) is NaN in every array and has no key in the file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from needlework import stored
from needlework.atomic import write_text

Scores = NDArray[np.float64]
_Which = Literal["all", "correct"]
_DIGITS = 6  # of scores, in the file and out of it, and of their means


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Layer(_Record):
    """A decoder layer: its query heads, KV heads, and the window of sliding attention in tokens.

    `unseen` counts, per role of needles, the instances whose needle no scored row of this layer
    could see, so that a score of 0 there says nothing about the head.
    """

    attention: Literal["full", "sliding", "none"]
    heads: Annotated[int, Field(ge=0)]
    kv_heads: Annotated[int, Field(ge=0)]
    window: int | None = None
    unseen: dict[str, int] = {}


class Instance(_Record):
    """A probe example that was scored; instances of one cluster are resampled together."""

    id: str
    cluster: str
    generated: str
    correct: bool


class _Measure(_Record):
    n: int
    mean: dict[str, float] | None
    standard_error: dict[str, float] | None
    scores: dict[str, list[float | None]]


class _Probed(_Record):
    metadata: dict[str, Any]
    layers: list[Layer]
    instances: list[Instance]
    failures: dict[str, list[str]]


class _Document(_Probed):
    measures: dict[str, _Measure]


@dataclass(frozen=True)
class HeadScores:
    """The scores of all heads of a model on the instances of a probe.

    Attributes:
        metadata: what the scores belong to. `metadata["probe"]` has the measure that counts where
            none is named (`kind`, `role`) and the `instances` that do, "all" or "correct".
        layers: the model's layers, L of them; H is the number of heads of the widest.
        instances: the probe's examples that were scored, I of them.
        measures: "kind/role" to scores of shape (I, L, H), rounded to the six decimals of the file.
            An instance without a needle of the role is NaN everywhere.
        failures: reason to the ids of the probe's examples that could not be scored; these are no
            instances.

    Raises:
        ValueError: an array has another shape, a score where there is no head, no finite score
            where there is one, or `metadata["probe"]` is not whole.
    """

    metadata: dict[str, Any]
    layers: list[Layer]
    instances: list[Instance]
    measures: dict[str, Scores]
    failures: dict[str, list[str]]

    def __post_init__(self) -> None:
        there = existing_heads(self.layers)
        _check_instances(self.instances, self.failures)
        for name, scores in self.measures.items():
            _check_measure(name, scores, there, self.instances)
        # Here and not when the file is written: what is computed before and after is then equal.
        rounded = {name: scores.round(_DIGITS) for name, scores in self.measures.items()}
        object.__setattr__(self, "measures", rounded)
        probe = self.metadata.get("probe", {})
        if not {"kind", "role", "instances"} <= set(probe):
            raise ValueError(
                f"metadata.probe has the keys {sorted(probe)}; it takes kind, role and instances"
            )
        self._select()

    def of(
        self, kind: str | None = None, role: str | None = None, instances: _Which | None = None
    ) -> Scores:
        """Scores (n, L, H) of the n instances that count: those with a needle of the role.

        Args:
            kind: how scores are computed; None: as `metadata["probe"]` says, here and below.
            role: of the needles.
            instances: "all", or those that the model answered "correct".

        Raises:
            ValueError: the file has no such measure.
        """
        measure, kept = self._select(kind, role, instances)
        return self.measures[measure][kept]

    def counted(
        self, kind: str | None = None, role: str | None = None, instances: _Which | None = None
    ) -> list[Instance]:
        """The instances that `of` returns scores of; raises as `of` does."""
        _, kept = self._select(kind, role, instances)
        return [self.instances[i] for i in kept]

    def mean(
        self, kind: str | None = None, role: str | None = None, instances: _Which | None = None
    ) -> Scores:
        """Mean score (L, H) over the instances that `of` returns, all NaN where there is none.

        Rounded as the scores are, whose rounding would else make a mean of 0.1 a little more or
        less than a threshold of 0.1. Raises as `of` does.
        """
        scores = self.of(kind, role, instances)
        if not len(scores):
            return np.full(scores.shape[1:], np.nan)
        return np.asarray(scores.mean(axis=0).round(_DIGITS))

    def _select(
        self, kind: str | None = None, role: str | None = None, instances: _Which | None = None
    ) -> tuple[str, NDArray[np.intp]]:
        probe = self.metadata["probe"]
        measure = f"{kind or probe['kind']}/{role or probe['role']}"
        which = instances or probe["instances"]
        if measure not in self.measures:
            raise ValueError(f"there is no measure {measure!r}; there are {sorted(self.measures)}")
        if which not in ("all", "correct"):
            raise ValueError(f'instances is {which!r}; it is "all" or "correct"')
        scored = ~np.isnan(self.measures[measure]).all(axis=(1, 2))
        counted = [which == "all" or instance.correct for instance in self.instances]
        return measure, np.flatnonzero(scored & np.array(counted, dtype=bool))


def existing_heads(layers: list[Layer]) -> NDArray[np.bool_]:
    """Where there is a head, (L, H).

    Raises:
        ValueError: no layer has attention heads.
    """
    widest = max((layer.heads for layer in layers), default=0)
    if not widest:
        raise ValueError(f"none of the {len(layers)} layers has attention heads: nothing to score")
    return np.array([[head < layer.heads for head in range(widest)] for layer in layers])


def _check_instances(instances: list[Instance], failures: dict[str, list[str]]) -> None:
    ids = Counter(chain((instance.id for instance in instances), *failures.values()))
    twice = sorted(name for name, times in ids.items() if times > 1)
    if twice:
        raise ValueError(f"probe examples stand there twice, as instances or failures: {twice}")


def _check_measure(
    name: str, scores: Scores, there: NDArray[np.bool_], instances: list[Instance]
) -> None:
    if name.count("/") != 1:
        raise ValueError(f"the measure {name!r} is not named as kind/role, such as copy/answer")
    if scores.shape != (len(instances), *there.shape):
        raise ValueError(
            f"{name}: scores of shape {scores.shape}; expected {(len(instances), *there.shape)}, "
            "instances x layers x heads"
        )
    if not np.isnan(scores[:, ~there]).all():
        raise ValueError(f"{name}: a score where there is no head; it must be NaN there")
    of_heads = scores[:, there]
    unscored = np.isnan(of_heads).all(axis=1, keepdims=True)
    faulty = np.argwhere(~np.isfinite(of_heads) & ~unscored)
    if len(faulty):
        instance, head = faulty[0]
        key = "{}-{}".format(*np.argwhere(there)[head])
        raise ValueError(
            f"{name}: head {key} has the score {of_heads[instance, head]} on the instance "
            f"{instances[instance].id!r}; other heads have one, so this takes a number too"
        )


def write_scores(path: Path | str, scores: HeadScores) -> None:
    """Write the scores of a probe as JSON, whole or not at all; the schema is in docs/formats.md.

    Numbers have six decimals. `mean`, `standard_error` (standard deviation with n - 1, divided by
    the root of n) and `n` are of the instances that `metadata["probe"]["instances"]` counts.
    """
    document = _Document(
        metadata=scores.metadata,
        layers=scores.layers,
        instances=scores.instances,
        failures=scores.failures,
        measures={name: _measure(scores, name) for name in scores.measures},
    )
    # One line per key: a person can look at the first lines, and lists of scores stay small.
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in document.model_dump().items()
    ]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _measure(scores: HeadScores, name: str) -> _Measure:
    kind, role = name.split("/")
    counted = scores.of(kind, role)
    n = len(counted)
    error = counted.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else None
    there = existing_heads(scores.layers)
    return _Measure(
        n=n,
        mean=_by_head(scores.mean(kind, role), there) if n else None,
        standard_error=_by_head(error.round(_DIGITS), there) if error is not None else None,
        scores={
            f"{layer}-{head}": [None if np.isnan(x) else x for x in column.tolist()]
            for layer, head in np.argwhere(there)
            for column in [scores.measures[name][:, layer, head]]
        },
    )


def _by_head(values: Scores, there: NDArray[np.bool_]) -> dict[str, float]:
    return {f"{layer}-{head}": float(values[layer, head]) for layer, head in np.argwhere(there)}


def read_scores(path: Path | str, *, counted_only: bool = False) -> HeadScores:
    """The scores of a probe, from a file that `write_scores` wrote, equal to those written.

    Means and standard errors are computed again from the scores, not read.

    Args:
        path: the file.
        counted_only: leave out the measures but for the one that counts by `metadata["probe"]`,
            unread and unchecked; that takes half the time.

    Raises:
        ValueError: the file lacks a head or has one too many, a list is not one number (or null)
            per instance, a layer's attention is unknown, a number is NaN, or anything else is not
            as `write_scores` writes it; the message names the file and the key.
    """
    stored.check(path)
    try:
        content = Path(path).read_bytes()
        document = _counted(content) if counted_only else _Document.model_validate_json(content)
        there = existing_heads(document.layers)
        shape = (len(document.instances), *there.shape)
        return HeadScores(
            document.metadata,
            document.layers,
            document.instances,
            {
                name: _array(name, measure.scores, shape, there)
                for name, measure in document.measures.items()
            },
            document.failures,
        )
    except ValidationError as error:
        raise ValueError(f"{path}: {fault(error)}; score the heads again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}; score the heads again") from error


class _Probe(BaseModel):
    kind: str
    role: str


class _Metadata(BaseModel):
    probe: _Probe


class _Named(BaseModel):
    """What says which measure counts."""

    metadata: _Metadata


def _counted(content: bytes) -> _Document:
    """The document with the measure alone that counts; what is ignored is never made an object."""
    probe = _named(content).metadata.probe
    name = f"{probe.kind}/{probe.role}"
    document: Any = _counting(name).model_validate_json(content)
    return _Document.model_construct(
        **dict(document) | {"measures": {name: document.measures.only}}
    )


def _named(content: bytes) -> _Named:
    """What counts; of a file as `write_scores` writes it, only the beginning is read for it."""
    if begins := re.match(rb'\{\s*"metadata":\s*', content):
        metadata, _ = json.JSONDecoder().raw_decode(content[begins.end() :].decode())
        return _Named.model_validate({"metadata": metadata})
    return _Named.model_validate_json(content)


@cache
def _counting(name: str) -> Any:
    """The model of a document of which the measure `name` alone is read."""
    measures: Any = create_model("_Measures", only=(_Measure, Field(alias=name)))
    return create_model("_Counted", __base__=_Probed, measures=(measures, ...))


def fault(error: ValidationError) -> str:
    """The first fault of what was read: the key, what is expected, what was found."""
    first, *others = error.errors()
    where = ".".join(map(str, first["loc"]))
    more = f" ({len(others)} more faults)" if others else ""
    return f"{where}: {first['msg']}, found {str(first['input'])[:80]!r}{more}"


def _array(
    name: str,
    by_head: dict[str, list[float | None]],
    shape: tuple[int, ...],
    there: NDArray[np.bool_],
) -> Scores:
    heads = [f"{layer}-{head}" for layer, head in np.argwhere(there).tolist()]
    if by_head.keys() != set(heads):
        missing, unknown = sorted(set(heads) - set(by_head)), sorted(set(by_head) - set(heads))
        raise ValueError(f"measures.{name}.scores lacks the heads {missing}, has {unknown} besides")
    for key in heads:
        if len(by_head[key]) != shape[0]:
            raise ValueError(
                f"measures.{name}.scores.{key} has {len(by_head[key])} numbers; expected "
                f"{shape[0]}, one per instance"
            )
    scores = np.full(shape, np.nan)
    # None becomes NaN.
    scores[:, there] = np.array([by_head[key] for key in heads], dtype=np.float64).T
    return scores
