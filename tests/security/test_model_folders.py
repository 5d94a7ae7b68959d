"""Folders with code or pickles in them: nothing in them runs, and what needs it is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from needlework import adapters, models

# What a planted file does when it is imported, called, or unpickled.
PLANTED = "import pathlib; pathlib.Path({mark!r}).write_text('ran')\n"
Ran = Callable[[], bool]


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def planted(tiny_base: models.Base, tmp_path: Path) -> tuple[Path, Ran]:
    """A model whose configuration and tokenizer name code beside them, and whether that has run."""
    folder, mark = tmp_path / "model", tmp_path / "pwned"
    shutil.copytree(tiny_base.path, folder)
    code = PLANTED.format(mark=str(mark))
    classes = "from transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
    classes += "from transformers import PreTrainedTokenizerFast as T\n"
    for name in ("own.py", "tokenization_own.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code + classes + "def generate(*a, **k): ...\n")
    _change(
        folder / "config.json",
        auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoModel": "own.M"},
        custom_pipelines={"text-generation": {"impl": "own.M", "pt": ["AutoModelForCausalLM"]}},
    )
    _change(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["tokenization_own.T", "tokenization_own.T"]},
    )
    return folder, mark.exists


def _change(path: Path, **keys: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | keys), encoding="utf-8")


def test_the_planted_code_would_run(planted: tuple[Path, Ran]) -> None:
    """Without which the other tests would prove nothing."""
    folder, ran = planted
    script = f"from transformers import AutoConfig as A; A.from_pretrained({str(folder)!r}, "
    command = [sys.executable, "-c", f"{script}trust_remote_code=True)"]
    environment = os.environ | {"HF_MODULES_CACHE": str(folder.parent / "modules")}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert ran()


def test_a_known_architecture_is_loaded_by_its_own_class(
    planted: tuple[Path, Ran], tmp_path: Path, tiny_base: models.Base
) -> None:
    folder, ran = planted
    base = models.prepare(str(folder), tmp_path / "made")
    assert base.weights_sha256 == tiny_base.weights_sha256
    model = models.load_model(base, dtype="float32")
    tokenizer = models.load_tokenizer(base)
    assert type(model).__module__.startswith("transformers.")
    assert type(tokenizer).__module__.startswith("transformers.")
    assert not ran()


def test_an_architecture_that_is_code_is_refused_without_a_question(
    planted: tuple[Path, Ran], root: Path, tmp_path: Path
) -> None:
    folder, ran = planted
    _change(folder / "config.json", model_type="own_model")
    command = [
        sys.executable, "scripts/prepare_model.py", "--source", str(folder),
        "--output", str(tmp_path / "out/base.json"),
    ]  # fmt: skip
    # Somebody, or a file that is piped in, says yes to everything.
    done = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, input="y\n" * 20,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "own_model" in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr
    assert not ran()
    assert not (tmp_path / "out/base.json").exists()


def test_a_context_is_extended_without_the_code(planted: tuple[Path, Ran], tmp_path: Path) -> None:
    folder, ran = planted
    longer = models.ContextExtension("linear", 1024, 2048)
    base = models.prepare(str(folder), tmp_path / "made", context=longer)
    models.load_model(base, dtype="float32")
    assert not ran()
    assert not list(Path(base.path).rglob("*.py"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_pickled_weights_are_refused_whatever_their_name(
    tiny_base: models.Base, tmp_path: Path, name: str
) -> None:
    folder, mark = tmp_path / "model", tmp_path / "pwned"
    shutil.copytree(tiny_base.path, folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError, match="safetensors"):
        models.prepare(str(folder), tmp_path / "made")
    record = tiny_base.model_copy(update={"path": str(folder)})
    with pytest.raises(Exception, match=r"safetensors|[Hh]eader"):
        models.load_model(record, dtype="float32")
    assert not mark.exists()


def test_a_pickle_beside_safetensors_is_not_read(tiny_base: models.Base, tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "pwned"
    shutil.copytree(tiny_base.path, folder)
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    models.load_model(models.prepare(str(folder), tmp_path / "made"), dtype="float32")
    assert not mark.exists()


@pytest.mark.parametrize("whole", [False, True])
def test_a_pickled_adapter_is_refused(tiny_base: models.Base, tmp_path: Path, whole: bool) -> None:
    folder, mark = tmp_path / "adapter", tmp_path / "pwned"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    if whole:
        config = {"peft_type": "MODULES_TO_SAVE"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    record = {"base": tiny_base.model_dump(), "seed": 0}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises((ValueError, OSError), match=r"adapter_model\.safetensors"):
        adapters.check(tiny_base, {"own": folder})
    with pytest.raises((ValueError, OSError), match=r"adapter_model\.safetensors"):
        adapters.attach(models.load_model(tiny_base, dtype="float32"), tiny_base, {"own": folder})
    assert not mark.exists()
