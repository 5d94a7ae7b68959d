"""Greedy answers of models behind an OpenAI-compatible server, in the files of `predict`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from needlework.evaluation.predict import Row, fill, row_of
from needlework.examples import Example
from needlework.llm.cache import ResponseCache
from needlework.llm.client import Client, Completion, Generator, Request, RequestFailed
from needlework.models import Base
from needlework.progress import say, ticks
from needlework.rendering.prompt import Rendered, message_of, render
from needlework.rendering.styles import style_of
from needlework.synthesis.chat import chat_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Literal["tokens", "chat"]


class Asking(NamedTuple):
    """How examples are put to a server, and how its replies are read.

    The form "tokens" sends the very tokens that a local model reads, as a text completion; "chat"
    the message, which the server puts in its own template, after the system message of the chats
    that hosted models are tuned on. `length` is of prompt and answer, in tokens of `tokenizer`;
    `ends` are the tokens that end an answer.
    """

    form: Form
    tokenizer: PreTrainedTokenizerBase
    length: int
    ends: Sequence[int] = ()

    def request(self, shown: Rendered) -> Request:
        """What is asked for an example."""
        stop = ("\n",) if style_of(shown.example).stop == "line" else ()
        if self.form == "tokens":
            return Request("", 0, tokens=shown.prompt, stop=stop, stop_tokens=self.ends)
        system, user, _ = chat_rows(message_of(shown.example), "", "openai")["messages"]
        return Request(user["content"], 0, system=system["content"], stop=stop)

    def row(self, shown: Rendered, completion: Completion) -> Row:
        """The row of an answer, cut as `answering.answer_of` cuts it.

        What ended it is "stop" where the server does not tell its model's end from a line's.
        """
        style = style_of(shown.example)
        text = completion.text
        stopped_by: str = completion.ended or "stop"
        if style.stop == "line":
            text, newline, _ = text.partition("\n")
            if newline or completion.ended == "stop":
                stopped_by = "newline"
        if self.form == "chat":
            # Nobody opens the reply for such a model; one that was tuned so does it by itself.
            text = text.strip().removeprefix(style.opening)
        return row_of(shown, text.strip(), stopped_by)


def predict_served(
    server: Generator,
    asking: Asking,
    examples: Sequence[Example],
    output: Path,
    *,
    cache: Path,
    identity: str,
) -> list[Row]:
    """Answer every example and write one row each to `output`, in the order of the examples.

    Every answer is in the cache as soon as it comes: a killed run asks nothing twice.

    Args:
        server: which model answers, with temperature 0, and how many examples at once.
        asking: how it is asked.
        examples: what to answer.
        output: the JSONL file to write; its schema is in docs/formats.md.
        cache: SQLite file of the answers; what failed is in a neighbour of `output`.
        identity: hash of model, adapter, examples and decoding.

    Returns:
        The rows written.

    Raises:
        RuntimeError: the server refused examples for good, by their ids; the others' answers are
            kept, and a rerun asks only for these.
        GeneratorError: the server cannot be used.
    """

    def answer(rest: Sequence[Example]) -> Iterator[dict[str, list[Row]]]:
        if not rest:
            return
        rows, failed = asyncio.run(_asked(server, asking, rest, cache, failures))
        yield {"plain": rows}
        if failed:
            raise RuntimeError(
                f"{server.base_url}, model {server.model!r}: {len(failed)} of {len(rest)} examples "
                f"have no answer, for the reasons above: {', '.join(failed)}. The other answers "
                f"are kept; mend what the reasons name, and run again to ask for these"
            )

    failures = output.with_name(f"{output.stem}.failures.jsonl")
    size = max(1, len(examples))
    return fill({"plain": output}, examples, answer, batch=size, identity=identity)["plain"]


def end_tokens_of(base: Base, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer, as `answering.end_tokens` has them of a loaded model."""
    from transformers import AutoConfig, GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(base.path).eos_token_id
    except OSError:  # no generation_config.json
        config = AutoConfig.from_pretrained(base.path, trust_remote_code=False)
        own = config.get_text_config().eos_token_id
    return sorted({tokenizer.eos_token_id, *([own] if isinstance(own, int) else own or ())})


async def _asked(
    server: Generator, asking: Asking, examples: Sequence[Example], cache: Path, failures: Path
) -> tuple[list[Row], list[str]]:
    """The rows of the examples that were answered, and the ids of the others."""
    rows: list[Row] = []
    failed: list[str] = []
    rest = iter(examples)

    async def work() -> None:
        for example in rest:  # shared: every worker takes the next
            # Not before its turn: the server answers others meanwhile, and memory holds few.
            shown = render(example, asking.tokenizer, asking.length)
            try:
                rows.append(asking.row(shown, await client.complete(asking.request(shown))))
            except RequestFailed as error:
                say(f"{example.id}: {error}")
                failed.append(example.id)

    with ResponseCache(cache) as responses:
        each = ticks("answers", len(examples))
        async with Client(server, responses, failures=failures, each=each) as client:
            workers = (work() for _ in range(min(server.concurrency, len(examples))))
            ended = await asyncio.gather(*workers, return_exceptions=True)
            say(f"asked {server.base_url}: {client.usage()}")
    for error in ended:  # not before all have ended: what was under way is in the cache
        if error is not None:
            raise error
    return rows, failed
