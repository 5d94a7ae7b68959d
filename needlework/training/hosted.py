"""Fine-tuning of a hosted model through its API, on the same examples as local models.

What the loss is on, and all that is called "auto", the API decides.
"""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from needlework import provenance, stored
from needlework.atomic import write_json
from needlework.examples import read_examples
from needlework.llm.fine_tuning import FineTuning
from needlework.llm.transport import Server
from needlework.progress import say, track
from needlework.synthesis.chat import chat_lines
from needlework.training.rows import chosen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Auto = Literal["auto"]

# https://platform.openai.com/docs/guides/fine-tuning: examples to learn from, bytes of a file.
FEWEST = 10
_MOST_BYTES = 512 * 1024**2
# The same page, "Token limits": the end of a longer example, where the answer stands, is cut off
# without a word. By the beginnings of names.
_LONGEST = {"gpt-3.5-turbo-0613": 4096, "gpt-3.5-turbo": 16_385, "gpt-4o": 65_536}


@dataclass(frozen=True)
class HostedSettings:
    """Where and how a hosted model is tuned; keys of the study's section `hosted`.

    `learning_rate_multiplier` is of the API's own learning rate; `suffix` becomes a part of the
    tuned model's name.
    """

    base_url: str
    api_key_env: str | None
    epochs: int | Auto
    batch: int | Auto
    learning_rate_multiplier: float | Auto
    suffix: str | None = None

    def request(self, model: str, seed: int) -> dict[str, Any]:
        """What the API is asked for, but for the files."""
        hyperparameters = {
            "n_epochs": self.epochs,
            "batch_size": self.batch,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        supervised = {"hyperparameters": hyperparameters}
        method = {"type": "supervised", "supervised": supervised}
        suffix = {} if self.suffix is None else {"suffix": self.suffix}
        return {"model": model, "seed": seed, "method": method} | suffix


def tune(
    settings: HostedSettings,
    model: str,
    train_path: Path,
    validation_path: Path,
    output: Path,
    *,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    examples: int | None,
    seed: int,
    state: Path,
    poll: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Any]:
    """Tune `model` and write `output`/hosted.json; returns what that holds.

    A killed run finds its files and its job again: their ids are in the folder `state`, and the
    server keeps the hash of what was asked for in the job's metadata. So what is asked for twice
    with the same files, model, settings and seed is tuned, and paid for, once.

    Args:
        settings: the server and its hyperparameters.
        model: the API's name of the model.
        train_path: examples to learn from.
        validation_path: examples that the API computes a loss of.
        output: folder of hosted.json.
        tokenizer: counts the tokens of prompts; the API's own may count a little otherwise.
        length: tokens of prompt and answer, at most.
        examples: how many of the training examples are used; None for all.
        seed: of the API's training.
        state: folder of what is under way.
        poll: seconds between two looks at a job.
        sleep: waits so many seconds.

    Raises:
        ValueError: the data are beyond the API's documented limits, or do not fit the length.
        GeneratorError: the server refused, or the job failed; the message gives its reason.
    """
    _check_length(model, length)
    data = {path.name: provenance.file_hash(path) for path in (train_path, validation_path)}
    chats = {
        path: _chats(path, tokenizer, length, count, fewest, data[path.name])
        for path, count, fewest in ((train_path, examples, FEWEST), (validation_path, None, 1))
    }
    contents = [chat for chat, _ in chats.values()]
    request = settings.request(model, seed)
    hashes = [sha256(content).hexdigest() for content in contents]
    tag = provenance.value_hash({"server": settings.base_url, "request": request, "data": hashes})
    with _held(state / f"{tag[:16]}.json") as path:
        job, events = asyncio.run(_job(settings, request, contents, tag, path, poll, sleep))
    record = _told(job, events) | {
        "base_model": model,
        "settings": asdict(settings),
        "loss": "decided by the API",
        "seed": seed,
        "length": length,
        "data": data,
        "examples": {path.stem: count for path, (_, count) in chats.items()},
        "files": {
            "train": {"id": job.get("training_file"), "sha256": hashes[0]},
            "validation": {"id": job.get("validation_file"), "sha256": hashes[1]},
            "results": job.get("result_files") or [],
        },
        "versions": provenance.versions(),
    }
    write_json(output / "hosted.json", record)
    return record


def _check_length(model: str, length: int) -> None:
    name = model.removeprefix("ft:")
    longest = next((most for start, most in _LONGEST.items() if name.startswith(start)), None)
    if longest is not None and length > longest:
        raise ValueError(
            f"length {length}: {model} learns from at most {longest} tokens of an example, and the "
            "API cuts off the end, where the answer stands, of a longer one; lower `length`, or "
            "take a model that learns from more"
        )


def _chats(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    count: int | None,
    fewest: int,
    data_hash: str,
) -> tuple[bytes, int]:
    """The file that is uploaded for a dataset, and how many examples are in it."""
    examples = chosen(read_examples(path), count, data_hash)
    if len(examples) < fewest:
        raise ValueError(
            f"{path}: {len(examples)} examples, and the API takes no fewer than {fewest}; make "
            "the dataset larger, or use more of it"
        )
    shown = chat_lines(track(examples, f"rendering {path.stem}"), tokenizer, length, "openai")
    content = "".join(shown).encode()
    if len(content) > _MOST_BYTES:
        raise ValueError(
            f"{path}: {len(content)} bytes as chats, and the API takes at most {_MOST_BYTES} in a "
            "file; train on fewer examples"
        )
    return content, len(examples)


@contextmanager
def _held(path: Path) -> Iterator[Path]:
    """Keep other processes from working on the same; a killed one gives the lock back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield path


async def _job(
    settings: HostedSettings,
    request: dict[str, Any],
    contents: list[bytes],
    tag: str,
    path: Path,
    poll: float,
    sleep: Callable[[float], Awaitable[None]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The job that has succeeded, and its events; what is under way is noted at `path`."""
    server = Server(settings.base_url, request["model"], settings.api_key_env)
    anew = f"To begin anew, delete {path} and run again."
    api = FineTuning(server, anew=anew, say=say, sleep=sleep)
    try:
        job_id = await _started(api, request, contents, tag, path, poll)
        job = await api.ended(job_id, poll)
        if job["status"] != "succeeded" or not job.get("fine_tuned_model"):
            raise api.given_up(
                f"the fine-tuning job {job_id} {_how_it_ended(job)}",
                "Mend what the reason names: other data or settings are another job.",
            )
        return job, await api.events(job_id)
    finally:
        await api.close()


async def _started(
    api: FineTuning,
    request: dict[str, Any],
    contents: list[bytes],
    tag: str,
    path: Path,
    poll: float,
) -> str:
    """The id of the job, which is made if it is not there yet."""
    noted: dict[str, Any]
    if path.exists():
        noted = stored.read_json(path)
    else:
        found = await api.jobs(tag)
        # Whoever deleted the notes of these wants another job; the others still give a model.
        lost = [job["id"] for job in found if job["status"] in {"failed", "cancelled"}]
        alive = next((job["id"] for job in found if job["id"] not in lost), None)
        noted = {"job": alive, "lost": lost, "files": []}
        write_json(path, noted)
    for content in contents[len(noted["files"]) :] if noted["job"] is None else []:
        noted["files"].append(await api.upload(content))
        write_json(path, noted)
    if noted["job"] is None:
        for file_id in noted["files"]:
            await api.wait_for_file(file_id, poll)
        files = dict(zip(("training_file", "validation_file"), noted["files"], strict=True))
        noted["job"] = (await api.start(request | files, tag, noted["lost"]))["id"]
        write_json(path, noted)
    return str(noted["job"])


def _how_it_ended(job: dict[str, Any]) -> str:
    error = job.get("error") or {}
    if job["status"] == "cancelled":
        return "was cancelled"
    if job["status"] == "succeeded":
        return "ended without naming a model"
    reason = f"{error.get('code')}: {error.get('message')}" if error else "it gives no reason"
    where = f" (parameter {error['param']})" if error.get("param") else ""
    return f"failed: {reason}{where}"


def _told(job: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """What the server tells of a job; among the hyperparameters, "auto" has become a number."""
    method = (job.get("method") or {}).get("supervised") or {}
    return {
        "model": job["fine_tuned_model"],
        "job": job["id"],
        "status": job["status"],
        "trained_tokens": job.get("trained_tokens"),
        "hyperparameters": method.get("hyperparameters") or job.get("hyperparameters") or {},
        "created": job.get("created_at"),
        "finished": job.get("finished_at"),
        "events": [
            {key: event.get(key) for key in ("created_at", "level", "message", "data")}
            for event in events
        ],
    }
