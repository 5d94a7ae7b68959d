"""Fine-tuning on a server that speaks OpenAI's protocol: files, jobs, and what happened in them.

Source: the API reference of /files and of /fine_tuning/jobs, as openai 3.54 defines them, and
https://platform.openai.com/docs/guides/supervised-fine-tuning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any
from urllib.parse import quote

from needlework.llm.generator import GeneratorError
from needlework.llm.limits import backoff
from needlework.llm.transport import Server, Transport, Trouble

JSON = dict[str, Any]
Call = Callable[[], Awaitable[str | Trouble]]

TAG = "needlework"  # of a job's metadata; its value is the hash of all that decides the result
JOBS = "/fine_tuning/jobs"
ENDED = ("succeeded", "failed", "cancelled")

_TRIES = 20  # about a quarter of an hour
_TRIES_TO_CONNECT = 3  # to a server that has never answered; its address may be wrong
_SLOWLY = 6  # tries by which waiting has grown to its most: half a minute to a minute
_LOOKS = 30  # at a file that is processed; a job may be made before that is done
_AGAIN = "Then run again: files and jobs that are on the server already are found there."
_ADDRESS = "Check that `base_url` ends in /v1, and that the server fine-tunes models."
_FIXES = {
    200: _ADDRESS,
    404: f"{_ADDRESS} If something made before is gone, or is another key's:",
    429: f"The quota is used up: buy more, or raise its limit. {_AGAIN}",
    500: f"Check `base_url` and that the server runs. {_AGAIN}",
}
_REFUSED = (
    "Its own words above say what it does not accept. Check that it fine-tunes this model, for "
    "this key."
)


class FineTuning:
    """The calls of one server, each repeated while its trouble may pass.

    What takes space or money is made once, even where the answer is lost on the way: it is looked
    for on the server before it is made again. An answer 429 is waited out for as long as it comes,
    because a server may limit how many jobs run at a time. Every method raises GeneratorError where
    the server cannot be used; the message says why and what to do.
    """

    def __init__(
        self,
        server: Server,
        *,
        anew: str,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]],
        timeout: float = 600.0,
    ) -> None:
        """`anew` says what to do to give up what was begun; `timeout` is in seconds."""
        self._transport = Transport(server, timeout)
        self._anew, self._say, self._sleep = anew, say, sleep
        self._answered = False

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def given_up(self, why: str, fix: str) -> GeneratorError:
        """The error of what has failed for good; it names the server and says how to begin anew."""
        return self._transport.error(why, f"{fix} {self._anew}")

    async def upload(self, content: bytes) -> str:
        """The id of a file with this content: one that is there already, or else a new one."""
        name = f"needlework-{hashlib.sha256(content).hexdigest()[:32]}.jsonl"

        async def find() -> JSON | None:
            async for file in self._listed("/files", {"purpose": "fine-tune"}):
                same = (file.get("filename"), file.get("bytes")) == (name, len(content))
                if same and file.get("status") != "error":
                    return file
            return None

        file = await self._once(
            find, lambda: self._transport.upload(content, name, "fine-tune"), "no file is uploaded"
        )
        return str(file["id"])

    async def wait_for_file(self, file_id: str, poll: float) -> None:
        """Look at a file until it is processed, every `poll` seconds.

        Raises:
            GeneratorError: the server refused what is in it.
        """
        for _ in range(_LOOKS):
            file = await self._got(f"/files/{quote(file_id)}", "id", f"file {file_id}")
            if file.get("status") == "error":
                why = file.get("status_details") or "it gives no reason"
                raise self.given_up(
                    f"the server refused the file {file_id}: {why}", "Mend what the reason names."
                )
            if file.get("status") != "uploaded":
                return
            self._say(f"file {file_id}: being processed")
            await self._sleep(poll)

    async def jobs(self, tag: str) -> list[JSON]:
        """The jobs of a tag, newest first."""
        query = {"metadata": {TAG: tag}, "limit": 100}
        listed = self._listed(JOBS, query)
        return [job async for job in listed if (job.get("metadata") or {}).get(TAG) == tag]

    async def start(self, request: JSON, tag: str, but: Collection[str]) -> JSON:
        """The newest job of a tag that is not among the ids `but`, or else a new one."""

        async def find() -> JSON | None:
            return next((job for job in await self.jobs(tag) if job["id"] not in but), None)

        body = request | {"metadata": {TAG: tag}}
        return await self._once(
            find, lambda: self._transport.post(JOBS, body), "no fine-tuning job is made"
        )

    async def ended(self, job_id: str, poll: float) -> JSON:
        """The job when it has ended, well or not; looks at it every `poll` seconds."""
        said = None
        while True:
            job = await self._got(f"{JOBS}/{quote(job_id)}", "status", f"fine-tuning job {job_id}")
            status = job["status"]
            if status != said:
                self._say(f"fine-tuning job {job_id}: {status}")
                said = status
            if status in ENDED:
                return job
            await self._sleep(poll)

    async def events(self, job_id: str) -> list[JSON]:
        """What happened in a job, oldest first; the losses of its steps are among them."""
        events = self._listed(f"{JOBS}/{quote(job_id)}/events", {"limit": 100})
        return [event async for event in events][::-1]

    async def _listed(self, path: str, query: JSON) -> AsyncIterator[JSON]:
        while True:
            page = await self._got(path, "data", f"{path} cannot be listed", query)
            for item in page["data"]:
                yield item
            if not page["data"] or not page.get("has_more"):
                return
            query = query | {"after": page["data"][-1]["id"]}

    async def _got(self, path: str, key: str, doing: str, query: JSON | None = None) -> JSON:
        tries = 0
        while isinstance(got := _read(await self._transport.get(path, query), key), Trouble):
            tries = await self._survived(got, tries, doing)
        self._answered = True
        return got

    async def _once(
        self, find: Callable[[], Awaitable[JSON | None]], make: Call, doing: str
    ) -> JSON:
        tries = 0
        while (found := await find()) is None:
            made = _read(await make(), "id")
            if not isinstance(made, Trouble):
                return made
            tries = await self._survived(made, tries, doing)
        return found

    async def _survived(self, trouble: Trouble, tries: int, doing: str) -> int:
        """Wait after a trouble; how many tries have failed by now."""
        limited = trouble.status == 429
        most = _TRIES if trouble.reached or self._answered else _TRIES_TO_CONNECT
        if not trouble.passing or tries + 1 >= most:
            raise self._stopped(trouble, f"{doing}: {trouble.reason}")
        wait = max(backoff(1.0, _SLOWLY if limited else tries), trouble.wait or 0.0)
        self._say(f"{doing}: {trouble.reason[:200]}; trying again in {wait:.0f} seconds")
        await self._sleep(wait)
        return tries + (not limited)

    def _stopped(self, trouble: Trouble, why: str) -> GeneratorError:
        status = 500 if trouble.status is None else min(trouble.status, 500)
        if status in {401, 403}:
            return self._transport.error(why, self._transport.fix(trouble))
        if status == 404:
            return self.given_up(why, _FIXES[404])
        return self._transport.error(why, _FIXES.get(status, _REFUSED))


def _read(got: str | Trouble, key: str) -> JSON | Trouble:
    """The object of a body, which has to have this key."""
    if isinstance(got, Trouble):
        return got
    try:
        body = json.loads(got)
    except ValueError:
        body = None
    if isinstance(body, dict) and key in body:
        return body
    return Trouble(200, f"expected a JSON object with {key!r}, found {got[:200]!r}", passing=True)
