"""The record of an intervention: what is done to which attention heads, and why to those.

One record is one condition of an experiment. It is a small file, JSON or YAML, that a person can
write by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from needlework import stored
from needlework.atomic import write_json, write_text

Action = Literal["mask", "patch"]
Chosen = Literal["top", "random", "lowest", "intersection", "complement"]
Kind = Literal["zero", "uniform", "mean"]
During = Literal["prefill", "decoding", "both"]
Positions = Literal["last", "all"]

# By action: what it needs beside the heads, how its heads can have been chosen.
_NEEDS = {"mask": ("wanted", "kind", "during"), "patch": ("positions", "source")}
_CHOICES = {
    "mask": ("top", "random", "lowest"),
    "patch": ("intersection", "complement", "random"),
}


class Intervention(BaseModel):
    """What is done to which heads.

    Attributes:
        action: "mask" disables heads; "patch" gives heads the outputs they have in another run.
        chosen: how the heads were chosen: the highest scores, at random, the lowest scores; for
            patches, heads of both runs, or of the source's run only.
        heads: "layer-head", both counted from 0, sorted by layer, then head. Empty: nothing is
            done, which is what a study has where no head qualifies.
        wanted: masks: the number of heads that was asked for; there may be fewer.
        draw: number of the random draw, from 0.
        kind: masks: "zero" the head's output, make its attention "uniform" over what it sees (Wu et
            al., arXiv 2404.15574), or put the "mean" of its output there.
        during: masks: "decoding" is the rows that produce answer tokens, from the prompt's last
            position on; "prefill" all rows before.
        positions: patches: the "last" position of each step, that is the rows of "decoding", or
            "all".
        source: patches: the variant whose run gives the outputs.
        origin: where the heads come from: hashes of score files, measure, seed, notes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    action: Action
    chosen: Chosen
    heads: list[str]
    wanted: Annotated[int, Field(ge=1)] | None = None
    draw: Annotated[int, Field(ge=0)] | None = None
    kind: Kind | None = None
    during: During | None = None
    positions: Positions | None = None
    source: Annotated[str, Field(min_length=1)] | None = None
    origin: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The condition's name, safe in a file name: "mask-top10-zero-decoding"."""
        draw = [] if self.draw is None else [f"draw{self.draw}"]
        if self.action == "mask":
            last = (self.kind, self.during)
            return "-".join(["mask", f"{self.chosen}{self.wanted}", *draw, *map(str, last)])
        return "-".join(["patch", self.chosen, *draw, str(self.positions)])

    @property
    def touches_prefill(self) -> bool:
        """Whether it changes rows before the prompt's last, so that no unchanged cache serves."""
        return self.during in ("prefill", "both") or self.positions == "all"

    @field_validator("heads")
    @classmethod
    def _heads_are_a_set(cls, heads: list[str]) -> list[str]:
        for head in heads:
            if head != _canonical(head):
                raise ValueError(f"{head!r} is no head; expected layer-head, such as 12-3")
        if len(set(heads)) < len(heads):
            twice = sorted({head for head in heads if heads.count(head) > 1})
            raise ValueError(f"{', '.join(twice)} stands there more than once; name each once")
        if heads != (ordered := names(map(pair, heads))):
            raise ValueError(f"not sorted by layer, then head; expected {', '.join(ordered)}")
        return heads

    @field_validator("origin")
    @classmethod
    def _origin_is_plain(cls, origin: dict[str, Any]) -> dict[str, Any]:
        try:
            kept = json.loads(json.dumps(origin, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"a value cannot be written as JSON ({error})") from None
        if kept != origin:
            raise ValueError(f"JSON would keep it as {kept!r}; expected plain lists and text keys")
        return origin

    @model_validator(mode="after")
    def _fits_its_action(self) -> Self:
        for action, keys in _NEEDS.items():
            for key in keys:
                if self.action == action and getattr(self, key) is None:
                    raise ValueError(f"{key}: missing; a {action} needs it")
                if self.action != action and getattr(self, key) is not None:
                    raise ValueError(
                        f"{key}: got {getattr(self, key)!r}; only a {action} takes it, "
                        f"a {self.action} does not"
                    )
        if self.chosen not in (choices := _CHOICES[self.action]):
            raise ValueError(
                f"chosen: got {self.chosen!r}; a {self.action} takes {', '.join(choices)}"
            )
        if (self.chosen == "random") != (self.draw is not None):
            raise ValueError(
                f"draw: got {self.draw!r} with chosen {self.chosen!r}; heads chosen at random have "
                "the number of their draw, others null"
            )
        if self.wanted is not None and len(self.heads) > self.wanted:
            raise ValueError(f"heads: got {len(self.heads)}; wanted is {self.wanted}, at most that")
        return self


def pair(head: str) -> tuple[int, int]:
    """(layer, head) of "layer-head"."""
    layer, _, number = head.partition("-")
    return int(layer), int(number)


def names(heads: Iterable[tuple[int, int]]) -> list[str]:
    """Pairs (layer, head) as "layer-head", in order."""
    return [f"{layer}-{head}" for layer, head in sorted(heads)]


def by_layer(heads: Iterable[str]) -> dict[int, list[int]]:
    """The numbers of the heads of each layer that has some."""
    found: dict[int, list[int]] = {}
    for layer, head in map(pair, heads):
        found.setdefault(layer, []).append(head)
    return found


def _canonical(head: str) -> str | None:
    parts = head.split("-")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    return f"{int(parts[0])}-{int(parts[1])}"


def write_intervention(path: Path | str, intervention: Intervention) -> None:
    """Write a record, whole or not at all: as YAML if `path` ends in .yaml or .yml, else as JSON.

    Raises:
        ValueError: `path` ends in neither .json, .yaml nor .yml.
    """
    value = intervention.model_dump()
    if _suffix(path) == ".json":
        write_json(path, value)
    else:
        write_text(path, yaml.safe_dump(value, sort_keys=False))


def read_intervention(path: Path | str) -> Intervention:
    """Read a record that `write_intervention`, or a person, wrote.

    Raises:
        ValueError: a key is unknown, missing, or holds what it does not take; the message names the
            file, the key, what was found and what was expected.
    """
    text = stored.read_text(path)
    try:
        value = json.loads(text) if _suffix(path) == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: not readable as {_suffix(path)[1:]}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(
            f"{path}: got {type(value).__name__}, expected keys: "
            f"{', '.join(Intervention.model_fields)}"
        )
    try:
        return Intervention.model_validate(value)
    except ValidationError as error:
        problems = "\n".join(f"  - {_explain(each)}" for each in error.errors())
        raise ValueError(f"{path} is no intervention:\n{problems}") from None


def _suffix(path: Path | str) -> str:
    suffix = Path(path).suffix
    if suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"{path}: ends in {suffix!r}, expected .json, .yaml or .yml")
    return suffix


def _explain(error: Mapping[str, Any]) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{key}: missing; it is needed"
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key; expected {', '.join(Intervention.model_fields)}"
    if error["type"] == "value_error":
        return ": ".join(filter(None, [key, str(error["ctx"]["error"])]))
    said = str(error["msg"])
    return f"{key}: got {error['input']!r}; {said[0].lower()}{said[1:]}"
