"""A hub model is pinned to a commit and hashed, offline from the hub's cache.

The cache is made by hand in its published layout (blobs, refs, snapshots), and read in a process of
its own, because the hub's library fixes its folders when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from needlework import models

_OLD, _NEW = "a" * 40, "b" * 40
_ID = "owner/tiny"


def _commit(cache: Path, commit: str, files: dict[str, bytes]) -> None:
    """A commit of the hub model as `snapshot_download` leaves it: links to blobs by their hash."""
    snapshot = cache / "snapshots" / commit
    for name, content in files.items():
        blob = cache / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))


@pytest.fixture(scope="module")
def home(tiny_base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HF_HOME whose cache has two commits of a model; the branch main is the newer one."""
    home = tmp_path_factory.mktemp("hf")
    cache = home / "hub" / "models--owner--tiny"
    files = {file.name: file.read_bytes() for file in Path(tiny_base.path).iterdir()}
    _commit(cache, _OLD, files)
    config = json.loads(files["config.json"])
    config["rope_parameters"]["rope_theta"] = 20_000.0
    _commit(cache, _NEW, files | {"config.json": json.dumps(config).encode()})
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(_NEW)
    return home


_CODE = """
import json, sys
from pathlib import Path
from needlework import models

id, old, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
longer = models.ContextExtension("theta", 2048, 8192)
models.prepare(id, folder / "main")
models.prepare(id, folder / "old", old)
models.prepare(id, folder / "extended", context=longer)
models.prepare("gpt-x", folder / "hosted", hosted_tokenizer=id)
assert models.base_of(id) == models.Base.read(folder / "main" / "base.json")
models.prepare("owner/none", folder / "none")
"""


@pytest.fixture(scope="module")
def prepared(home: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records that were made without a network; the last one could not be."""
    folder = tmp_path_factory.mktemp("prepared")
    # The one address that could be asked is a port of this machine where nothing listens.
    own = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, _ID, _OLD, str(folder)],
        env=kept | own, cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "LocalEntryNotFoundError" in done.stderr.splitlines()[-1], done.stderr
    return folder


def _base(folder: Path, name: str) -> models.Base:
    return models.Base.read(folder / name / "base.json")


def test_a_branch_becomes_a_commit(tiny_base: models.Base, home: Path, prepared: Path) -> None:
    base = _base(prepared, "main")
    assert (base.kind, base.source, base.revision) == ("hub", _ID, _NEW)
    assert base.rope["rope_theta"] == 20_000
    assert base.weights_sha256 == tiny_base.weights_sha256
    assert base.path == str(home / "hub/models--owner--tiny/snapshots" / _NEW)
    models.load_model(base, dtype="float32")
    assert models.load_tokenizer(base)("ab")["input_ids"]


def test_a_commit_that_is_named_is_taken(prepared: Path) -> None:
    base = _base(prepared, "old")
    assert base.revision == _OLD
    assert base.rope["rope_theta"] == 10_000


def test_an_extended_hub_model_links_into_the_cache(home: Path, prepared: Path) -> None:
    base = _base(prepared, "extended")
    assert (base.kind, base.revision, base.positions) == ("hub", _NEW, 8192)
    assert base.path == str(prepared / "extended/weights")
    assert base.context is not None
    assert base.context["theta"] == models.extended_theta(20_000, 2048, 8192)
    blobs = (home / "hub/models--owner--tiny/blobs").resolve()
    assert (Path(base.path) / "model.safetensors").resolve().parent == blobs
    models.load_model(base, dtype="float32")


def test_the_tokenizer_of_a_hosted_model_may_be_of_the_hub(prepared: Path) -> None:
    base = _base(prepared, "hosted")
    assert (base.kind, base.source, base.revision) == ("hosted", "gpt-x", _NEW)
    assert models.load_tokenizer(base)("ab")["input_ids"]


def test_what_is_not_in_the_cache_leaves_no_record(prepared: Path) -> None:
    assert not (prepared / "none" / "base.json").exists()
