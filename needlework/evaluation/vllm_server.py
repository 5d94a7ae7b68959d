"""A vLLM server for a base model and its adapters, in a process of its own on this machine.

Flags and limits are those of vLLM 0.33 (`vllm serve --help`, vllm/config/lora.py,
vllm/model_executor/layers/rotary_embedding).
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from needlework import stored
from needlework.llm.keys import key_in_environment
from needlework.models import Base
from needlework.progress import say

API_KEY_ENV = "VLLM_API_KEY"  # vLLM reads it; others can read a command line
BASE_NAME = "base"  # what the model without adapter is called

_HOST = "127.0.0.1"
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
_POLL = 0.5  # seconds between two looks at whether it serves
_GRACE = 30.0  # seconds that it has to end by itself
_TOLD = 8  # lines of its log in an error
_GUARD = ["sh", "-c", "read _; kill -KILL 0"]  # 0: its own process group


@contextmanager
def vllm_server(
    base: Base,
    adapters: Mapping[str, Path],
    *,
    length: int,
    dtype: str,
    log: Path,
    executable: str = "vllm",
    patience: float = 1800.0,
) -> Iterator[str]:
    """Serve `base` as "base", and its adapters by their names, while the block runs.

    Meanwhile the environment variable VLLM_API_KEY holds the server's key, drawn for it. The server
    ends with the block, or with this process, however that ends.

    Args:
        base: the record of the base model.
        adapters: folders of low-rank adapters that were trained on it.
        length: tokens of the longest prompt and answer.
        dtype: "float32", "bfloat16" or "float16".
        log: file for all that the server prints.
        executable: the command `vllm`, which may be in an environment of its own.
        patience: seconds that it may take to start.

    Yields:
        The base URL, which ends in `/v1`.

    Raises:
        FileNotFoundError: there is no such command.
        ValueError: vLLM cannot serve this model or an adapter as transformers runs it.
        RuntimeError: the server ended, or did not start in time; the message has its errors.
    """
    with socket.create_server((_HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [
        executable, "serve", base.path, "--served-model-name", BASE_NAME,
        "--host", _HOST, "--port", str(port), "--dtype", dtype, "--seed", "0",
        # Not the model's own penalties and sampling, which transformers sets aside too.
        "--generation-config", "vllm", "--disable-uvicorn-access-log",
        *_length_flags(base, length), *_adapter_flags(base, adapters),
    ]  # fmt: skip
    with key_in_environment(API_KEY_ENV), _process(command, log) as process:
        _wait(process, port, log, patience)
        _check_served(port, {BASE_NAME, *adapters})
        say(f"{executable} serves {base.source} at {_HOST}:{port}; its log is {log}")
        try:
            yield f"http://{_HOST}:{port}/v1"
        except Exception as error:
            if process.poll() is not None:
                raise RuntimeError(_ended(process, log)) from error
            raise


def _length_flags(base: Base, length: int) -> list[str]:
    kinds = [base.rope] if "rope_type" in base.rope else list(base.rope.values())
    types = {kind["rope_type"] for kind in kinds}
    if fixed := types & {"dynamic", "longrope"}:
        raise ValueError(
            f"{base.source!r} scales RoPE by {fixed.pop()!r}: transformers does so by the length "
            "of each prompt, vLLM once for all; answer with the back end transformers"
        )
    flags = []
    if length > base.positions and types <= {"default", "llama3"}:
        # No more than a longer table of rotations, where transformers computes each.
        flags = ["--hf-overrides", json.dumps({"max_position_embeddings": length})]
    elif length > base.positions and types != {"linear"}:  # its table is longer by its factor
        say(f"answers that do not end are cut where {base.positions} tokens are reached")
        length = base.positions
    return ["--max-model-len", str(length), *flags]


def _adapter_flags(base: Base, adapters: Mapping[str, Path]) -> list[str]:
    if not adapters:
        return []
    rank = max(_rank(base, folder) for folder in adapters.values())
    if rank > _RANKS[-1]:
        raise ValueError(f"vLLM serves adapters of rank {_RANKS[-1]} at most, got {rank}")
    served = next(each for each in _RANKS if each >= rank)
    return [
        "--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(served),
        "--lora-modules", *(f"{name}={folder.resolve()}" for name, folder in adapters.items()),
    ]  # fmt: skip


def _rank(base: Base, folder: Path) -> int:
    """The rank of an adapter that fits the base model."""
    record = stored.read_json(folder / "training.json")["base"]
    trained = Base.model_validate(record | {"path": base.path}).model_dump()
    for key, value in base.model_dump().items():
        if trained[key] != value:
            raise ValueError(
                f"the adapter {folder} was trained with {key} = {trained[key]!r}, the base model "
                f"has {value!r}; train it again on this base model"
            )
    config = stored.read_json(folder / "adapter_config.json")
    if config.get("modules_to_save"):
        raise ValueError(
            f"{folder} holds whole weights, and vLLM serves low-rank adapters only: merge it with "
            "scripts/export_model.py and serve the merged folder as the base model, or answer with "
            "the back end transformers"
        )
    rank: int = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    return rank


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                process_group=0,
            )  # fmt: skip
        except FileNotFoundError:
            raise FileNotFoundError(
                f"there is no command {command[0]!r}: install the environment envs/vllm.yaml, or "
                "answer with the back end transformers"
            ) from None
    # If this process is killed, the pipe closes, and the guard ends all of them: left alone, they
    # would go on to hold the GPU.
    guard = subprocess.Popen(_GUARD, stdin=subprocess.PIPE, process_group=process.pid)
    with guard:
        try:
            yield process
        finally:
            for ending in (signal.SIGTERM, signal.SIGKILL):  # its own children may outlive it
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, ending)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_GRACE)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while _get(port, "/health") is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_POLL)
            raise RuntimeError(_ended(process, log))
        if time.monotonic() > deadline:
            raise RuntimeError(f"vLLM does not serve after {patience:.0f} s; {_errors(log)}")


def _check_served(port: int, names: set[str]) -> None:
    """Refuse another server, or one that lacks a model: its answers would be another model's."""
    listed = json.loads(_get(port, "/v1/models") or "{}").get("data", [])
    found = {model["id"] for model in listed}
    if found != names:
        raise RuntimeError(
            f"the server at {_HOST}:{port} serves {sorted(found)}, expected {sorted(names)}: "
            "another program may have taken its port; run again"
        )


def _get(port: int, path: str) -> bytes | None:
    """The body of an answer of status 200."""
    connection = HTTPConnection(_HOST, port, timeout=10.0)  # asks no proxy
    try:
        connection.request(
            "GET", path, headers={"Authorization": f"Bearer {os.environ[API_KEY_ENV]}"}
        )
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _ended(process: subprocess.Popen[bytes], log: Path) -> str:
    return f"vLLM ended with status {process.returncode}; {_errors(log)}"


def _errors(log: Path) -> str:
    """The last lines of a log that name an error, before much else that vLLM prints as it ends."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [x for x in lines if re.search(r"([Ee]rror|Exception): ", x) and "WARNING" not in x]
    said = "\n".join((named or lines)[-_TOLD:])
    return f"its log {log} says:\n{said}" if said else f"its log {log} is empty"
