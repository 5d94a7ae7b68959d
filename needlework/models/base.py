"""Base models by bundled name, folder, hub id, or the name of a hosted model.

`prepare` looks a source up once per study and writes a `Base` record; every later job loads from
that record, so that all of them run the same weights, RoPE base and window.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from needlework import stored
from needlework.atomic import write_json
from needlework.given import shown
from needlework.models.bundled import BUNDLED
from needlework.models.context import (
    MODEL_FILES,
    TOKENIZER_FILES,
    ContextExtension,
    write_extended,
)
from needlework.models.folder import (
    check_finite,
    check_folder,
    check_known,
    check_tokenizer,
    check_tokenizer_files,
    check_weights_files,
)
from needlework.progress import say
from needlework.provenance import file_hash, value_hash

Kind = Literal["bundled", "folder", "hub", "hosted"]


class Base(BaseModel):
    """What later jobs need to know of a base model; `models/<model>/base.json` of a study.

    `path` is the folder to load, of a hub model in the hub's cache; of a hosted one, the folder of
    the tokenizer that counts for it. `revision` is the commit of a hub model. `heads` counts the
    query heads of one layer. `positions` is the longest context, in tokens. `context` says what was
    extended (`write_extended`); null: as published. A hosted model has no layers that we see.
    """

    model_config = ConfigDict(extra="forbid")

    source: str
    kind: Kind
    path: str
    revision: str | None
    layers: int
    heads: int
    positions: int
    rope: dict[str, Any]
    sliding_window: int | None
    context: dict[str, Any] | None = None
    weights_sha256: str | None

    @classmethod
    def read(cls, path: Path | str) -> Base:
        """Read a base record.

        Raises:
            FileNotFoundError: the record's files are gone; the message says how to make them.
        """
        base = cls.model_validate_json(stored.read_text(path))
        folder = Path(base.path)
        files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        for file in files:
            if not file.exists():  # a link counts as what it points to
                raise FileNotFoundError(
                    f"{path} points to {file}, which does not exist (any more). Delete {path} and "
                    f"run again to prepare {base.source!r} anew."
                )
        return base


def kind_of(source: str) -> Kind:
    """Whether `source` is a bundled name, a folder, or a hub id (`owner/name`).

    Raises:
        ValueError: it is none of them; the message suggests the nearest bundled name.
    """
    if source in BUNDLED:
        return "bundled"
    if os.path.isdir(source):
        return "folder"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith((".", "/")):
        return "hub"
    near = get_close_matches(source[:80], BUNDLED, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"{shown(source)} is no bundled model ({', '.join(BUNDLED)}), no folder that exists, and "
        f"no hub id of the form owner/name.{hint}"
    )


def positions(source: str) -> int | None:
    """Longest context the model was built for, in tokens; None for a hub id, known only later.

    Reads no weights and imports no torch, so that a study can be refused before its first job.
    """
    kind = kind_of(source)
    if kind == "bundled":
        return BUNDLED[source].positions
    if kind == "hub":
        return None
    found: int | None = check_folder(Path(source)).get("max_position_embeddings")
    check_tokenizer_files(Path(source))
    return found


def prepare(
    source: str,
    folder: Path,
    revision: str | None = None,
    context: ContextExtension | None = None,
    hosted_tokenizer: str | None = None,
) -> Base:
    """Make `source` loadable and write `folder`/base.json, its record.

    A bundled model is written out; a folder or a hub model stays where it is, the latter pinned to
    a commit. With `context`, `folder`/weights is the extended model, with links to what it is of.

    Args:
        source: bundled name, folder, hub id, or what an API calls a hosted model.
        folder: where the record goes.
        revision: commit, tag or branch of a hub model, or of a hosted model's tokenizer.
        context: a longer context to extend the model to.
        hosted_tokenizer: says that the model is hosted; bundled name, folder or hub id of the
            tokenizer that lengths are counted with.

    Raises:
        ValueError: there is no such source, it has no safetensors, or it cannot be extended so.
    """
    if hosted_tokenizer is not None:
        if context is not None:
            raise ValueError(f"context: {source!r} is hosted; only its host can extend it")
        base = _hosted(source, hosted_tokenizer, folder, revision)
    elif context is None:
        base = _with_tokenizer(_published(source, folder / "weights", revision))
    else:
        published = _with_tokenizer(_published(source, folder / "published", revision))
        record = write_extended(Path(published.path), folder / "weights", context)
        base = published.model_copy(
            update={
                "path": str(folder / "weights"),
                "positions": context.length,
                "context": record,
                **reach(_text_config(folder / "weights")),
            }
        )
        say(f"extended {source} by {record}")
    write_json(folder / "base.json", base.model_dump())
    return base


def base_of(source: Path | str, revision: str | None = None) -> Base:
    """The record of a model that lies ready: a base.json, a folder with weights, or a hub id.

    Raises:
        ValueError: it is none of them, or a bundled name, which has to be prepared first.
    """
    source = str(source)
    if source.endswith(".json"):
        return Base.read(source)
    if kind_of(source) == "bundled":
        raise ValueError(
            f"{source!r} comes packed: write it out first, python scripts/prepare_model.py "
            f"--source {source} --output models/base.json, and give models/base.json instead"
        )
    return _published(source, None, revision)


def _published(source: str, bundled_folder: Path | None, revision: str | None) -> Base:
    """The record of a model as published; a bundled one is written to `bundled_folder` first."""
    kind = kind_of(source)
    if kind == "bundled" and bundled_folder is not None:
        BUNDLED[source].write_tokenizer(bundled_folder)
        BUNDLED[source].write_weights(bundled_folder)
        return _described(source, kind, bundled_folder, None)
    if kind == "hub":
        snapshot = _snapshot(source, revision, MODEL_FILES)
        return _described(source, kind, snapshot, snapshot.name)
    return _described(source, kind, Path(source).resolve(), revision)


def _with_tokenizer(base: Base) -> Base:
    """The record, if the model's tokenizer is there and fits it."""
    folder = Path(base.path)
    check_tokenizer_files(folder)
    check_tokenizer(folder, _text_config(folder).vocab_size)
    return base


