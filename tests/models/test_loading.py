"""What loads is what the record says, on what it was asked to run, and the log says so."""

from __future__ import annotations

import json
import os
import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from needlework import models
from needlework.models.loading import _auto_dtype, _cpu_flags, _switch, decide_attention

_IDS = torch.tensor([[0, 40, 41, 42, 250, 7, 7, 99]])


def _logits(model: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(_IDS).logits
    return logits


def test_a_folder_loads_as_the_bundled_model_in_it(tiny_base: models.Base) -> None:
    folder = models.base_of(tiny_base.path)
    model, same = (models.load_model(base, dtype="float32") for base in (tiny_base, folder))
    torch.testing.assert_close(_logits(model), _logits(same), rtol=0, atol=0)
    assert not model.training


def _with_theta(base: models.Base, folder: Path, theta: float) -> Path:
    shutil.copytree(base.path, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["rope_parameters"]["rope_theta"] = theta
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_model_that_changed_since_its_record_is_refused(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    source = _with_theta(tiny_base, tmp_path / "source", 10_000.0)
    base = models.prepare(str(source), tmp_path)
    shutil.rmtree(source)
    _with_theta(tiny_base, source, 500_000.0)
    with pytest.raises(ValueError, match=r"has rope = .*500000\.0.* by now, its record .*10000\.0"):
        models.load_model(base, dtype="float32")


def test_weights_that_vanish_alone_are_named(tmp_path: Path) -> None:
    base = models.prepare("tiny-random-llama", tmp_path)
    (tmp_path / "weights" / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        models.load_model(base, dtype="float32")


def test_the_tokenizer_is_exact_and_pads(tiny_base: models.Base) -> None:
    tokenizer = models.load_tokenizer(tiny_base)
    text = "São Tomé, 9 August 1965 …\n"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.pad_token_id is not None
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_token_id]


def test_a_tokenizer_without_padding_pads_with_the_end(
    tiny_base: models.Base, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(tiny_base.path, folder)
    tokenizer = models.load_tokenizer(tiny_base)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    loaded = models.load_tokenizer(models.prepare(str(folder), tmp_path))
    assert loaded.pad_token == loaded.eos_token == "<|im_end|>"


@pytest.mark.slow
def test_the_bundled_smollm2_becomes_an_ordinary_checkpoint(tmp_path: Path) -> None:
    base = models.prepare("smollm2-135m-instruct", tmp_path)
    assert (base.layers, base.heads, base.positions) == (30, 9, 8192)
    assert base.rope["rope_theta"] == 100_000
    assert models.positions("smollm2-135m-instruct") == base.positions
    tokenizer = models.load_tokenizer(base)
    model = models.load_model(base, dtype="float32")
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        best = int(model(ids).logits[0, -1].argmax())
    assert tokenizer.decode([best]) == " Paris"


# --- On what it runs ---------------------------------------------------------------------------


def test_the_log_says_what_runs(
    tiny_mistral_base: models.Base, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models.load_model(tiny_mistral_base, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert models.attention_of(model) == "sdpa"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "loaded the base" in line]
    assert line.endswith(
        "loaded the base model tiny-random-mistral: theta 10000 (default), window 512, length "
        "4096; bfloat16 on cpu, attention by sdpa: flash attention needs a GPU"
    )


def test_attention_is_eager_when_asked(tiny_base: models.Base) -> None:
    model = models.load_model(tiny_base, dtype="float32", attention="eager")
    assert models.attention_of(model) == "eager"
    stock = models.load_model(tiny_base, dtype="float32", attention="sdpa")
    torch.testing.assert_close(_logits(model), _logits(stock))


_HOPPER, _AMPERE, _VOLTA = (9, 0), (8, 6), (7, 0)
_BLACKWELL = (10, 0)
_BOTH = ("flash_attention_3", "flash_attention_2")


@pytest.mark.parametrize(
    ("capability", "dtype", "installed", "expected", "reason"),
    [
        (_HOPPER, "bfloat16", _BOTH, "flash_attention_3", ""),
        (_HOPPER, "float16", _BOTH, "flash_attention_3", ""),
        (_HOPPER, "bfloat16", _BOTH[1:], "flash_attention_2", ""),
        (_HOPPER, "bfloat16", (), "sdpa", "no flash attention is installed"),
        (_HOPPER, "float32", _BOTH, "sdpa", "needs bfloat16 or float16"),
        (_AMPERE, "bfloat16", _BOTH, "flash_attention_2", ""),
        (_AMPERE, "bfloat16", _BOTH[:1], "sdpa", "no flash attention is installed"),
        (_BLACKWELL, "bfloat16", _BOTH, "flash_attention_2", ""),
        (_VOLTA, "float16", _BOTH, "sdpa", "needs compute capability 8, this GPU has 7.0"),
        (None, "bfloat16", _BOTH, "sdpa", "needs a GPU"),
    ],
)
def test_auto_takes_the_fastest_that_can_run(
    capability: tuple[int, int] | None,
    dtype: str,
    installed: tuple[str, ...],
    expected: str,
    reason: str,
) -> None:
    found, why = decide_attention("auto", dtype, capability, installed.__contains__)
    assert found == expected
    assert reason in why
    assert bool(why) == (expected == "sdpa")


def test_what_is_asked_for_runs_or_is_refused() -> None:
    def decide(asked: str, capability: tuple[int, int] | None) -> str:
        return decide_attention(asked, "bfloat16", capability, _BOTH.__contains__)[0]

    assert decide("flash_attention_2", _HOPPER) == "flash_attention_2"
    assert decide("sdpa", _HOPPER) == "sdpa"
    assert decide("eager", _HOPPER) == "eager"
    with pytest.raises(ValueError, match=r"_3 needs compute capability 9, .* has 8\.6"):
        decide("flash_attention_3", _AMPERE)
    with pytest.raises(ValueError, match=r"flash_attention_2 cannot run here: .* needs a GPU"):
        decide("flash_attention_2", None)
    with pytest.raises(ValueError, match="attention: got 'flash', expected one of auto, flash_at"):
        decide("flash", _HOPPER)


def test_nothing_is_looked_up_that_could_not_run() -> None:
    """Looking a kernel up may download it."""

    def installed(name: str) -> bool:
        raise AssertionError(name)

    assert decide_attention("auto", "bfloat16", None, installed)[0] == "sdpa"
    assert decide_attention("auto", "float32", _HOPPER, installed)[0] == "sdpa"
    assert decide_attention("sdpa", "bfloat16", _HOPPER, installed)[0] == "sdpa"


def test_a_model_without_the_chosen_attention_keeps_its_own(tiny_base: models.Base) -> None:
    model = models.load_model(tiny_base, dtype="float32")
    reason = _switch(model, "flash_attention_2")  # no machine without a GPU has it
    assert reason
    assert models.attention_of(model) == "sdpa"


@pytest.mark.parametrize(
    ("capability", "flags", "expected"),
    [
        (_AMPERE, set(), "bfloat16"),
        (_VOLTA, {"avx512_bf16"}, "float32"),  # the flags are the CPU's
        (None, {"avx2", "avx512f"}, "float32"),
        (None, {"avx2", "avx512_bf16"}, "bfloat16"),
        (None, {"amx_tile", "amx_bf16"}, "bfloat16"),
        (None, {"amx_tile", "amx_int8"}, "float32"),
        (None, set(), "float32"),
    ],
)
def test_auto_precision_is_bfloat16_only_where_it_is_fast(
    capability: tuple[int, int] | None, flags: set[str], expected: str
) -> None:
    assert _auto_dtype(capability, flags) == expected


def test_the_flags_of_a_cpu_are_read(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: X amx_bf16\nflags\t\t: fpu sse2 avx512_bf16\nbugs\t\t: a\n"
    )
    flags = _cpu_flags(tmp_path / "cpuinfo")
    assert {"fpu", "sse2", "avx512_bf16"} <= flags
    assert "amx_bf16" not in flags
    assert _cpu_flags(tmp_path / "none") == set()


def test_a_precision_that_is_named_stays() -> None:
    assert models.resolve_dtype("float16", "cpu") == "float16"
    assert models.resolve_dtype("auto", "cpu") in ("float32", "bfloat16")
    with pytest.raises(ValueError, match="dtype: got 'bf16', expected one of auto, float32"):
        models.resolve_dtype("bf16", "cpu")


# --- What the commands share -------------------------------------------------------------------


def test_the_compute_flags_default_to_a_laptop() -> None:
    parser = ArgumentParser()
    models.add_compute_flags(parser)
    assert vars(parser.parse_args([])) == {
        "device": "cpu", "dtype": "float32", "attention": "auto", "threads": 1
    }  # fmt: skip


def test_threads_are_limited_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "7")  # so that the present values come back afterwards
    before = torch.get_num_threads()
    try:
        models.limit_threads(1)
        assert torch.get_num_threads() == 1
        assert [os.environ[name] for name in names] == ["1", "1", "1"]
    finally:
        torch.set_num_threads(before)
