"""A study with a model behind an API beside one that runs here, from corpus to report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import yaml

from tests.llm.fine_tuning_server import MODEL, Tuner
from tests.llm.server import JSON, Reply, answer, serving
from tests.security.planted import KEY, left_in, traces
from tests.workflow.test_studies import passages, questions, run


@contextmanager
def api() -> Iterator[Tuner]:
    """A server that tunes and answers; only a tuned model knows a river."""

    def reply(body: JSON, times: int) -> Reply:
        river = body["messages"][-1]["content"].split("lies on the river ")[-1].split()[0]
        return answer(river if body["model"].startswith("ft:") else "I do not know.")

    with serving(reply) as served:
        tuner, chat = Tuner(url=served.url), served.respond

        async def respond(method: str, target: str, headers: JSON, content: bytes) -> Reply:
            asked = chat if target.endswith("/chat/completions") else tuner.respond
            return await asked(method, target, headers, content)

        served.respond = respond  # type: ignore[method-assign]
        yield tuner


def test_a_hosted_model_is_tuned_asked_and_compared(clone: Callable[[], Path]) -> None:
    folder = clone()
    with api() as tuner:
        hosted = {"base_url": tuner.url, "api_key_env": "PLANTED_KEY", "poll": 0.01}
        study = {
            "name": "hosted", "length": 1024, "variants": ["real"], "training_seeds": [0],
            "models": {
                "llama": {"source": "tiny-random-llama"},
                "api": {"source": MODEL, "tokenizer": "tiny-random-llama", "hosted": hosted},
            },
            "tasks": {
                "mdqa": {
                    "train": 10, "validation": 3, "test": 4,
                    "path": questions(folder / "q.jsonl"),
                    "passages": passages(folder / "p.jsonl"),
                },
            },
            "controls": {"wide": {"variant": "real", "training": {"rank": 2}}},
            "compute": {"threads": 1, "dtype": "float32"},
            "probe": {"kind": "mass", "top": 2, "max_new_tokens": 4},
            "evaluation": {"max_new_tokens": 8, "closed_book": True},
        }  # fmt: skip
        path = folder / "hosted.yaml"
        path.write_text(yaml.safe_dump(study), encoding="utf-8")
        said = run(
            folder, path, "--verbose", "--printshellcmds", PLANTED_KEY=KEY, OPENAI_LOG="debug"
        )
        assert traces(said.encode()) == []
        assert len(tuner.jobs) == 1
        assert len(tuner.files) == 2
    results = folder / "results/hosted"
    record = json.loads((results / "adapters/api/mdqa/real/seed0/hosted.json").read_text("utf-8"))
    assert record["model"].startswith("ft:")
    scores = pd.read_csv(results / "statistics/scores.csv")
    of_api = scores[(scores["model"] == "api") & (scores["metric"] == "f1")]
    assert dict(zip(of_api["variant"], of_api["mean"], strict=True)) == {"untuned": 0, "real": 1}
    assert set(of_api["condition"]) == {"plain"}  # other views are answered here only
    assert set(scores[scores["model"] == "llama"]["variant"]) == {"untuned", "real", "wide"}
    assert "api on mdqa" in (results / "report.html").read_text(encoding="utf-8")
    assert list((folder / ".snakemake/log").iterdir())
    assert left_in(folder) == []  # results, logs, caches, the page, and Snakemake's own records
