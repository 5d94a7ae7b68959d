"""Answers of servers: what they are sent, how replies are read, and that nothing is asked twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from needlework import models
from needlework.answering import end_tokens
from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_lookup import factbook_lookup
from needlework.evaluation.predict import Row, predict, read_predictions
from needlework.evaluation.served import Asking, Form, end_tokens_of, predict_served
from needlework.examples import Example, write_examples
from needlework.llm.client import Generator, GeneratorError
from needlework.llm.local_server import API_KEY_ENV, local_server
from needlework.rendering.prompt import message_of, render
from needlework.rendering.room import Room
from needlework.synthesis.chat import chat_rows
from tests.listing import names

_LENGTH = 900
JSON = dict[str, Any]
Model = Callable[[JSON], tuple[int, JSON]]


def _text(text: str, finish: str = "stop", **choice: Any) -> tuple[int, JSON]:
    """A text completion object."""
    return 200, {"choices": [{"index": 0, "text": text, "finish_reason": finish, **choice}]}


def _message(text: str | None, finish: str = "stop", **message: Any) -> tuple[int, JSON]:
    """A chat completion object."""
    said = {"role": "assistant", "content": text, **message}
    return 200, {"choices": [{"index": 0, "message": said, "finish_reason": finish}]}


def _error(status: int, message: str) -> tuple[int, JSON]:
    return status, {"error": {"message": message, "type": "test", "param": None, "code": status}}


@dataclass
class _Server:
    """What it replies, and what it was asked."""

    model: Model
    url: str = ""
    asked: list[tuple[str, JSON]] = field(default_factory=list)


@contextmanager
def _serving(model: Model) -> Iterator[_Server]:
    served = _Server(model)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: Any) -> None:
            """No access log."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append((self.path, body))
            status, reply = served.model(body)
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield served
        server.shutdown()


@pytest.fixture
def examples(corpus: Corpus) -> list[Example]:
    return corpus.test[:5]


def _ask(
    url: str,
    examples: Sequence[Example],
    folder: Path,
    tokenizer: Any,
    *,
    form: Form = "tokens",
    length: int = _LENGTH,
    identity: str = "a" * 64,
    **changes: Any,
) -> list[Row]:
    server = replace(Generator(url, "m", "test-server", None, 0.0, 12, 3), **changes)
    asking = Asking(form, tokenizer, length, [1, 7] if form == "tokens" else ())
    return predict_served(
        server, asking, examples, folder / "plain.jsonl",
        cache=folder / "cache.sqlite", identity=identity,
    )  # fmt: skip


def _prompt(example: Example, tokenizer: Any) -> list[int]:
    return render(example, tokenizer, _LENGTH).prompt


# --- What is sent ------------------------------------------------------------------------------


def test_tokens_are_those_that_a_local_model_reads(
    examples: list[Example], tokenizer: Any, tmp_path: Path
) -> None:
    with _serving(lambda body: _text(" Lima")) as served:
        rows = _ask(served.url, examples, tmp_path, tokenizer)
    assert [row["prediction"] for row in rows] == ["Lima"] * 5
    assert {path for path, _ in served.asked} == {"/v1/completions"}
    sent = [body.pop("prompt") for _, body in served.asked]
    assert sorted(sent) == sorted(_prompt(example, tokenizer) for example in examples)
    for _, body in served.asked:
        assert body == {
            "model": "m", "temperature": 0.0, "max_tokens": 12, "seed": 0, "stop": ["\n"],
            "stop_token_ids": [1, 7],
        }  # fmt: skip


def test_a_chat_is_sent_as_hosted_models_are_tuned_on_it(
    examples: list[Example], tokenizer: Any, tmp_path: Path
) -> None:
    with _serving(lambda body: _message("Answer: Lima")) as served:
        rows = _ask(served.url, examples[:1], tmp_path, tokenizer, form="chat")
    assert rows[0]["prediction"] == "Lima"
    (path, body) = served.asked[0]
    assert path == "/v1/chat/completions"
    shown = render(examples[0], tokenizer, _LENGTH).example
    assert [document.id for document in shown.documents] != [
        document.id for document in examples[0].documents
    ]  # the message is that of what fits
    assert body == {
        "model": "m", "temperature": 0.0, "max_tokens": 12, "seed": 0, "stop": ["\n"],
        "messages": chat_rows(message_of(shown), "?", "openai")["messages"][:2],
    }  # fmt: skip


