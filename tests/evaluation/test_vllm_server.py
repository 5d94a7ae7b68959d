"""The server of the back end vLLM: what it is told, what it answers, and that it always ends.

`vllm_stand_in.py` stands for vLLM, with transformers behind its endpoints.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import torch
from peft import LoraConfig, get_peft_model

from needlework import models
from needlework.adapters import attach
from needlework.corpora.corpus import Corpus
from needlework.evaluation.predict import Row, predict, read_predictions
from needlework.evaluation.served import Asking, end_tokens_of, predict_served
from needlework.evaluation.vllm_server import API_KEY_ENV, vllm_server
from needlework.examples import write_examples
from needlework.llm.generator import Generator, GeneratorError
from tests.security.listening import listening

_LENGTH = 900
_NEW = 10


class Served(NamedTuple):
    """A server that runs: what it serves and where, and its log."""

    base: models.Base
    adapter: Path
    url: str
    log: Path


def _executable(folder: Path, line: str) -> str:
    """A command of one line of shell."""
    path = folder / "vllm"
    path.write_text(f"#!/bin/bash\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def vllm(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command that stands for vLLM."""
    line = f'exec {sys.executable} {root}/tests/evaluation/vllm_stand_in.py "$@"'
    return _executable(tmp_path_factory.mktemp("bin"), line)


