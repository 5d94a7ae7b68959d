"""How near the generator's client comes to the ideal rate, and what a kill costs.

A server on the loopback address, in a process of its own, answers after 500 ms. Printed are: the
share of the ideal rate with 32 requests in flight; the time of a second run, all from the cache, in
a fresh process; and with 10 % answers 429, 5 % 500, 5 % cut connections, 5 % bodies that are no
JSON, and one kill -9 midway: how many requests were answered, failed, and paid for twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent
LATENCY = 0.5
FAULTS = {"429": 0.10, "500": 0.05, "cut": 0.05, "invalid": 0.05}


def main() -> None:
    """Run all three measurements, or, as one of their processes, ask the requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--ask", nargs=2, metavar=("URL", "CACHE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ask:
        asyncio.run(_ask(args.ask[0], Path(args.ask[1]), args.requests, args.in_flight))
        return
    size = [f"--requests={args.requests}", f"--in-flight={args.in_flight}"]
    with tempfile.TemporaryDirectory() as folder:
        _measure_rate(Path(folder) / "rate", size, args.requests * LATENCY / args.in_flight)
        _measure_faults(Path(folder) / "faults", size, args.requests, args.in_flight)


def _measure_rate(folder: Path, size: list[str], ideal: float) -> None:
    with _server({}) as url:
        first, seconds = _timed(url, folder, size)
        share = ideal / seconds
        print(f"rate: {first['usage']['requests']} requests in {seconds:.2f} s, imports included;")
        print(f"  ideal {ideal:.2f} s, share of the ideal rate {share:.1%} (wanted: 80 %)")
        asked = _asked(url)["asked"]
        second, seconds = _timed(url, folder, size)
        more = _asked(url)["asked"] - asked
        print(
            f"again: {second['usage']['cached']} from the cache in {seconds:.2f} s (wanted: 3 s),"
        )
        print(f"  {more} requests (wanted: 0), texts equal: {first['texts'] == second['texts']}")


def _measure_faults(folder: Path, size: list[str], requests: int, in_flight: int) -> None:
    with _server(FAULTS) as url:
        start = time.monotonic()
        process = subprocess.Popen(_command(url, folder, size), stdout=subprocess.DEVNULL)
        while _asked(url)["paid"] < requests / 2:
            time.sleep(0.1)
        process.kill()
        process.wait()
        time.sleep(2 * LATENCY)  # what was in flight is answered, to nobody
        at_kill = _asked(url)["paid"]
        run, _ = _timed(url, folder, size)
        seconds = time.monotonic() - start
        twice = _asked(url)["twice"]
    logged = (folder / "failures.jsonl").read_text(encoding="utf-8").splitlines()
    usage = run["usage"]
    print(f"faults: killed after {at_kill} answers; {seconds:.0f} s in all, rerun: {usage}")
    print(f"  answered {run['right']} of {requests}, in failures.jsonl {len(logged)}")
    print(f"  accounted for: {run['right'] + len(logged) == requests}")
    print(f"  paid twice: {twice} (wanted: at most {in_flight})")


def _timed(url: str, folder: Path, size: list[str]) -> tuple[dict[str, Any], float]:
    start = time.monotonic()
    done = subprocess.run(_command(url, folder, size), check=True, capture_output=True, text=True)
    return json.loads(done.stdout), time.monotonic() - start


def _command(url: str, folder: Path, size: list[str]) -> list[str]:
    return [sys.executable, __file__, *size, "--ask", url, str(folder / "cache.sqlite")]


def _asked(url: str) -> dict[str, int]:
    with urlopen(f"{url}/asked") as reply:
        return dict(json.load(reply))


@contextmanager
def _server(faults: dict[str, float]) -> Iterator[str]:
    script = str(ROOT / "tests/llm/server.py")
    command = [sys.executable, script, f"--latency={LATENCY}", f"--faults={json.dumps(faults)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def _ask(url: str, path: Path, requests: int, in_flight: int) -> None:
    sys.path.insert(0, str(ROOT))
    from needlework.llm.cache import ResponseCache
    from needlework.llm.client import Client, Completion, Generator, Request

    settings = Generator(
        base_url=url,
        model="bench",
        identity="bench",  # not the port, which changes
        api_key_env=None,
        temperature=0.7,
        max_tokens=64,
        concurrency=in_flight,
    )
    asked = [Request(f"Request number {n}.", seed=n, kind="bench") for n in range(requests)]
    with ResponseCache(path) as cache:
        async with Client(settings, cache) as client:
            outcomes = await client.complete_all(asked)
    texts = [outcome.text if isinstance(outcome, Completion) else None for outcome in outcomes]
    expected = [f"answer {n}" for n in range(requests)]
    right = sum(text == wanted for text, wanted in zip(texts, expected, strict=True))
    print(json.dumps({"usage": client.usage(), "right": right, "texts": texts}))


if __name__ == "__main__":
    main()
