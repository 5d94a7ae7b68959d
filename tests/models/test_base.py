"""What a source is, and the record that `prepare` makes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from needlework import models
from needlework.provenance import file_hash


def test_importing_it_imports_no_torch(root: Path) -> None:
    code = "import sys, needlework.models; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


# --- What a source is --------------------------------------------------------------------------


def test_a_source_is_bundled_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    assert models.kind_of("smollm2-135m-instruct") == "bundled"
    assert models.kind_of("tiny-random-llama") == "bundled"
    assert models.kind_of("tiny-random-mistral") == "bundled"
    assert models.kind_of(str(tmp_path)) == "folder"
    assert models.kind_of("mistralai/Mistral-7B-Instruct-v0.1") == "hub"


def test_a_folder_counts_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert models.kind_of("owner/name") == "hub"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert models.kind_of("owner/name") == "folder"


@pytest.mark.parametrize("source", ["smollm2-135m-instrct", "./models/none", "/none/here", "a/b/c"])
def test_anything_else_is_refused_by_name(source: str) -> None:
    with pytest.raises(ValueError, match="no bundled model") as caught:
        models.kind_of(source)
    assert repr(source) in str(caught.value)


def test_a_slip_of_the_pen_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'smollm2-135m-instruct'"):
        models.kind_of("smollm2-135-instruct")
    with pytest.raises(ValueError, match="no bundled model") as caught:
        models.kind_of("xyzzy")
    assert "Did you mean" not in str(caught.value)


def test_positions_are_known_without_loading(tiny_base: models.Base, tmp_path: Path) -> None:
    assert models.positions("tiny-random-llama") == tiny_base.positions == 4096
    assert models.positions(tiny_base.path) == 4096
    assert models.positions("owner/name") is None
    with pytest.raises(ValueError, match=r"has no config\.json"):
        models.positions(str(tmp_path))


# --- The record --------------------------------------------------------------------------------


def test_the_record_is_read_back_as_it_was_written(tiny_base: models.Base) -> None:
    weights = Path(tiny_base.path)
    assert models.Base.read(weights.parent / "base.json") == tiny_base
    assert tiny_base.kind == "bundled"
    assert (tiny_base.layers, tiny_base.heads, tiny_base.sliding_window) == (2, 4, None)
    assert tiny_base.context is None
    assert tiny_base.weights_sha256 == file_hash(weights / "model.safetensors")
    assert models.base_of(weights).weights_sha256 == tiny_base.weights_sha256


def test_a_record_from_before_contexts_is_read(tiny_base: models.Base, tmp_path: Path) -> None:
    record = tiny_base.model_dump()
    del record["context"]
    (tmp_path / "base.json").write_text(json.dumps(record), encoding="utf-8")
    assert models.Base.read(tmp_path / "base.json") == tiny_base


def test_bundled_weights_are_the_same_each_time(tiny_base: models.Base, tmp_path: Path) -> None:
    torch.manual_seed(123)  # what was drawn before must not matter
    assert models.prepare("tiny-random-llama", tmp_path).weights_sha256 == tiny_base.weights_sha256


def test_the_tiny_mistral_has_a_window(tiny_mistral_base: models.Base) -> None:
    assert tiny_mistral_base.sliding_window == 512
    assert tiny_mistral_base.positions == models.positions("tiny-random-mistral") == 4096
    model = models.load_model(tiny_mistral_base, dtype="float32")
    assert model.config.model_type == "mistral"


def test_a_folder_stays_where_it_is(
    tiny_base: models.Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A study names a folder relative to where it starts; a job may run elsewhere.
    monkeypatch.chdir(Path(tiny_base.path).parent)
    folder = models.prepare("weights", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert folder.kind == "folder"
    assert not (tmp_path / "weights").exists()
    assert folder == tiny_base.model_copy(update={"source": "weights", "kind": "folder"})


def test_pickled_weights_are_refused(tiny_base: models.Base, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(tiny_base.path, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"source has no \*\.safetensors; save the model in that"):
        models.prepare(str(folder), tmp_path)
    assert not (tmp_path / "base.json").exists()


def test_a_record_without_its_weights_says_what_to_do(tmp_path: Path) -> None:
    models.prepare("tiny-random-llama", tmp_path)
    shutil.rmtree(tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match=r"Delete .*base\.json.* prepare 'tiny-random-ll"):
        models.Base.read(tmp_path / "base.json")


def test_a_bundled_model_is_prepared_before_it_is_used() -> None:
    with pytest.raises(ValueError, match=r"prepare_model\.py --source tiny-random-llama"):
        models.base_of("tiny-random-llama")


# --- Hosted models -----------------------------------------------------------------------------


def test_a_hosted_model_is_a_name_and_a_tokenizer(tiny_base: models.Base, tmp_path: Path) -> None:
    base = models.prepare("gpt-4o-mini", tmp_path, hosted_tokenizer="tiny-random-llama")
    assert (base.kind, base.source, base.weights_sha256) == ("hosted", "gpt-4o-mini", None)
    assert (base.layers, base.heads, base.positions, base.rope) == (0, 0, 0, {})
    assert models.Base.read(tmp_path / "base.json") == base
    ours, theirs = models.load_tokenizer(base), models.load_tokenizer(tiny_base)
    assert ours("São Tomé")["input_ids"] == theirs("São Tomé")["input_ids"]
    assert not list(tmp_path.rglob("*.safetensors"))  # of the bundled model, only the tokenizer


def test_a_hosted_model_counts_with_the_tokenizer_of_a_folder(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    base = models.prepare("gpt-4o-mini", tmp_path, hosted_tokenizer=tiny_base.path)
    assert base.path == str(Path(tiny_base.path).resolve())


def test_a_hosted_model_is_neither_loaded_nor_extended(tmp_path: Path) -> None:
    base = models.prepare("gpt-4o-mini", tmp_path, hosted_tokenizer="tiny-random-llama")
    with pytest.raises(ValueError, match="'gpt-4o-mini' is hosted: it has no weights here"):
        models.load_model(base, dtype="float32")
    longer = models.ContextExtension("theta", 4096, 8192)
    with pytest.raises(ValueError, match="'gpt-4o-mini' is hosted; only its host can extend it"):
        models.prepare("gpt-4o-mini", tmp_path, None, longer, "tiny-random-llama")