def test_a_chain_of_thought_is_not_stopped_at_a_line(
    examples: list[Example], tokenizer: Any, tmp_path: Path
) -> None:
    gold = [document for document in examples[0].documents if document.gold]
    change = {"style": "flenqa-pir-cot", "documents": gold}  # whose contexts are never cut
    thinks = examples[0].model_copy(update=change)
    with _serving(lambda body: _message("One.\n\nTwo.\n")) as served:
        (row,) = _ask(served.url, [thinks], tmp_path, tokenizer, form="chat")
    assert (row["prediction"], row["stopped_by"]) == ("One.\n\nTwo.", "end")
    assert "stop" not in served.asked[0][1]


# --- How a reply is read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "prediction", "stopped_by"),
    [
        (_text(" Lima", stop_reason=None), "Lima", "end"),
        (_text(" Lima", stop_reason=7), "Lima", "end"),  # one of the tokens that end an answer
        (_text(" Lima", stop_reason="\n"), "Lima", "newline"),
        (_text(" Lima"), "Lima", "stop"),  # as of llama.cpp, which does not say
        (_text(" Lima\nPeru"), "Lima", "newline"),  # a server that stops at no line
        (_text(" Lima\nPeru", "length"), "Lima", "newline"),
        (_text(" Lima or", "length"), "Lima or", "limit"),
        (_text("\nLima"), "", "newline"),
        (_text("", "length"), "", "limit"),  # as of special tokens only
        (_text("Answer: Lima"), "Answer: Lima", "stop"),  # its opening is in the prompt
        (_text(" Li\u2028ma"), "Li\u2028ma", "stop"),
    ],
)
def test_a_completion_is_cut_where_a_local_answer_would_be(
    examples: list[Example],
    tokenizer: Any,
    tmp_path: Path,
    reply: tuple[int, JSON],
    prediction: str,
    stopped_by: str,
) -> None:
    with _serving(lambda body: reply) as served:
        (row,) = _ask(served.url, examples[:1], tmp_path, tokenizer)
    assert (row["prediction"], row["stopped_by"]) == (prediction, stopped_by)


@pytest.mark.parametrize(
    ("text", "prediction"),
    [("Answer: Lima", "Lima"), (" Answer:Lima\nPeru", "Lima"), ("Lima Answer:", "Lima Answer:")],
)
def test_a_chat_may_open_its_reply_by_itself(
    examples: list[Example], tokenizer: Any, tmp_path: Path, text: str, prediction: str
) -> None:
    with _serving(lambda body: _message(text)) as served:
        (row,) = _ask(served.url, examples[:1], tmp_path, tokenizer, form="chat")
    assert row["prediction"] == prediction


def test_rows_are_those_of_predict_in_the_order_of_the_examples(
    examples: list[Example], tokenizer: Any, tiny_base: models.Base, tmp_path: Path
) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    local = predict(
        model, tokenizer, examples, tmp_path / "local.jsonl",
        length=_LENGTH, max_new_tokens=2, batch=2, identity="b" * 64,
    )  # fmt: skip
    with _serving(lambda body: _text(str(len(body["prompt"])))) as served:
        rows = _ask(served.url, examples, tmp_path, tokenizer)
    assert [list(row) for row in rows] == [list(row) for row in local]
    own = ("prediction", "stopped_by")
    for row, expected in zip(rows, local, strict=True):
        assert row["prediction"] == str(row["prompt_tokens"])
        assert {k: v for k, v in row.items() if k not in own} == {
            k: v for k, v in expected.items() if k not in own
        }
    assert read_predictions(tmp_path / "plain.jsonl") == rows


