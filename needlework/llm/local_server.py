"""An OpenAI-compatible server for a GGUF model, inside this process: no account, no network.

Two runs may differ in their texts, though their seeds are equal: llama.cpp serves several requests
in one batch, and a sum's last bits depend on what else is in the batch. `ResponseCache` is what
makes a re-run equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from needlework.llm.keys import key_in_environment

API_KEY_ENV = "NEEDLEWORK_LOCAL_KEY"


@contextmanager
def local_server(
    model: Path, *, threads: int, parallel: int = 4, context: int = 2048
) -> Iterator[str]:
    """Serve `model` on a free port of the loopback address while the block runs.

    Meanwhile the environment variable `API_KEY_ENV` holds the server's key, drawn for it.

    Requests must have ended, or been cancelled, when the block ends, as they are after
    `asyncio.run`: llama.cpp waits for connections that still expect an answer. Its errors go to
    standard error, its other messages nowhere.

    Args:
        model: a GGUF file.
        threads: CPU threads that compute.
        parallel: requests served at once; the client's `concurrency` should be the same.
        context: tokens of one request, prompt and answer together.

    Yields:
        the base URL, which ends in `/v1`.

    Raises:
        FileNotFoundError: there is no file `model`.
        RuntimeError: llama.cpp cannot load `model`.
    """
    if not model.is_file():
        raise FileNotFoundError(f"{model}: no such file; the local server wants a GGUF model")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    # Answers name the model by its alias; by default that is the full path of the file.
    params.model_alias = {model.name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cors_origins = ""  # no page in a browser; by default any, with its credentials
    params.n_parallel = parallel
    params.n_ctx = context * parallel  # the slots share it
    params.cpuparams.n_threads = threads
    params.ui = False
    params.verbosity = 1
    # By default up to 8 GiB of past prompts' states stay in memory; a generator hardly ever asks a
    # prompt again. What a prompt shares with its slot's last one is reused all the same.
    params.cache_ram_mib = 0
    with key_in_environment(API_KEY_ENV) as key:
        params.api_keys = [key]
        try:
            server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise RuntimeError(
                f"{model}: llama.cpp could not serve this file of {model.stat().st_size} bytes; "
                "its lines on standard error say why. If it is not a whole GGUF file, download it "
                "again; if memory is short, lower `parallel` or `context`."
            ) from error
        try:
            _wait_for_loop(server.listening_address, key)
            yield f"{server.listening_address}/v1"
        finally:
            del server  # the server has no stop(): it ends with its last reference


def _wait_for_loop(address: str, key: str) -> None:
    # llama.cpp never ends if it is stopped before its main loop runs, as when every answer is in
    # the cache. Only the loop can answer /slots.
    connection = HTTPConnection(urlsplit(address).netloc)
    connection.request("GET", "/slots", headers={"Authorization": f"Bearer {key}"})
    connection.getresponse().read()
    connection.close()
