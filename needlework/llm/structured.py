"""JSON answers: how a schema is asked for, whether a reply keeps to it, how a repair is asked."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_ASK = (
    "Answer with one JSON value and nothing else: no explanation, no code fence. It must be valid "
    "for this JSON schema:"
)
_REPAIR = "That reply cannot be used: {problem}. Answer again. " + _ASK
# What determines an answer besides its prompt and schema; part of the cache's key.
WORDS = [_ASK, _REPAIR]

_ERRORS_TOLD = 3
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The `response_format` that makes a server keep to `schema` (OpenAI API reference, chat)."""
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": schema},
    }


def prompt_with(prompt: str, schema: dict[str, Any]) -> str:
    """`prompt` for a server that takes no `response_format`: it ends with the schema."""
    return f"{prompt}\n\n{_ASK}\n{_dumped(schema)}"


def repair(reply: str, problem: str, schema: dict[str, Any]) -> list[dict[str, str]]:
    """The messages that follow a reply that is not valid: itself, and what is wrong with it."""
    return [
        {"role": "assistant", "content": reply},
        {
            "role": "user",
            "content": f"{_REPAIR.format(problem=problem)}\n{_dumped(schema)}",
        },
    ]


def json_text(reply: str) -> str:
    """The JSON of a reply, without the code fence that models like to put around it."""
    fenced = _FENCED.fullmatch(reply)
    return fenced[1] if fenced else reply.strip()


def problem(text: str, schema: dict[str, Any]) -> str | None:
    """Why `text` is not JSON that is valid for `schema`, in words for the model; None if it is.

    Raises:
        ValueError: `schema` is itself no JSON schema.
    """
    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON ({error})"
    errors = islice(_validator(_dumped(schema)).iter_errors(value), _ERRORS_TOLD)
    return "; ".join(f"at {e.json_path}, {e.message[:300]}" for e in errors) or None


def check_schema(schema: dict[str, Any]) -> None:
    """Refuse what is no JSON schema before anything is paid for.

    Raises:
        ValueError: says what is wrong with it.
    """
    _validator(_dumped(schema))


@lru_cache
def _validator(schema: str) -> Validator:
    import jsonschema  # only who asks for JSON waits for its import

    value = json.loads(schema)
    try:
        jsonschema.Draft202012Validator.check_schema(value)
    except jsonschema.SchemaError as error:
        raise ValueError(f"not a JSON schema: {error.message}, in {schema[:300]}") from None
    return jsonschema.Draft202012Validator(value)


def _dumped(schema: dict[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, sort_keys=True)


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
