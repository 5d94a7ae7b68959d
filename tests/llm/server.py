"""A server on the loopback address that speaks OpenAI's protocol, its faults included.

`serving()` runs it in a thread of a test; `python server.py --latency 0.5 ...` as a process of its
own, which prints its URL. GET /asked says what it was asked, so that tests and the benchmark count
the same in both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

JSON = dict[str, Any]
PAGE = 2  # batches a listing shows at a time: few, so that tests turn pages


class Reply(NamedTuple):
    """One HTTP answer; a body that is not a string is sent as JSON; status 0 cuts the line."""

    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012


CUT = Reply(0, "")


def answer(text: str | None = "Lima.", finish_reason: str = "stop", **more: Any) -> Reply:
    """A chat completion object."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model",
        "choices": [{**choice, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }
    return Reply(200, body | more)


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """An error object; `headers` with - for _."""
    error = {"message": message, "type": "test", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": error}, named)


# What the server replies to a chat request: from the body and how often the same was asked before.
Model = Callable[[JSON, int], Reply]


@dataclass
class Served:
    """The server's behaviour, which a test may change, and what it has seen."""

    model: Model = lambda body, times: answer()
    latency: float = 0.0
    # What becomes of a batch: its status, and the statuses or None (absent) of its requests.
    batch_ends: Callable[[JSON, list[JSON]], JSON] = lambda batch, lines: {"status": "completed"}
    on_batch_create: list[Reply] = field(default_factory=list)
    polls_until_end: int = 1
    # Called with "METHOD /path" of a request that is done but not answered yet.
    meanwhile: Callable[[str], None] = lambda seen: None
    url: str = ""
    asked: list[JSON] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)
    active: int = 0
    most_active: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, JSON] = field(default_factory=dict)

    def prompts(self) -> list[str]:
        """The first message of every chat request, in the order asked."""
        return [body["messages"][0]["content"] for body in self.asked]

    async def chat(self, body: JSON) -> Reply:
        """Reply as the model does; a whole answer is counted as paid for."""
        name = json.dumps(body, sort_keys=True)
        times, self.times[name] = self.times[name], self.times[name] + 1
        self.asked.append(body)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        reply = self.model(body, times)
        if self.latency and reply.status == 200:
            await asyncio.sleep(self.latency)
        self.active -= 1
        self.paid[name] += isinstance(reply.body, dict) and reply.status == 200
        return reply

    def upload(self, content_type: str, content: bytes) -> Reply:
        """POST /files."""
        boundary = re.search(r"boundary=([^;]+)", content_type)
        assert boundary is not None
        parts = content.split(b"--" + boundary[1].strip('"').encode())
        (part,) = (p for p in parts if b'name="file"' in p)
        assert any(b'name="purpose"' in p and b"batch" in p for p in parts)
        name = f"file-{len(self.files)}"
        self.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        return Reply(200, {"id": name, "object": "file", "purpose": "batch", "bytes": 1})

    def create_batch(self, body: JSON) -> Reply:
        """POST /batches; a reply of `on_batch_create` is sent though the batch is made."""
        assert body["endpoint"] == "/v1/chat/completions"
        assert body["completion_window"] == "24h"
        lines = self.lines(body["input_file_id"])
        assert len({line["custom_id"] for line in lines}) == len(lines)
        reply = self.on_batch_create.pop(0) if self.on_batch_create else None
        if reply is not None and reply.status >= 400:
            return reply
        batch = {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "endpoint": body["endpoint"],
            "completion_window": "24h",
            "created_at": 1,
            "input_file_id": body["input_file_id"],
            "status": "validating",
            "metadata": body.get("metadata"),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "polls": 0,
        }
        self.batches[batch["id"]] = batch
        return reply or Reply(200, batch)

    def lines(self, file_id: str) -> list[JSON]:
        """The requests of an input file."""
        return [json.loads(line) for line in self.files[file_id].decode().split("\n") if line]

    def poll_batch(self, name: str) -> Reply:
        """GET /batches/{id}: it ends after some polls."""
        batch = self.batches[name]
        batch["polls"] += 1
        if batch["status"] == "validating" and batch["polls"] >= self.polls_until_end:
            self._end(batch)
        return Reply(200, batch)

    def page(self, after: str | None) -> Reply:
        """GET /batches: newest first."""
        names = list(self.batches)[::-1]
        rest = names[names.index(after) + 1 :] if after else names
        data = [self.batches[name] for name in rest[:PAGE]]
        return Reply(200, {"object": "list", "data": data, "has_more": len(rest) > PAGE})

    def _end(self, batch: JSON) -> None:
        lines = self.lines(batch["input_file_id"])
        end = self.batch_ends(batch, lines)
        output: list[JSON] = []
        errors: list[JSON] = []
        for line in lines if end["status"] != "failed" else []:
            if line["custom_id"] in end.get("unfinished", ()):
                code = f"batch_{end['status']}"
                error = {"code": code, "message": "This request was not executed."}
                errors.append({"custom_id": line["custom_id"], "response": None, "error": error})
                continue
            body = line["body"]
            name = json.dumps(body, sort_keys=True)
            reply = self.model(body, self.times[name])
            self.times[name] += 1
            self.asked.append(body)
            self.paid[name] += reply.status == 200
            response = {"status_code": reply.status, "request_id": "r", "body": reply.body}
            result = {"id": "r", "custom_id": line["custom_id"], "response": response}
            (output if reply.status == 200 else errors).append(result | {"error": None})
        for kind, results in (("output", output), ("error", errors)):
            if results:
                name = f"file-{len(self.files)}"
                text = "".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results)
                self.files[name] = text.encode()
                batch[f"{kind}_file_id"] = name
        batch |= {"status": end["status"], "errors": end.get("errors")}

    async def respond(self, method: str, target: str, headers: JSON, content: bytes) -> Reply:
        """Route one request."""
        path, _, query = target.removeprefix("/v1").partition("?")
        self.paths[f"{method} {_shape(target)}"] += 1
        if path == "/asked":
            paid = {
                "paid": sum(self.paid.values()),
                "twice": sum(n > 1 for n in self.paid.values()),
            }
            return Reply(200, paid | {"asked": len(self.asked)})
        self.headers.append(headers)
        if path == "/chat/completions":
            return await self.chat(json.loads(content))
        if path == "/files" and method == "POST":
            return self.upload(headers["content-type"], content)
        if path.startswith("/files/"):
            name = path.split("/")[2]
            return Reply(200, self.files[name].decode()) if name in self.files else failure(404)
        if path == "/batches" and method == "POST":
            return self.create_batch(json.loads(content))
        if path == "/batches":
            after = re.search(r"after=([^&]+)", query)
            return self.page(after[1] if after else None)
        if path.startswith("/batches/") and path.split("/")[2] in self.batches:
            return self.poll_batch(path.split("/")[2])
        return failure(404, f"no {method} {path}")


