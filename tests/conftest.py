"""What many tests share: a tiny model that really runs, and real examples."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before torch is imported: models this small are slower on several threads, and much slower where
# another process wants the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from needlework import models
from needlework.corpora.corpus import Corpus
from needlework.corpora.factbook_lookup import factbook_lookup
from needlework.rendering.room import Room

# How long an example takes depends on the machine and says nothing of the code.
settings.register_profile("needlework", deadline=None)
settings.load_profile("needlework")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> models.Base:
    """A two-layer Llama over bytes with random weights, prepared as a study does it."""
    return models.prepare("tiny-random-llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_adapter(tiny_base: models.Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 2 that changes the tiny model, with the record that training leaves."""
    import torch
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    get_peft_model(models.load_model(tiny_base, dtype="float32"), config).save_pretrained(folder)
    record = {"base": tiny_base.model_dump()}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_mistral_base(tmp_path_factory: pytest.TempPathFactory) -> models.Base:
    """The same with a sliding window of 512 tokens."""
    return models.prepare("tiny-random-mistral", tmp_path_factory.mktemp("tiny_mistral"))


@pytest.fixture(scope="session")
def tokenizer(tiny_base: models.Base) -> Any:
    """The tiny model's: its tokens are bytes, so that every span has an exact text."""
    return models.load_tokenizer(tiny_base)


@pytest.fixture(scope="session")
def room(tokenizer: Any) -> Room:
    """Room for 1,500 tokens of the tiny model."""
    return Room([tokenizer], 1500)


@pytest.fixture(scope="session")
def corpus(room: Room) -> Corpus:
    """A few real examples of every split, in contexts of about four documents."""
    return factbook_lookup(train=13, validation=4, test=6, room=room, seed=7)


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """The folder of real files that are not part of the repository."""
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: the real files are not part of the repository")
    return folder