@pytest.mark.parametrize("own", [None, [1, 7], 9])
def test_end_tokens_are_those_of_the_loaded_model(
    tiny_base: models.Base, tokenizer: Any, tmp_path: Path, own: Any
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_base.path, folder)
    settings = folder / "generation_config.json"
    if own is None:
        settings.unlink()
    else:
        content = json.loads(settings.read_text()) | {"eos_token_id": own}
        settings.write_text(json.dumps(content))
    base = models.base_of(folder)
    model = models.load_model(base, dtype="float32")
    assert end_tokens_of(base, tokenizer) == sorted(end_tokens(model, tokenizer))


# --- Nothing is asked twice --------------------------------------------------------------------


def test_a_rerun_asks_nothing(examples: list[Example], tokenizer: Any, tmp_path: Path) -> None:
    with _serving(lambda body: _text("Lima")) as served:
        rows = _ask(served.url, examples, tmp_path, tokenizer)
        (tmp_path / "plain.jsonl").unlink()
        # Another version of a package is another identity, and the same question.
        assert _ask(served.url, examples, tmp_path, tokenizer, identity="b" * 64) == rows
        assert len(served.asked) == 5
        _ask(served.url, examples, tmp_path, tokenizer, max_tokens=13)
        assert len(served.asked) == 10
        _ask(served.url, examples, tmp_path, tokenizer, model="n")
        assert len(served.asked) == 15
    assert names(tmp_path) == [
        "cache.sqlite", "plain.failures.jsonl", "plain.jsonl",
    ]  # fmt: skip


def test_the_cache_holds_no_prompts_of_tokens(
    examples: list[Example], tokenizer: Any, tmp_path: Path
) -> None:
    with _serving(lambda body: _text("Lima")) as served:
        _ask(served.url, examples, tmp_path, tokenizer)
    assert (tmp_path / "cache.sqlite").stat().st_size < 100_000
    start = json.dumps(_prompt(examples[0], tokenizer)[:20], separators=(",", ":"))[1:-1]
    assert start.encode() not in (tmp_path / "cache.sqlite").read_bytes()


_RUN = """
import sys
from pathlib import Path
from needlework.evaluation.served import Asking, predict_served
from needlework.examples import read_examples
from needlework.llm.generator import Generator
from needlework.models import Base, load_tokenizer
url, examples, base, folder = sys.argv[1:]
server = Generator(url, "m", "test-server", None, 0.0, 12, 1)
asking = Asking("tokens", load_tokenizer(Base.read(base)), 900, [1, 7])
predict_served(
    server, asking, read_examples(examples), Path(folder) / "plain.jsonl",
    cache=Path(folder) / "cache.sqlite", identity="a" * 64,
)
"""


def test_a_killed_run_asks_only_for_what_was_under_way(
    root: Path, corpus: Corpus, tokenizer: Any, tiny_base: models.Base, tmp_path: Path
) -> None:
    write_examples(tmp_path / "test.jsonl", corpus.test)
    (tmp_path / "base.json").write_text(tiny_base.model_dump_json(), encoding="utf-8")

    def kills(body: JSON) -> tuple[int, JSON]:
        if len(served.asked) == 4:
            process.send_signal(signal.SIGKILL)
        return _text("Lima")

    with _serving(kills) as served:
        inputs = [str(tmp_path / name) for name in ("test.jsonl", "base.json", "out")]
        command = [sys.executable, "-c", _RUN, served.url, *inputs]
        process = subprocess.Popen(command, cwd=root, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "out" / "plain.jsonl").exists()
        rows = _ask(served.url, corpus.test, tmp_path / "out", tokenizer, concurrency=1)
    assert [row["id"] for row in rows] == [example.id for example in corpus.test]
    times = Counter(json.dumps(body["prompt"]) for _, body in served.asked)
    assert sorted(times.values()) == [1] * (len(corpus.test) - 1) + [2]