def _shape(target: str) -> str:
    """The path without the names in it."""
    return re.sub(r"(file-|batch_)[0-9]+", "*", target.removeprefix("/v1").partition("?")[0])


async def _connection(
    served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while line := await reader.readline():
            method, target, _ = line.decode().split(" ")
            headers = {}
            while (header := (await reader.readline()).decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            content = await reader.readexactly(int(headers.get("content-length", "0")))
            reply = await served.respond(method, target, headers, content)
            served.meanwhile(f"{method} {_shape(target)}")
            if reply.status == 0:
                break
            is_text = isinstance(reply.body, str)
            body = (reply.body if is_text else json.dumps(reply.body)).encode()
            sent = {
                "content-type": "text/plain" if is_text else "application/json",
                "content-length": str(len(body)),
            } | reply.headers
            head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
            writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode() + body)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client went away, as one that is killed does
    finally:
        writer.close()


async def listen(served: Served) -> asyncio.Server:
    """Serve on a free port; sets `served.url`."""
    server = await asyncio.start_server(
        lambda reader, writer: _connection(served, reader, writer), "127.0.0.1", 0, backlog=512
    )
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    return server


@contextmanager
def serving(model: Model | Reply | None = None, **behaviour: Any) -> Iterator[Served]:
    """The server in a thread, while the block runs."""
    if isinstance(model, Reply):
        reply = model
        behaviour["model"] = lambda body, times: reply
    elif model is not None:
        behaviour["model"] = model
    served = Served(**behaviour)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(listen(served))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def faulty(rates: dict[str, float], seed: int = 0) -> Model:
    """A model that answers with the request's seed, but for faults at these rates."""
    rng = random.Random(seed)
    faults = {
        "429": failure(429, retry_after="1"),
        "500": failure(500),
        "cut": CUT,
        "invalid": Reply(200, '{"id": "chatcmpl-1", "choices": [{"ind'),
    }

    def model(body: JSON, times: int) -> Reply:
        drawn = rng.random()
        for name, rate in rates.items():
            if drawn < rate:
                return faults[name]
            drawn -= rate
        return answer(f"answer {body['seed']}")

    return model


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of every answer")
    parser.add_argument("--faults", type=json.loads, default={}, help='such as {"429": 0.1}')
    args = parser.parse_args()

    async def run() -> None:
        served = Served(model=faulty(args.faults), latency=args.latency)
        server = await listen(served)
        print(served.url, flush=True)
        await server.serve_forever()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
