"""One request on its way to an answer: what to send next, and what a reply comes to.

Live requests and the Batch API share it, so that both send the same and judge replies the same.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from needlework.llm import structured
from needlework.llm.generator import Ended, Failure, Generator, Request
from needlework.llm.transport import Trouble
from needlework.provenance import value_hash

# Bytes of UTF-8 in a token, on the safe side: English has 4 to 5, Chinese about 3.
_BYTES_PER_TOKEN = 3
_SHORTEST_HIDDEN = 10  # characters; a shorter prompt is part of ordinary words
_UNPROCESSABLE = {400, 422}


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    """`stop_reason` is vLLM's: the text that ended the answer, or a token, or None for its end."""

    message: _Message
    finish_reason: str | None = None
    stop_reason: int | str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, choice: Any) -> Any:
        """A text completion has its text where a chat completion has a message."""
        if isinstance(choice, dict) and "message" not in choice and "text" in choice:
            return choice | {"message": {"content": choice["text"]}}
        return choice


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(BaseModel):
    """What is used of a chat completion or text completion object.

    Source: OpenAI API reference, chat/object and completions/object.
    """

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: _Usage | None = None


class Exchange:
    """A request, and how far it has come.

    Attributes:
        content: what determines the answer; `key` is its hash.
        plain: the schema goes in the prompt, because the server takes no `response_format`.
        attempts: how often it was sent.
        errors: how many of these failed for reasons that pass.
        wrong: replies that are not valid for the schema, each with what is wrong with it.
        prompt_tokens: read by the server for it, all attempts together, as the server counts.
        completion_tokens: written by the server for it, likewise.
    """

    def __init__(self, settings: Generator, request: Request, *, repairs: int) -> None:
        self.request = request
        self.content = settings.content(request)
        self.key = value_hash(self.content)
        self.plain = False
        self.attempts = self.errors = self.prompt_tokens = self.completion_tokens = 0
        self.wrong: list[tuple[str, str]] = []
        self._repairs = repairs

    @property
    def path(self) -> str:
        """Where to send it, from the base URL."""
        return "/chat/completions" if self.request.tokens is None else "/completions"

    def payload(self) -> dict[str, Any]:
        """The body to send next."""
        schema = self.request.schema
        payload = {
            name: value
            for name, value in self.content.items()
            if name not in {"server", "schema", "schema_words", "tokens"}
        }
        if self.request.tokens is not None:
            payload["prompt"] = list(self.request.tokens)
        if schema is None:
            return payload
        if self.plain:
            prompt = structured.prompt_with(self.request.prompt, schema)
            payload["messages"] = [*payload["messages"][:-1], {"role": "user", "content": prompt}]
        else:
            payload["response_format"] = structured.response_format(schema)
        for reply, problem in self.wrong:
            payload["messages"] = payload["messages"] + structured.repair(reply, problem, schema)
        return payload

    def bounds(self) -> tuple[int, int]:
        """About how many prompt tokens the next body has, and the most that it may answer."""
        size = len(json.dumps(self.payload(), ensure_ascii=False).encode())
        return size // _BYTES_PER_TOKEN + 1, self.content["max_tokens"]

    def take(self, got: str | Trouble) -> dict[str, Any] | Trouble | None:
        """What came back: the answer for the cache, trouble, or None where `payload` has changed.

        Trouble of status 200 that does not pass is the model's: the server did its part.
        """
        if isinstance(got, Trouble):
            if got.status in _UNPROCESSABLE and self.request.schema is not None and not self.plain:
                self.plain = True
                return None
            return got
        try:
            answer = _Answer.model_validate_json(got)
        except ValidationError as error:
            return _not_a_completion(got, error)
        usage = answer.usage or _Usage()
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        return self._judged(answer)

    def failure(self, trouble: Trouble, fix: str) -> Failure:
        """Why there is no answer; where the server repeats the prompt, that is left out."""
        reason = trouble.reason
        if len(prompt := self.request.prompt) >= _SHORTEST_HIDDEN:
            quoted = repr(prompt), json.dumps(prompt), json.dumps(prompt, ensure_ascii=False)
            for form in (prompt, *(text[1:-1] for text in quoted)):
                reason = reason.replace(form, "<prompt>")
        reason = f"{reason[:600].rstrip('.')}. {fix}".strip()
        return Failure(self.key, self.request.kind, trouble.status, reason, self.attempts)

    def state(self) -> str:
        """How far it has come, as JSON, for who goes on after a restart."""
        names = ("plain", "attempts", "errors", "wrong", "prompt_tokens", "completion_tokens")
        return json.dumps({name: getattr(self, name) for name in names})

    def resume(self, state: str) -> None:
        """Go on from what `state` gave."""
        for name, value in json.loads(state).items():
            setattr(self, name, value)

    def _judged(self, answer: _Answer) -> dict[str, Any] | Trouble | None:
        choice = answer.choices[0]
        text = choice.message.content or ""
        if choice.message.refusal and not text:
            return Trouble(200, f"the model refused: {choice.message.refusal}")
        if choice.finish_reason == "content_filter":
            return Trouble(200, "the server's content filter withheld the answer or a part of it")
        if choice.finish_reason == "length" and not text and self.request.tokens is None:
            most = self.content["max_tokens"]
            fix = "Raise `max_tokens`: a reasoning model thinks inside this limit."
            return Trouble(
                200, f"the model used its {most} tokens without a word of answer", fix=fix
            )
        schema = self.request.schema
        if schema is not None:
            text = structured.json_text(text)
            if (problem := structured.problem(text, schema)) is not None:
                return self._invalid(text, problem, choice.finish_reason == "length")
        return {
            "text": text,
            "finish_reason": choice.finish_reason,
            "ended": self._ended(choice),
            "model": answer.model,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }

    def _ended(self, choice: _Choice) -> Ended | None:
        if choice.finish_reason == "length":
            return "limit"
        if choice.finish_reason != "stop":
            return None
        if not self.request.stop:
            return "end"
        if "stop_reason" not in choice.model_fields_set:
            return None
        return "stop" if isinstance(choice.stop_reason, str) else "end"

    def _invalid(self, text: str, problem: str, cut: bool) -> Trouble | None:
        if cut:
            problem += f"; it was cut off at {self.content['max_tokens']} tokens"
        if len(self.wrong) < self._repairs:
            self.wrong.append((text, problem))
            return None
        return Trouble(
            200,
            f"the reply is not valid for the schema, after {self._repairs} repairs: {problem}",
            fix="Raise `max_tokens` if replies are cut off; else ask a more capable model.",
        )


def _not_a_completion(body: str, error: ValidationError) -> Trouble:
    found = error.errors()[0]
    return Trouble(
        200,
        f"its answer is not a chat completion: {'.'.join(map(str, found['loc']))} {found['msg']}, "
        f"in {body!r}",
        passing=True,
        fix="Check that `base_url` is that of an OpenAI-compatible server and ends in /v1.",
    )
