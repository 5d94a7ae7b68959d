"""The calls of a fine-tuning API: what is made is made once, what passes is waited out."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from needlework.llm.fine_tuning import FineTuning
from needlework.llm.generator import GeneratorError
from needlework.llm.transport import Server
from tests.llm.fine_tuning_server import MODEL, PAGE, Tuner, tuning
from tests.llm.server import CUT, Reply, failure

_VARIABLE = "NEEDLEWORK_TEST_KEY"
_KEY = "sk-test-2c1f9a"
_LINE = (
    b'{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, '
    b'{"role": "assistant", "content": "a"}]}\n'
)
_METHOD = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}


class Run:
    """Runs calls on a server; `said` and `slept` are what they said and would have waited."""

    def __init__(self, tuner: Tuner, key: str | None = None) -> None:
        self.server = Server(tuner.url, MODEL, key)
        self.said: list[str] = []
        self.slept: list[float] = []

    def __call__(self, calls: Callable[[FineTuning], Awaitable[Any]]) -> Any:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async def run() -> Any:
            api = FineTuning(self.server, anew="Delete it.", say=self.said.append, sleep=sleep)
            try:
                return await calls(api)
            finally:
                await api.close()

        return asyncio.run(run())


async def _start(api: FineTuning, tag: str = "t", but: tuple[str, ...] = ()) -> Any:
    train, validation = await api.upload(_LINE), await api.upload(_LINE * 2)
    request = {"model": MODEL, "seed": 1, "method": _METHOD}
    files = {"training_file": train, "validation_file": validation}
    return await api.start(request | files, tag, but)


# --- What is made once -------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [CUT, failure(500), failure(429), Reply(200, "<html>")])
@pytest.mark.parametrize("what", ["POST /files", "POST /fine_tuning/jobs"])
def test_what_was_made_though_the_answer_was_lost_is_found(what: str, trouble: Reply) -> None:
    with tuning() as tuner:
        tuner.lost[what] = [trouble]
        job = Run(tuner)(_start)
        assert list(tuner.jobs) == [job["id"]]
        assert len(tuner.files) == 2
        assert tuner.count(what) == {"POST /files": 2, "POST /fine_tuning/jobs": 1}[what]


@pytest.mark.parametrize("trouble", [CUT, failure(503), failure(429)])
@pytest.mark.parametrize("what", ["POST /files", "POST /fine_tuning/jobs"])
def test_what_was_not_made_is_made_in_another_try(what: str, trouble: Reply) -> None:
    with tuning() as tuner:
        tuner.instead[what] = [trouble, trouble]
        Run(tuner)(_start)
        assert (len(tuner.jobs), len(tuner.files)) == (1, 2)


def test_a_file_is_known_by_its_content_among_many(tuner: Tuner) -> None:
    run = Run(tuner)
    first = run(lambda api: api.upload(_LINE))
    for number in range(3 * PAGE):
        run(lambda api, number=number: api.upload(_LINE * (number + 2)))
    assert run(lambda api: api.upload(_LINE)) == first
    assert tuner.count("POST /files") == 1 + 3 * PAGE
    tuner.files[first]["bytes"] -= 1  # a file that was cut off on its way
    assert run(lambda api: api.upload(_LINE)) != first


def test_a_job_is_known_by_its_tag_among_many(tuner: Tuner) -> None:
    run = Run(tuner)
    first = run(_start)
    others = [run(lambda api, n=n: _start(api, f"other {n}")) for n in range(2 * PAGE)]
    assert run(_start) == first
    assert len(tuner.jobs) == 1 + len(others)
    second = run(lambda api: _start(api, but=(first["id"],)))
    assert [job["id"] for job in run(lambda api: api.jobs("t"))] == [second["id"], first["id"]]
    assert run(_start) == second, "the newest counts"


def test_a_server_that_does_not_filter_by_metadata_gives_no_job_of_others(tuner: Tuner) -> None:
    run = Run(tuner)
    theirs = run(lambda api: _start(api, "theirs"))
    tuner.instead["GET /fine_tuning/jobs"] = [
        Reply(200, {"data": [theirs | {"metadata": None}, theirs], "has_more": False})
    ]
    assert run(lambda api: api.jobs("mine")) == []


# --- Waiting -----------------------------------------------------------------------------------


@pytest.fixture
def tuner() -> Any:
    with tuning() as served:
        yield served


def test_a_job_is_looked_at_until_it_ends(tuner: Tuner) -> None:
    run = Run(tuner)
    job = run(_start)
    tuner.statuses = ["validating_files", "queued", "paused", "running", "running"]
    ended = run(lambda api: api.ended(job["id"], poll=7.0))
    assert ended["status"] == "succeeded"
    assert run.slept == [7.0] * 5
    assert [line.split(": ")[1] for line in run.said] == [
        "validating_files", "queued", "paused", "running", "succeeded",
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_that_does_not_succeed_ends_too(tuner: Tuner, end: str) -> None:
    run = Run(tuner)
    job = run(_start)
    tuner.job_end = {"status": end}
    assert run(lambda api: api.ended(job["id"], poll=0.0))["status"] == end


def test_events_come_oldest_first_from_all_pages(tuner: Tuner) -> None:
    run = Run(tuner)
    job = run(_start)
    assert run(lambda api: api.events(job["id"])) == tuner.events(job["id"])
    assert tuner.count("GET /fine_tuning/jobs/*/events") == 2


def test_trouble_that_passes_is_waited_out_as_long_as_the_server_asks(tuner: Tuner) -> None:
    run = Run(tuner)
    job = run(_start)
    troubles = [
        failure(429, retry_after="600"), failure(500), CUT, failure(503, retry_after="40"),
        failure(429), Reply(200, "<html>"), Reply(200, {"detail": "no"}),
    ]  # fmt: skip
    tuner.instead["GET /fine_tuning/jobs/*"] = list(troubles)
    tuner.statuses = []
    assert run(lambda api: api.ended(job["id"], poll=1.0))["status"] == "succeeded"
    assert len(run.slept) == len(troubles)
    assert (run.slept[0], run.slept[3]) == (600.0, 40.0)
    assert run.slept[4] >= 30, "a limit that names no time is asked again slowly"
    assert sum("trying again in 600 seconds" in line for line in run.said) == 1


def test_a_limit_of_jobs_is_waited_out_however_long_it_lasts(tuner: Tuner) -> None:
    tuner.instead["POST /fine_tuning/jobs"] = [failure(429, code="rate_limit_exceeded")] * 50
    Run(tuner)(_start)
    assert (len(tuner.jobs), tuner.count("POST /fine_tuning/jobs")) == (1, 51)


def test_a_server_that_keeps_failing_is_given_up(tuner: Tuner) -> None:
    run = Run(tuner)
    job = run(_start)
    tuner.instead["GET /fine_tuning/jobs/*"] = [failure(500, "kaputt")] * 100
    tuner.statuses = []

    with pytest.raises(GeneratorError, match=r"ftjob-0: .*kaputt.*found there\."):
        run(lambda api: api.ended(job["id"], poll=0.0))
    assert 400 < sum(run.slept) < 900


def test_an_address_that_never_answers_is_given_up_soon() -> None:
    run = Run(Tuner(url="http://127.0.0.1:9/v1"))
    with pytest.raises(GeneratorError, match=r"127\.0\.0\.1:9/v1.*`base_url`"):
        run(lambda api: api.jobs("t"))
    assert len(run.slept) == 2


def test_a_file_is_waited_for_but_not_for_ever(tuner: Tuner) -> None:
    run = Run(tuner)
    file_id = run(lambda api: api.upload(_LINE))
    tuner.file_looks = 3
    run(lambda api: api.wait_for_file(file_id, poll=5.0))
    assert run.slept == [5.0, 5.0]
    tuner.file_looks, tuner.file_end = 4, {"status": "uploaded"}
    tuner.files[file_id]["status"] = "uploaded"
    run(lambda api: api.wait_for_file(file_id, poll=5.0))  # its status is deprecated
    assert len(run.slept) == 32


# --- What ends a run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (failure(401, "Incorrect API key"), f"environment variable {_VARIABLE}"),
        (failure(403, "Country not supported"), f"environment variable {_VARIABLE}"),
        (failure(429, "You exceeded it", code="insufficient_quota"), "buy more"),
        (failure(400, "What is this?"), "What is this.*Its own words above"),
        (failure(404, "Not Found"), r"`base_url` ends in /v1.*Delete it\."),
    ],
)
@pytest.mark.parametrize("what", ["GET /files", "POST /files", "POST /fine_tuning/jobs"])
def test_what_does_not_pass_ends_it_at_once(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch, what: str, reply: Reply, words: str
) -> None:
    monkeypatch.setenv(_VARIABLE, _KEY)
    tuner.instead[what] = [reply, reply]
    run = Run(tuner, _VARIABLE)
    with pytest.raises(GeneratorError, match=words) as caught:
        run(_start)
    assert reply.body["error"]["message"] in str(caught.value)
    assert tuner.url in str(caught.value)
    assert (tuner.count(what), run.slept, tuner.jobs) == (1, [], {})


def test_a_refused_file_gives_the_reason_and_is_not_taken_again(tuner: Tuner) -> None:
    tuner.file_end = {"status": "error", "status_details": "Line 3 is no JSON"}
    run = Run(tuner)
    file_id = run(lambda api: api.upload(_LINE))
    with pytest.raises(GeneratorError, match=r"file-0: Line 3 is no JSON\. .*Delete it\."):
        run(lambda api: api.wait_for_file(file_id, poll=0.0))
    assert run(lambda api: api.upload(_LINE)) != file_id


def test_the_key_reaches_the_server_and_nothing_else(
    tuner: Tuner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(_VARIABLE, _KEY)
    caplog.set_level(logging.DEBUG)
    run = Run(tuner, _VARIABLE)
    jobs = [run(_start)]
    shown = ""
    for reply in (failure(401, f"Wrong key {_KEY}"), failure(400, _KEY * 2)):
        tuner.instead["GET /files"] = [reply]
        with pytest.raises(GeneratorError) as caught:
            run(lambda api: _start(api, "other"))
        shown += "".join(traceback.format_exception(caught.value))
    tuner.instead["GET /fine_tuning/jobs/*"] = [failure(500, _KEY), Reply(200, _KEY)]
    tuner.job_end = {"status": "failed", "error": {"code": "c", "message": _KEY, "param": None}}
    jobs.append(run(lambda api: api.ended(jobs[0]["id"], poll=0.0)))
    assert {headers["authorization"] for headers in tuner.headers} == {f"Bearer {_KEY}"}
    shown += repr(jobs) + repr(run.said)
    assert shown.count("<key>") >= 5
    assert "sk-test" not in shown + caplog.text
