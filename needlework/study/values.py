"""The types of a study's values: numbers, names, variants."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from needlework.given import shown
from needlework.layout import mixture_of

Variant = Literal[
    "real", "real_limited",
    "high_high", "high_low", "high_repeated", "low_high", "low_low", "low_repeated", "symbolic",
    "kv_simple", "kv_simple_template", "kv_multi_subkey", "kv_multi_subkey_template",
    "needle_in_haystack", "multidoc_qa",
]  # fmt: skip
VARIANTS: tuple[str, ...] = get_args(Variant)
UNTUNED = "untuned"


def _number(value: Any) -> Any:
    """YAML 1.1 reads 2e-4 as text; a person means a number."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", value):
        return float(value)
    return value


def _whole(value: Any) -> Any:
    """0 and 1 are shares too, though YAML reads whole numbers."""
    return float(value) if value in (0, 1) and not isinstance(value, bool) else value


Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1)]
Draws = Annotated[int, Field(ge=1, le=1000)]
"""Each is a file of answers for every run."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
"""What is a folder of the results: never two folders, a way up, or a flag."""


def _variant(value: Any) -> Any:
    """One variant, or a mixture of several; a wrong part is shown with what it takes."""
    if not isinstance(value, str):
        raise ValueError(f"takes the name of a variant, not {shown(value)}")
    for part in mixture_of(value):
        if part not in VARIANTS:
            raise PydanticCustomError(
                "literal_error", "no such variant", {"expected": ", ".join(VARIANTS)}
            )
    return value


VariantName = Annotated[
    str,
    BeforeValidator(_variant),
    WithJsonSchema({"anyOf": [{"enum": list(VARIANTS)}, {"type": "string", "pattern": r"[+]"}]}),
]


TrainedVariant = Annotated[
    str,
    WithJsonSchema(
        {"anyOf": [{"enum": [UNTUNED, *VARIANTS]}, {"type": "string", "description": "a control"}]}
    ),
]
"""The untuned model, a variant or a control: `parsing` knows which a study has."""


class Section(BaseModel):
    """A part of a study: keys that are known, of the type they have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
