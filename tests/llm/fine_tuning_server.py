"""A server for tests that speaks OpenAI's protocol for files and fine-tuning jobs, faults included.

It refuses what the API's reference does not allow, and its objects are checked against the types
of the installed client, so that tests do not agree with a protocol of our own.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qs

from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from tests.llm.server import CUT, JSON, Reply, failure, serving

MODEL = "gpt-test-1106"
PAGE = 3  # objects that a listing shows at a time: few, so that tests turn pages
_JOB_KEYS = {
    "model", "training_file", "validation_file", "seed", "suffix", "method", "metadata",
}  # fmt: skip
_HYPERPARAMETERS = {"n_epochs", "batch_size", "learning_rate_multiplier"}
_AUTO = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 2.0}


@dataclass
class Tuner:
    """The server's behaviour, which a test may change, and what it has seen.

    `instead` has replies, by "METHOD /path", that are sent without doing anything, in turn; those
    of `lost` are sent although what was asked for is done. `cut` says of a request whether it is
    cut off before anything is done; `after` is called before the answer is sent.
    """

    url: str = ""
    instead: defaultdict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))
    lost: defaultdict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))
    cut: Callable[[str], bool] = lambda asked: False
    after: Callable[[str], None] = lambda asked: None
    file_looks: int = 1  # until a file is processed
    file_end: JSON = field(default_factory=lambda: {"status": "processed"})
    statuses: list[str] = field(default_factory=lambda: ["queued", "running"])  # in turn
    job_end: JSON = field(default_factory=lambda: {"status": "succeeded"})
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    files: dict[str, JSON] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    said: str = ""  # in the first event of a job
    requests: dict[str, JSON] = field(default_factory=dict)  # by job
    jobs: dict[str, JSON] = field(default_factory=dict)
    looks: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def count(self, asked: str) -> int:
        """How often this was asked, such as "POST /files"."""
        return self.asked.count(asked)

    def rows(self, file_id: str) -> list[JSON]:
        """The examples in an uploaded file."""
        return [json.loads(line) for line in self.contents[file_id].decode().splitlines()]

    async def respond(
        self, method: str, target: str, headers: dict[str, str], content: bytes
    ) -> Reply:
        """Answer one request."""
        path, _, query = target.removeprefix("/v1").partition("?")
        name = re.sub(r"(file-|ftjob-)\w+", "*", f"{method} {path}")
        if self.cut(name):
            return CUT
        self.asked.append(name)
        self.headers.append(headers)
        if self.instead[name]:
            return self.instead[name].pop(0)
        if name == "POST /files":
            reply = self._upload(headers["content-type"], content)
        elif name == "POST /fine_tuning/jobs":
            reply = self._create(json.loads(content))
        else:
            reply = self._get(name, path, parse_qs(query))
        self.after(name)
        return self.lost[name].pop(0) if self.lost[name] else reply

    def _get(self, name: str, path: str, query: dict[str, list[str]]) -> Reply:
        parts = path.split("/")
        if name == "GET /files":
            assert query.get("purpose") == ["fine-tune"]
            return _page(list(self.files.values())[::-1], query)
        if name == "GET /files/*" and parts[2] in self.files:
            return self._look_at_file(parts[2])
        if name == "GET /fine_tuning/jobs":
            wanted = {k[9:-1]: v for k, (v,) in query.items() if k.startswith("metadata[")}
            jobs = [
                j for j in self.jobs.values() if wanted.items() <= (j["metadata"] or {}).items()
            ]
            return _page(jobs[::-1], query)
        if name == "GET /fine_tuning/jobs/*" and parts[3] in self.jobs:
            return self._look_at_job(parts[3])
        if name == "GET /fine_tuning/jobs/*/events" and parts[3] in self.jobs:
            return _page(self.events(parts[3])[::-1], query)
        return failure(404, f"no {path}")

    def _upload(self, content_type: str, content: bytes) -> Reply:
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in BytesParser(policy=HTTP).parsebytes(head + content).iter_parts()
        }
        assert parts["purpose"].get_content() == "fine-tune"
        name, text = parts["file"].get_filename(), parts["file"].get_payload(decode=True)
        assert name is not None
        assert name.endswith(".jsonl")
        assert isinstance(text, bytes)
        file_id = f"file-{len(self.files)}"
        self.contents[file_id] = text
        self.files[file_id] = {
            "id": file_id, "object": "file", "bytes": len(text), "created_at": 1,
            "filename": name, "purpose": "fine-tune", "status": "uploaded",
        }  # fmt: skip
        FileObject.model_validate(self.files[file_id], strict=True)
        return Reply(200, self.files[file_id])

    def _look_at_file(self, file_id: str) -> Reply:
        self.looks[file_id] += 1
        if self.looks[file_id] >= self.file_looks:
            self.files[file_id] |= self.file_end
        FileObject.model_validate(self.files[file_id], strict=True)
        return Reply(200, self.files[file_id])

    def _create(self, body: JSON) -> Reply:
        assert body.keys() <= _JOB_KEYS, "nothing that the reference does not name"
        assert isinstance(body["seed"], int)
        assert all(isinstance(v, str) and len(v) <= 512 for v in body["metadata"].values())
        assert body["method"]["type"] == "supervised"
        asked = body["method"]["supervised"]["hyperparameters"]
        assert asked.keys() <= _HYPERPARAMETERS
        if body["model"] != MODEL:
            message = f"Model {body['model']} is not available for fine-tuning"
            return failure(400, message, code="model_not_available")
        for file_id in (body["training_file"], body["validation_file"]):
            assert file_id in self.files
            for row in self.rows(file_id):
                roles = [message["role"] for message in row["messages"]]
                assert roles == ["system", "user", "assistant"]
        used = {key: _AUTO[key] if value == "auto" else value for key, value in asked.items()}
        job_id = f"ftjob-{len(self.jobs)}"
        self.requests[job_id] = body
        self.jobs[job_id] = {
            "id": job_id, "object": "fine_tuning.job", "created_at": 100, "error": None,
            "fine_tuned_model": None, "finished_at": None, "hyperparameters": used,
            "model": body["model"], "organization_id": "org-test", "result_files": [],
            "seed": body["seed"], "status": "validating_files", "trained_tokens": None,
            "training_file": body["training_file"], "validation_file": body["validation_file"],
            "estimated_finish": None, "integrations": [], "metadata": body["metadata"],
            "method": {"type": "supervised", "supervised": {"hyperparameters": used}},
        }  # fmt: skip
        return self._job(job_id)

    def _look_at_job(self, job_id: str) -> Reply:
        look, job = self.looks[job_id], self.jobs[job_id]
        self.looks[job_id] += 1
        if look < len(self.statuses):
            job["status"] = self.statuses[look]
        elif job["finished_at"] is None:
            suffix = self.requests[job_id].get("suffix", "")
            job |= {"finished_at": 200, "trained_tokens": 4321, "result_files": ["file-results"]}
            job |= {"fine_tuned_model": f"ft:{MODEL}:org:{suffix}:{job_id[6:]}"} | self.job_end
        return self._job(job_id)

    def _job(self, job_id: str) -> Reply:
        if self.jobs[job_id]["status"] != "paused":  # the reference names it, the type does not yet
            FineTuningJob.model_validate(self.jobs[job_id], strict=True)
        return Reply(200, self.jobs[job_id])

    def events(self, job_id: str) -> list[JSON]:
        """What happened in a job, oldest first."""
        created = {
            "id": "ftevent-0", "object": "fine_tuning.job.event", "created_at": 100,
            "level": "info", "message": f"Created fine-tuning job: {job_id} {self.said}",
            "type": "message", "data": {},
        }  # fmt: skip
        steps = [
            created | {
                "id": f"ftevent-{step}", "created_at": 100 + step, "type": "metrics",
                "message": f"Step {step}/4: training loss=0.{9 - step}",
                "data": {"step": step, "train_loss": (9 - step) / 10, "total_steps": 4},
            }
            for step in range(1, 5)
        ]  # fmt: skip
        for event in (events := [created, *steps]):
            FineTuningJobEvent.model_validate(event, strict=True)
        return events


def _page(items: list[JSON], query: dict[str, list[str]]) -> Reply:
    """A page of what is listed newest first."""
    ids = [item["id"] for item in items]
    rest = items[ids.index(query["after"][0]) + 1 :] if "after" in query else items
    return Reply(200, {"object": "list", "data": rest[:PAGE], "has_more": len(rest) > PAGE})


@contextmanager
def tuning() -> Iterator[Tuner]:
    """The server in a thread, while the block runs."""
    with serving() as served:
        tuner = Tuner(url=served.url)
        served.respond = tuner.respond  # type: ignore[method-assign]
        yield tuner