@pytest.fixture(scope="module")
def base(tiny_base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> models.Base:
    """A model whose answers depend on the prompt, and end by a line, by its end, or not at all."""
    folder = tmp_path_factory.mktemp("peaked")
    shutil.copytree(tiny_base.path, folder, dirs_exist_ok=True)
    model = models.load_model(tiny_base, dtype="float32")
    for name, weight in model.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")):
            weight.data *= 20
    tokenizer = models.load_tokenizer(tiny_base)
    (newline,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    model.lm_head.weight.data[[newline, tokenizer.eos_token_id]] *= 3
    model.save_pretrained(folder)
    return models.base_of(folder)


def _tuned(base: models.Base, folder: Path, **settings: Any) -> Path:
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj", "v_proj"]} | settings)
    torch.manual_seed(0)
    get_peft_model(models.load_model(base, dtype="float32"), config).save_pretrained(folder)
    record = {"base": base.model_dump()}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def adapter(base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the model's answers."""
    return _tuned(base, tmp_path_factory.mktemp("adapter"), init_lora_weights=False)


@pytest.fixture(scope="module")
def served(
    base: models.Base, adapter: Path, vllm: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("server") / "vllm.log"
    with _serving(base, {"run": adapter}, log, vllm) as url:
        yield Served(base, adapter, url, log)


@contextmanager
def _serving(
    base: models.Base,
    adapters: dict[str, Path],
    log: Path,
    executable: str,
    length: int = _LENGTH + _NEW,
) -> Iterator[str]:
    with vllm_server(
        base, adapters, length=length, dtype="float32", log=log, executable=executable
    ) as url:
        yield url


def _ask(
    served: Served, model: str, corpus: Corpus, output: Path, length: int = _LENGTH
) -> list[Row]:
    tokenizer = models.load_tokenizer(served.base)
    server = Generator(served.url, model, f"vllm:{model}", API_KEY_ENV, 0.0, _NEW, 4)
    asking = Asking("tokens", tokenizer, length, end_tokens_of(served.base, tokenizer))
    cache = output.with_name("cache.sqlite")
    examples = corpus.test + corpus.validation
    return predict_served(server, asking, examples, output, cache=cache, identity="a" * 64)


def _logged(log: Path, word: str) -> str:
    """What the stand-in printed after a word."""
    (line,) = [line for line in log.read_text().splitlines() if line.startswith(f"{word} ")]
    return line.removeprefix(f"{word} ")


def _processes(log: Path) -> list[int]:
    return [int(word) for word in _logged(log, "processes").split()]


class _Watch:
    """Processes that run now; `ended` waits for their end, but not for ever."""

    def __init__(self, *pids: int) -> None:
        self._files = [os.pidfd_open(pid) for pid in pids]

    def ended(self) -> bool:
        return all(select.select([file], [], [], 20.0)[0] for file in self._files)


# --- Answers -----------------------------------------------------------------------------------


def test_its_rows_are_those_of_transformers_to_the_letter(
    served: Served, corpus: Corpus, tmp_path: Path
) -> None:
    tokenizer = models.load_tokenizer(served.base)
    model = models.load_model(served.base, dtype="float32")
    answers = []
    for name, folders in {"base": {}, "run": {"run": served.adapter}}.items():
        paths = [tmp_path / name / back_end / "plain.jsonl" for back_end in ("vllm", "here")]
        rows = _ask(served, name, corpus, paths[0])
        expected = predict(
            attach(model, served.base, folders), tokenizer, corpus.test + corpus.validation,
            paths[1], length=_LENGTH, max_new_tokens=_NEW, batch=3, identity="b" * 64,
        )  # fmt: skip
        assert rows == expected
        assert paths[0].read_bytes() == paths[1].read_bytes()
        answers.append([(row["prediction"], row["stopped_by"]) for row in rows])
    assert {stopped_by for _, stopped_by in answers[0]} == {"end", "newline", "limit"}
    assert len(set(answers[0])) > 5
    assert answers[0] != answers[1]


@pytest.mark.slow
def test_the_script_gives_the_same_rows_by_both_back_ends(
    root: Path, base: models.Base, adapter: Path, vllm: str, corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "base.json").write_text(base.model_dump_json(), encoding="utf-8")
    write_examples(tmp_path / "test.jsonl", corpus.test)
    rows = []
    for back_end in ("transformers", "vllm"):
        output = tmp_path / back_end / "plain.jsonl"
        command = [
            sys.executable, "scripts/predict_answers.py", "--base", str(tmp_path / "base.json"),
            "--adapter", str(adapter), "--examples", str(tmp_path / "test.jsonl"),
            "--length", str(_LENGTH), "--max-new-tokens", str(_NEW), "--batch", "4",
            "--backend", back_end, "--vllm", vllm, "--output", str(output),
        ]  # fmt: skip
        subprocess.run(command, cwd=root, check=True)
        rows.append(read_predictions(output))
    assert rows[0] == rows[1]
    assert [row["id"] for row in rows[0]] == [example.id for example in corpus.test]
    log = tmp_path / "vllm" / "plain.vllm.log"
    assert log.read_text().count("asked run") == len(corpus.test)


def test_a_prompt_that_is_too_long_is_refused_in_the_servers_own_words(
    served: Served, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="have no answer"):
        _ask(served, "base", corpus, tmp_path / "plain.jsonl", length=1400)
    assert f"maximum context length is {_LENGTH + _NEW} tokens" in capsys.readouterr().err


def test_it_listens_on_the_loopback_address_alone(served: Served) -> None:
    (first, *_) = _logged(served.log, "processes").split()
    assert listening(int(first)) == {("127.0.0.1", urlsplit(served.url).port)}


def test_it_wants_its_key(
    served: Served, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = os.environ[API_KEY_ENV]
    monkeypatch.setenv(API_KEY_ENV, "another-key-than-its-own")
    with pytest.raises(GeneratorError, match=f"401.*{API_KEY_ENV}"):
        _ask(served, "base", corpus, tmp_path / "plain.jsonl")
    assert key not in served.log.read_text()


# --- Flags -------------------------------------------------------------------------------------


def _flag(flags: list[str], name: str) -> str:
    return flags[flags.index(name) + 1]


def test_flags_say_what_transformers_would_run(served: Served) -> None:
    flags = json.loads(_logged(served.log, "flags"))
    assert flags[:2] == ["serve", served.base.path]
    assert _flag(flags, "--host") == "127.0.0.1"
    assert _flag(flags, "--dtype") == "float32"
    assert _flag(flags, "--max-model-len") == str(_LENGTH + _NEW)
    assert _flag(flags, "--generation-config") == "vllm"
    assert _flag(flags, "--max-lora-rank") == "8"  # of the ranks that vLLM takes, for 2
    assert _flag(flags, "--lora-modules") == f"run={served.adapter}"
    assert "--hf-overrides" not in flags


def test_answers_may_reach_beyond_the_positions_as_in_transformers(
    base: models.Base, vllm: str, tmp_path: Path
) -> None:
    log = tmp_path / "vllm.log"
    with _serving(base, {}, log, vllm, length=base.positions + 24):
        flags = json.loads(_logged(log, "flags"))
    longer = base.positions + 24
    assert json.loads(_flag(flags, "--hf-overrides")) == {"max_position_embeddings": longer}
    assert _flag(flags, "--max-model-len") == str(longer)
    assert "--enable-lora" not in flags


def test_a_scaling_with_a_table_of_its_own_ends_there(
    base: models.Base, vllm: str, tmp_path: Path
) -> None:
    log = tmp_path / "vllm.log"
    yarn = base.model_copy(update={"rope": {"rope_type": "yarn", "factor": 4.0}})
    with _serving(yarn, {}, log, vllm, length=base.positions + 24):
        flags = json.loads(_logged(log, "flags"))
    assert _flag(flags, "--max-model-len") == str(base.positions)
    assert "--hf-overrides" not in flags


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope": {"rope_type": "dynamic", "factor": 4.0}}, "dynamic.*back end transformers"),
        ({"rope": {"full_attention": {"rope_type": "longrope"}}}, "longrope"),
    ],
)
def test_a_scaling_that_vllm_computes_otherwise_is_refused(
    base: models.Base, vllm: str, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    with (
        pytest.raises(ValueError, match=words),
        _serving(base.model_copy(update=change), {}, tmp_path / "vllm.log", vllm),
    ):
        pass


def test_an_adapter_of_another_base_is_refused(
    base: models.Base, adapter: Path, vllm: str, tmp_path: Path
) -> None:
    other = base.model_copy(update={"sliding_window": 512})
    with (
        pytest.raises(ValueError, match=r"sliding_window = None, the base model has 512"),
        _serving(other, {"run": adapter}, tmp_path / "vllm.log", vllm),
    ):
        pass


def test_whole_weights_and_ranks_beyond_its_own_are_refused(
    base: models.Base, adapter: Path, vllm: str, tmp_path: Path
) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    changes = {"whole": {"modules_to_save": ["q_proj"]}, "large": {"r": 1024}}
    for name, change in changes.items():
        shutil.copytree(adapter, tmp_path / name)
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config | change))
    for name, words in {"whole": r"export_model\.py", "large": "512 at most, got 1024"}.items():
        with (
            pytest.raises(ValueError, match=words),
            _serving(base, {"run": tmp_path / name}, tmp_path / "vllm.log", vllm),
        ):
            pass


# --- How it ends -------------------------------------------------------------------------------


def test_it_and_its_children_end_with_the_block(
    base: models.Base, vllm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_ENV, "the-users-own")
    log = tmp_path / "vllm.log"
    watches = []

    def fails() -> None:
        with _serving(base, {}, log, vllm):
            assert os.environ[API_KEY_ENV] != "the-users-own"
            watches.append(_Watch(*_processes(log)))
            raise KeyError("in the block")

    with pytest.raises(KeyError, match="in the block"):
        fails()
    assert os.environ[API_KEY_ENV] == "the-users-own"
    assert [watch.ended() for watch in watches] == [True]


def test_it_ends_when_this_process_is_killed(
    root: Path, base: models.Base, vllm: str, tmp_path: Path
) -> None:
    (tmp_path / "base.json").write_text(base.model_dump_json(), encoding="utf-8")
    script = f"""
from pathlib import Path
from needlework.evaluation.vllm_server import vllm_server
from needlework.models import Base
with vllm_server(Base.read({str(tmp_path / "base.json")!r}), {{}}, length=100, dtype="float32",
                 log=Path({str(tmp_path / "vllm.log")!r}), executable={vllm!r}):
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        while b"serves" not in process.stderr.readline():
            assert process.poll() is None
        watch = _Watch(*_processes(tmp_path / "vllm.log"))
        process.kill()
        assert watch.ended()


def test_a_server_that_dies_at_the_start_is_told_with_its_errors(
    base: models.Base, tmp_path: Path
) -> None:
    before = os.environ.get(API_KEY_ENV)
    dies = _executable(
        tmp_path, 'echo "ValueError: no room for the cache"; echo "leaked 3 types"; exit 3'
    )
    with (
        pytest.raises(RuntimeError, match=r"status 3; its log .*vllm\.log says:\nValueError: no"),
        _serving(base, {}, tmp_path / "vllm.log", dies),
    ):
        pass
    assert os.environ.get(API_KEY_ENV) == before


def test_a_flag_that_it_does_not_know_is_told(
    root: Path, base: models.Base, tmp_path: Path
) -> None:
    stand_in = root / "tests/evaluation/vllm_stand_in.py"
    older = _executable(tmp_path, f'exec {sys.executable} {stand_in} "$@" --disable-log-requests')
    with (
        pytest.raises(RuntimeError, match=r"status 2.*\n.*--disable-log-requests"),
        _serving(base, {}, tmp_path / "vllm.log", older),
    ):
        pass


def test_a_server_that_dies_while_it_is_asked_is_told(
    base: models.Base, vllm: str, tmp_path: Path
) -> None:
    log = tmp_path / "vllm.log"

    def fails() -> None:
        with _serving(base, {}, log, vllm):
            server, _ = _processes(log)
            watch = _Watch(server)
            os.kill(server, signal.SIGKILL)
            assert watch.ended()
            raise GeneratorError("no connection")

    with pytest.raises(RuntimeError, match="vLLM ended with status -9"):
        fails()


def test_a_server_that_does_not_start_in_time_is_ended(base: models.Base, tmp_path: Path) -> None:
    stuck = _executable(tmp_path, "exec sleep 1000")
    with (
        pytest.raises(RuntimeError, match=r"does not serve after 0 s; its log .* is empty"),
        vllm_server(
            base, {}, length=100, dtype="float32", log=tmp_path / "vllm.log",
            executable=stuck, patience=0.0,
        ),
    ):  # fmt: skip
        pass


def test_another_server_on_its_port_is_not_asked(
    root: Path, base: models.Base, tmp_path: Path
) -> None:
    stand_in = root / "tests/evaluation/vllm_stand_in.py"
    line = f'exec {sys.executable} {stand_in} "$@" --served-model-name another'
    with (
        pytest.raises(RuntimeError, match=r"serves \['another'\], expected \['base'\]"),
        _serving(base, {}, tmp_path / "vllm.log", _executable(tmp_path, line)),
    ):
        pass


def test_a_command_that_is_not_there_is_named(base: models.Base, tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"no command 'no-vllm'.*envs/vllm\.yaml"),
        _serving(base, {}, tmp_path / "vllm.log", "no-vllm"),
    ):
        pass