def _hosted(source: str, tokenizer: str, folder: Path, revision: str | None) -> Base:
    kind, commit = kind_of(tokenizer), None
    if kind == "bundled":
        path = folder / "tokenizer"
        BUNDLED[tokenizer].write_tokenizer(path)
    elif kind == "hub":
        path = _snapshot(tokenizer, revision, TOKENIZER_FILES)
        commit = path.name
    else:
        path = Path(tokenizer).resolve()
    return Base(
        source=source, kind="hosted", path=str(path), revision=commit, layers=0, heads=0,
        positions=0, rope={}, sliding_window=None, weights_sha256=None,
    )  # fmt: skip


def _snapshot(source: str, revision: str | None, files: tuple[str, ...]) -> Path:
    """The folder of a hub model's files in the cache; its name is the commit."""
    from huggingface_hub import snapshot_download

    # The second form of the same weights that some have beside it, or in a folder, is left out.
    skipped = ["consolidated*", "*/*"]
    return Path(
        snapshot_download(
            source, revision=revision, allow_patterns=list(files), ignore_patterns=skipped
        )
    )


def _described(source: str, kind: Kind, folder: Path, revision: str | None) -> Base:
    check_known(folder, check_folder(folder))
    check_finite(sorted(folder.glob("*.safetensors")))
    config = _text_config(folder)
    return Base(
        source=source,
        kind=kind,
        path=str(folder),
        revision=revision,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        positions=config.max_position_embeddings,
        **reach(config),
        weights_sha256=_weights_hash(folder),
    )


def _text_config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    except Exception as error:  # whatever its values make the library raise
        raise ValueError(
            f"{folder / 'config.json'}: transformers cannot read it: {shown(str(error))}; take the "
            "file from the model's source again"
        ) from error
    for key in ("num_hidden_layers", "num_attention_heads", "max_position_embeddings"):
        if type(getattr(config, key, None)) is not int:
            raise ValueError(
                f"{folder / 'config.json'}: {key} is {shown(getattr(config, key, None))}, expected "
                "a whole number; take a decoder that has it"
            )
    return config


def reach(config: Any) -> dict[str, Any]:
    """What decides how attention depends on position, beside the weights."""
    return {
        "rope": dict(getattr(config, "rope_parameters", None) or {}),
        "sliding_window": getattr(config, "sliding_window", None),
    }


def _weights_hash(folder: Path) -> str:
    """SHA-256 of a folder's safetensors; of their hashes in order of name, where there are several.

    Raises:
        ValueError: there are none.
    """
    check_weights_files(folder)
    hashes = [file_hash(path) for path in sorted(folder.glob("*.safetensors"))]
    return hashes[0] if len(hashes) == 1 else value_hash(hashes)