# --- What has no answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "refusal", "words"),
    [
        ("tokens", _error(400, "maximum context length is 512 tokens"), "length is 512 tokens"),
        ("tokens", _text("Li", "content_filter"), "content filter withheld"),
        ("chat", _message(None, refusal="I will not."), "I will not"),
        ("chat", _message("", "length"), "12 tokens without a word"),
    ],
)
def test_examples_without_an_answer_fail_the_run_at_its_end_by_name(
    examples: list[Example],
    tokenizer: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: Form,
    refusal: tuple[int, JSON],
    words: str,
) -> None:
    question = examples[1].question
    fine = _text("Lima") if form == "tokens" else _message("Lima")

    def refuses(body: JSON) -> tuple[int, JSON]:
        asked = body["messages"][-1]["content"] if form == "chat" else ""
        tokens_asked = body.get("prompt") == _prompt(examples[1], tokenizer)
        return refusal if question in asked or tokens_asked else fine

    with _serving(refuses) as served:
        with pytest.raises(RuntimeError, match=f"1 of 5 examples .*: {examples[1].id}"):
            _ask(served.url, examples, tmp_path, tokenizer, form=form)
        assert f"{examples[1].id}: {served.url}, model 'm'" in (told := capsys.readouterr().err)
        assert words in told
        assert not (tmp_path / "plain.jsonl").exists()
        (failure,) = (tmp_path / "plain.failures.jsonl").read_text().splitlines()
        assert words in json.loads(failure)["reason"]
        served.asked.clear()
        served.model = lambda body: fine
        rows = _ask(served.url, examples, tmp_path, tokenizer, form=form)
    assert len(served.asked) == 1
    assert [row["prediction"] for row in rows] == ["Lima"] * 5


def test_a_refused_key_ends_the_run(
    examples: list[Example], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret-secret")
    with (
        _serving(lambda body: _error(401, "bad key sk-secret-secret")) as served,
        pytest.raises(GeneratorError, match=r"401.*SOME_KEY") as caught,
    ):
        _ask(served.url, examples, tmp_path, tokenizer, api_key_env="SOME_KEY", concurrency=1)
    assert len(served.asked) == 1
    assert "sk-secret" not in str(caught.value)


def test_what_cannot_be_shown_is_named(
    examples: list[Example], tokenizer: Any, tmp_path: Path
) -> None:
    unknown = examples[2].model_copy(update={"style": "unknown"})
    with (
        _serving(lambda body: _text("Lima")) as served,
        pytest.raises(ValueError, match=f"{unknown.id}: there is no style 'unknown'"),
    ):
        _ask(served.url, [*examples[:2], unknown], tmp_path, tokenizer)
    assert len(served.asked) == 2


# --- A real server -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> models.Base:
    return models.prepare("smollm2-135m-instruct", tmp_path_factory.mktemp("smollm2"))


@pytest.mark.slow
def test_llama_cpp_agrees_with_transformers_but_for_its_quantised_weights(
    smollm2: models.Base, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    tokenizer = models.load_tokenizer(smollm2)
    room = Room([tokenizer], 400)
    examples = factbook_lookup(train=2, validation=2, test=12, room=room, seed=7).test
    expected = predict(
        models.load_model(smollm2, dtype="float32"), tokenizer, examples, tmp_path / "local.jsonl",
        length=400, max_new_tokens=12, batch=4, identity="c" * 64,
    )  # fmt: skip
    same: dict[Form, int] = {}
    with local_server(models.bundled_gguf(), threads=1, parallel=2, context=512) as url:
        for form in ("tokens", "chat"):
            rows = _ask(
                url, examples, tmp_path / form, tokenizer, form=form, length=400,
                api_key_env=API_KEY_ENV,
            )  # fmt: skip
            pairs = zip(rows, expected, strict=True)
            same[form] = sum(a["prediction"] == b["prediction"] for a, b in pairs)
            assert all(row["prediction"] for row in rows)
    print(f"of {len(examples)} answers of llama.cpp, as transformers gives them: {same}")
    assert same["tokens"] >= len(examples) / 3  # other prompts would give hardly one
