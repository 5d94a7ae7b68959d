"""What the tests of hosted tuning share: examples, and a tuning on the server for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from needlework.examples import Document, Example, Needle
from needlework.training.hosted import HostedSettings, tune
from tests.llm.fine_tuning_server import MODEL, Tuner

LENGTH = 300


def bell(number: int) -> Example:
    """A question about one of three towns; within the length the last is cut short."""
    answer = f"old bell {number}"
    texts = [f"The town {number} has the {answer}.", "No bell hangs here. " * 4, "Nor here. " * 16]
    documents = [
        Document(id=f"d{i}", title="", text=text, gold=i == 0) for i, text in enumerate(texts)
    ]
    start = texts[0].index(answer)
    needle = Needle(document="d0", start=start, end=start + len(answer), role="answer")
    return Example(
        id=f"e{number}", task="t", variant="real", question=f"What has town {number}, é?",
        answers=[answer, f"bell {number}"], documents=documents, needles=[needle],
        cluster=f"c{number}", source={},
    )  # fmt: skip


class Tune(NamedTuple):
    """Tunes on a server, with some arguments changed; `slept` is what it would have waited."""

    tuner: Tuner
    data: Path
    folder: Path
    tokenizer: Any
    slept: list[float]

    def __call__(self, **changed: Any) -> dict[str, Any]:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        settings: dict[str, Any] = {
            "base_url": self.tuner.url, "api_key_env": None, "epochs": "auto", "batch": 4,
            "learning_rate_multiplier": 0.5,
        }  # fmt: skip
        arguments: dict[str, Any] = {
            "length": LENGTH, "examples": None, "seed": 3, "state": self.folder / "state",
            "poll": 9.0,
        }  # fmt: skip
        data = changed.pop("data", self.data)
        model = changed.pop("model", MODEL)
        settings |= {key: changed.pop(key) for key in [*changed] if key not in arguments}
        return tune(
            HostedSettings(**settings), model, data / "train.jsonl", data / "validation.jsonl",
            self.folder / "adapter", tokenizer=self.tokenizer, sleep=sleep, **arguments | changed,
        )  # fmt: skip

    def state(self) -> Path:
        """The notes of the one thing under way."""
        (path,) = (self.folder / "state").glob("*.json")
        return path

    def sent(self) -> tuple[int, int]:
        """How many files were uploaded, and how many jobs made."""
        return self.tuner.count("POST /files"), self.tuner.count("POST /fine_tuning/jobs")
