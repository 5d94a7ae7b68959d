"""What a study will take, against sums by hand; what is not known is said and not counted as 0."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from needlework.estimates import Estimate, estimate, text
from needlework.interventions.conditions import mask_names, patch_names
from needlework.models.shapes import known_shape
from needlework.study.parsing import parse_study
from needlework.training.throughput import forward_flops, training_flops

_LLAMA = "meta-llama/Meta-Llama-3-8B-Instruct"
_STUDY: dict[str, Any] = {
    "name": "s",
    "models": {"llama": {"source": _LLAMA}},
    "tasks": {"factbook_lookup": {"train": 100, "validation": 10, "test": 20}},
    "variants": ["real", "symbolic"],
    "length": 8192,
    "compute": {"device": "cuda", "gpus": 1, "sustained_tflops": 400},
    "training": {"epochs": 2, "validation_loss": False},
    "probe": {"max_new_tokens": 5},
    "evaluation": {"max_new_tokens": 10, "batch": 8},
}
_STAGES = ["training", "heads", "evaluation", "masks", "patches", "general"]

Make = Callable[..., Estimate]


@pytest.fixture
def made() -> Make:
    """The estimate of the study above with keys changed, given as "section.key" or "section"."""

    def make(changed: dict[str, Any] | None = None, jobs: int | None = None) -> Estimate:
        config = copy.deepcopy(_STUDY)
        for path, value in (changed or {}).items():
            section, _, key = path.rpartition(".")
            part = config
            for name in filter(None, section.split(".")):
                part = part.setdefault(name, {})
            part[key] = value
        return estimate(parse_study(config), jobs)

    return make


def _answering(examples: int, length: int, written: int, batch: int, times: int = 1) -> float:
    """Seconds of answering on the GPU of the study, by hand."""
    shape = known_shape(_LLAMA)
    assert shape is not None
    reading = examples * forward_flops(shape, length, 1) / 400e12
    a_step = 2 * 8_030_261_248 + min(batch, examples) * (length + written) * 131_072
    return reading + times * -(-examples // batch) * written * a_step / 2e12


def test_training_is_its_operations_at_the_rate_given(made: Make) -> None:
    shape = known_shape(_LLAMA)
    assert shape is not None
    one = training_flops(
        shape, [8192], [10], method="lora", target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
        rank=8, checkpointing="selective",
    )  # fmt: skip
    seconds = one * 100 * 2 / 400e12
    found = made()
    assert found.runs["training"] == 2
    assert found.longest == {"llama": pytest.approx(seconds)}
    assert found.seconds["training"] == pytest.approx(2 * seconds)
    validated = made({"training.validation_loss": True}).seconds["training"]
    forward = forward_flops(shape, 8192, 10) / 400e12
    assert validated == pytest.approx(2 * seconds + 2 * 10 * forward)
    assert made({"training_seeds": [0, 1, 2]}).seconds["training"] == pytest.approx(6 * seconds)
    faster = made({"compute.sustained_tflops": 800}).seconds["training"]
    assert faster == pytest.approx(seconds)


def test_a_control_takes_what_its_recipe_says(made: Make) -> None:
    plain = made().seconds["training"]
    quarter = made({"controls": {"quarter": {"variant": "real", "examples": 25}}})
    assert quarter.runs["training"] == 3
    assert quarter.seconds["training"] == pytest.approx(plain * 1.125)
    short = made({"controls": {"short": {"variant": "real", "length": 1024}}})
    assert plain * 1.01 < short.seconds["training"] < plain * 1.06
    wide = made({"controls": {"w": {"variant": "real", "training": {"epochs": 6}}}})
    assert wide.longest["llama"] == pytest.approx(plain / 2 * 3)


def test_heads_and_answers_read_prompts_and_write_tokens(made: Make) -> None:
    found = made()
    assert found.runs == dict(zip(_STAGES, [2, 3, 3, 0, 0, 0], strict=True))
    assert found.seconds["heads"] == pytest.approx(3 * _answering(10, 8192, 5, 1))
    assert found.seconds["evaluation"] == pytest.approx(3 * _answering(20, 8192, 10, 8))
    given = made({"probe.answers": "gold"}).seconds["heads"]
    assert given == pytest.approx(3 * _answering(10, 8192, 0, 1))
    null = made({"probe.null_question": True, "probe.mass_rows": "question"}).seconds["heads"]
    twice = _answering(10, 8192, 5, 1) + _answering(10, 8192, 0, 1)
    assert null == pytest.approx(3 * twice)


def test_every_view_is_counted_at_its_own_length(made: Make) -> None:
    found = made(
        {
            "evaluation.lengths": [2048, 8192],
            "evaluation.closed_book": True,
            "tasks.factbook_lookup.positions": {"documents": 10, "gold": [1, 5, 10]},
        }
    )
    lengths = [8192, 2048, 100, 2000, 2000, 2000]
    seconds = sum(_answering(20, length, 10, 8) for length in lengths)
    assert found.seconds["evaluation"] == pytest.approx(3 * seconds)
    plain = made().disk["predictions"]
    assert found.disk["predictions"] == 6 * plain


def test_a_task_that_is_only_asked_is_not_trained_on(made: Make) -> None:
    plain = made()
    flenqa = made({"tasks.flenqa": {"test": 50, "trained_on": "factbook_lookup"}})
    for stage in ("training", "heads"):
        assert flenqa.runs[stage] == plain.runs[stage]
        assert flenqa.seconds[stage] == plain.seconds[stage]
    # Its examples are shorter than the length.
    answers = flenqa.seconds["evaluation"] - plain.seconds["evaluation"]
    assert answers == pytest.approx(3 * _answering(50, 1350, 10, 8))
    chain = {"train": 9, "validation": 9, "test": 9, "trained_on": "factbook_lookup"}
    both = made({"tasks.factbook_chain": chain})
    assert both.disk["datasets"] == flenqa.disk["datasets"] == plain.disk["datasets"]
    assert flenqa.disk["corpora"] - plain.disk["corpora"] == pytest.approx(50 * (4.5 * 1350 + 2000))


def test_other_distractors_are_a_test_set_of_their_own(made: Make) -> None:
    task = {"train": 10, "validation": 5, "test": 20, "passages": "p.jsonl"}
    plain = made({"tasks": {"mdqa": task}})
    both = made({"tasks": {"mdqa": task | {"test_distractors": ["random"]}}})
    assert both.seconds["evaluation"] == pytest.approx(2 * plain.seconds["evaluation"])
    assert both.disk["corpora"] / plain.disk["corpora"] == pytest.approx(55 / 35)


def test_masks_and_patches_share_the_reading_where_they_can(made: Make) -> None:
    masking = {"variants": ["real"], "top": [5, 20], "kinds": ["zero", "uniform"], "draws": 3}
    names = mask_names(
        top=[5, 20], kinds=["zero", "uniform"], during=["decoding"],
        controls=["random", "lowest"], draws=3,
    )  # fmt: skip
    count = len(names)
    reading, writing = _answering(20, 8192, 0, 8), _answering(20, 8192, 10, 8)
    writing -= reading
    found = made({"masking": masking})
    assert found.runs["masks"] == 1
    assert found.seconds["masks"] == pytest.approx(reading + count * writing)
    apart = made({"masking": masking | {"during": ["decoding", "both"]}})
    assert apart.seconds["masks"] == pytest.approx((1 + count) * reading + 2 * count * writing)
    never = made({"masking": masking | {"during": ["prefill"]}})
    assert never.seconds["masks"] == pytest.approx(count * (reading + writing))
    mean = made({"masking": masking | {"kinds": ["zero", "mean"]}}).seconds["masks"]
    assert mean == pytest.approx(found.seconds["masks"] + _answering(10, 8192, 0, 1))
    few = made({"masking": masking | {"test_examples": 4}}).seconds["masks"]
    part = _answering(4, 8192, 0, 8)
    assert few == pytest.approx(part + count * (_answering(4, 8192, 10, 8) - part))

    sets = ["intersection", "random"]
    count = len(patch_names(sets=sets, positions=["last"], draws=4))
    patched = made({"patching": {"sets": sets, "draws": 4}})
    assert patched.runs["patches"] == 1
    assert patched.seconds["patches"] == pytest.approx(2 * (reading + count * writing))
    everywhere = made({"patching": {"sets": sets, "draws": 4, "positions": ["last", "all"]}})
    assert everywhere.seconds["patches"] == pytest.approx(
        2 * ((1 + count) * reading + 2 * count * writing)
    )


def test_general_benchmarks_count_their_questions(made: Make) -> None:
    found = made({"general": {"benchmarks": ["mmlu"], "batch": 8}})
    assert found.runs["general"] == 3  # the untuned model, and both variants
    assert found.seconds["general"] == pytest.approx(3 * _answering(14_042, 150, 0, 8))
    limited = made({"general": {"benchmarks": ["mmlu"], "limit": 2}})
    assert limited.seconds["general"] == pytest.approx(3 * _answering(2 * 57, 150, 0, 8))


def test_a_model_of_unknown_size_is_named_and_nothing_of_it_is_counted(made: Make) -> None:
    both = made({"models.other": {"source": "some/model-that-is-not-here"}})
    alone = made()
    assert both.unknown == ["other"]
    assert alone.unknown == []
    assert both.runs["training"] == 2 * alone.runs["training"]
    assert both.seconds == alone.seconds
    assert both.disk["adapters"] == alone.disk["adapters"]
    assert any("not in time and disk: other" in line for line in text(both))
    nothing = text(made({"models": {"other": {"source": "some/model-that-is-not-here"}}}))
    assert not any(line.startswith("time") for line in nothing)
    assert any("not in time and disk: other" in line for line in nothing)


def test_a_model_that_is_tuned_elsewhere_has_tokens_and_no_time(made: Make) -> None:
    hosted = {"source": "gpt", "tokenizer": "tiny-random-llama", "hosted": {"epochs": 3}}
    found = made({"models.gpt": hosted})
    assert found.hosted == {"gpt": 2 * 100 * 8192 * 3}
    assert found.seconds == made().seconds
    assert found.unknown == []
    assert "gpt is tuned elsewhere: 4.92 million tokens at most" in text(found)


def test_a_window_saves_work_and_an_extended_one_less(made: Make) -> None:
    def training(**model: Any) -> float:
        mistral = {"source": "mistralai/Mistral-7B-Instruct-v0.1", **model}
        found = made({"models": {"mistral": mistral}, "length": 32_768})
        return found.seconds["training"]

    scaled = training(context={"trained_length": 8192})
    assert scaled == training(context={"trained_length": 8192, "window": 16_384})
    assert training() == training(context={"window": "keep"}) < 0.85 * scaled
    full = made({"length": 32_768}).seconds["training"]
    assert scaled < full


def test_disk_is_what_files_of_these_sizes_have(made: Make) -> None:
    disk = made(jobs=4).disk
    row = 4.5 * 8192 + 2000
    assert disk["corpora"] == pytest.approx(130 * row)
    assert disk["datasets"] == pytest.approx(2 * 110 * row)
    assert disk["adapters"] == 2 * 4 * 6_815_744
    assert disk["checkpoints"] == 4 * 2 * 12 * 6_815_744
    assert disk["predictions"] == 3 * 20 * 500
    assert disk["models"] == 0
    unpacked = made({"models": {"tiny": {"source": "tiny-random-llama"}}, "length": 2048})
    assert unpacked.disk["models"] == 4 * 107_072  # its weights in float32
    full = made({"training.method": "full"}).disk
    assert full["adapters"] == 2 * 4 * 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024)


def test_the_studies_that_come_along_are_estimated_in_a_few_lines(root: Path) -> None:
    for path in [root / "config.yaml", *(root / "studies").glob("*.yaml")]:
        lines = text(estimate(parse_study(yaml.safe_load(path.read_text(encoding="utf-8")))))
        assert 5 <= len(lines) <= 12, path
        assert not any("\n" in line or "nan" in line for line in lines)


def test_the_text_says_hours_rate_and_disk(made: Make) -> None:
    lines = text(made({"tasks.factbook_lookup.train": 3000}, jobs=3))
    assert lines[0] == "runs: training 2, scoring heads 3, answers 3"
    assert lines[1].startswith("time on one GPU: about 3.4 h, of which training 3.4 h, scoring")
    assert lines[2].startswith("at 400 TFLOP/s (compute.sustained_tflops), and 2000 GB/s of memory")
    assert "the longest training: llama 1.7 h" in lines
    assert "checkpoints, with 3 in training: 491 MB more" in lines
    assert any(
        line.startswith("disk: about 408 MB in results/s, of which corpora") for line in lines
    )
    cpu = text(made({"compute": {}, "models": {"m": {"source": "smollm2-135m-instruct"}}}))
    assert cpu[1].startswith("time on one CPU: about ")
    assert cpu[2].startswith("at 0.1 TFLOP/s (two cores), and 20 GB/s")


_LIGHT = """
import sys
import yaml
from needlework.estimates import estimate, text
from needlework.study.parsing import parse_study
with open(sys.argv[1], encoding="utf-8") as file:
    text(estimate(parse_study(yaml.safe_load(file))))
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def test_an_estimate_needs_no_torch(root: Path) -> None:
    paper = root / "studies" / "paper.yaml"
    subprocess.run([sys.executable, "-c", _LIGHT, paper], cwd=root, check=True)
