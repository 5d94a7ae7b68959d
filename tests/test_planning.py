"""What stops before the first job, and flags that are those of the scripts."""

from __future__ import annotations

import json
import runpy
import shlex
import shutil
import sys
from argparse import ArgumentParser, Namespace
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from needlework import models
from needlework.corpora.downloads import load_sources
from needlework.corpora.tasks import TASKS
from needlework.planning import flags, load_study
from needlework.study import sections
from needlework.study import tasks as sections_of_tasks
from needlework.study.models import ContextSection, HostedSection
from needlework.study.parsing import StudyError

_CONFIG: dict[str, Any] = {
    "name": "small",
    "models": {"tiny": {"source": "tiny-random-llama"}},
    "tasks": {"factbook_lookup": {"train": 8, "validation": 3, "test": 8}},
    "variants": ["real"],
    "length": 2048,
}


def _problems(changes: dict[str, Any], **task: int) -> list[str]:
    config = deepcopy(_CONFIG) | changes
    config["tasks"]["factbook_lookup"] |= task
    with pytest.raises(StudyError) as caught:
        load_study(config)
    return [line.removeprefix("  - ") for line in str(caught.value).split("\n")[1:]]


_SHIPPED = sorted(
    path.relative_to(Path(__file__).parent.parent).as_posix()
    for pattern in ("config.yaml", "studies/*.yaml")
    for path in Path(__file__).parent.parent.glob(pattern)
)


@pytest.mark.parametrize("name", _SHIPPED)
def test_a_study_that_is_shipped_can_be_run(root: Path, name: str) -> None:
    study = load_study(yaml.safe_load((root / name).read_text(encoding="utf-8")))
    assert study.name == ("demo" if name == "config.yaml" else Path(name).stem)


def test_studies_are_shipped() -> None:
    assert {"config.yaml", "studies/smoke.yaml"} <= set(_SHIPPED)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"title": "Peru", "text": "Lima"}\n', encoding="utf-8")
    task = {"train": 1, "validation": 1, "test": 1, "path": "none.jsonl", "passages": str(pool)}
    config = deepcopy(_CONFIG) | {"tasks": {"mdqa": task}}
    with pytest.raises(StudyError) as caught:
        load_study(config)
    assert str(caught.value).split("\n")[1:] == [
        "  - tasks.mdqa.path: there is no none.jsonl; name a file, or null to download"
    ]


def test_a_task_without_training_examples_is_refused() -> None:
    config = deepcopy(_CONFIG) | {"tasks": {"flenqa": {"test": 5}}}
    with pytest.raises(StudyError) as caught:
        load_study(config)
    assert [line.split(";")[0] for line in str(caught.value).split("\n")[1:]] == [
        "  - tasks.flenqa.train: got 0", "  - tasks.flenqa.validation: got 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "variant", "refused"),
    [
        ("factbook_citation", "multidoc_qa", "multidoc_qa"),
        ("flenqa", "high_low", "high_low"),
        ("flenqa", "real:0.5+symbolic:0.5", "symbolic"),
    ],
)
def test_a_variant_that_cannot_be_made_of_a_task_is_refused(
    task: str, variant: str, refused: str
) -> None:
    sizes = {"train": 1, "validation": 1, "test": 1}
    config = deepcopy(_CONFIG) | {"tasks": {task: sizes}, "variants": [variant]}
    with pytest.raises(StudyError) as caught:
        load_study(config)
    assert f"variants: {refused} cannot be made of {task}" in str(caught.value)


def test_every_task_takes_the_keys_of_its_section() -> None:
    assert set(TASKS) == set(sections_of_tasks.TASKS)
    for name, source in TASKS.items():
        field = sections_of_tasks.TasksSection.model_fields[name]
        section = next(t for t in get_args(field.annotation) if t is not type(None))
        taken = set(signature(source.draw).parameters)
        elsewhere = {"spare", "trained_on", "positions"}  # of the training, and of the answers
        assert set(section.model_fields) - elsewhere <= taken, name
        assert taken - set(section.model_fields) <= {"seed", "room", "threads"}, name
        assert set(source.files) <= taken


def test_a_length_above_the_positions_is_refused() -> None:
    assert _problems({"length": 4097}) == [
        "length: got 4097, above the 4096 positions of models.tiny (tiny-random-llama); take at"
        " most 4096, or extend its context"
    ]
    load_study(_CONFIG | {"length": 4096})


def test_an_unknown_source_names_the_nearest() -> None:
    (problem,) = _problems({"models": {"small": {"source": "smollm2-135m"}}})
    assert problem.startswith("models.small.source: 'smollm2-135m' is no bundled model (")
    assert problem.endswith("Did you mean 'smollm2-135m-instruct'?")


def test_a_hub_model_is_looked_at_later() -> None:
    models = {"hub": {"source": "owner/name", "revision": "main"}}
    assert load_study(_CONFIG | {"models": models, "length": 10**6}).length == 10**6


def test_a_model_folder_says_its_positions(tiny_base: models.Base, tmp_path: Path) -> None:
    own = {"own": {"source": str(tmp_path)}}
    assert _problems({"models": own}) == [
        f"models.own.source: the model folder {str(tmp_path)!r} has no config.json"
    ]
    shutil.copytree(tiny_base.path, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    (problem,) = _problems({"models": own})
    assert problem.startswith("length: got 2048, above the 512 positions of models.own")
    assert load_study(_CONFIG | {"models": own, "length": 512}).length == 512


def test_a_model_folder_with_a_broken_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    (problem,) = _problems({"models": {"own": {"source": str(tmp_path)}}})
    assert problem.startswith("models.own.source: ")


def test_problems_are_named_together() -> None:
    models = {"a": {"source": "zzz"}, "b": {"source": "tiny-random-llama"}}
    problems = _problems({"models": models, "length": 9000})
    assert [problem.split(":")[0] for problem in problems] == ["models.a.source", "length"]


class _Parser(BaseException):
    """Carries a script's parser out of it."""

    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser


def _parser_of(script: Path) -> ArgumentParser:
    def stop(parser: ArgumentParser, *arguments: object) -> Namespace:
        raise _Parser(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [str(script)])
        with pytest.raises(_Parser) as caught:
            runpy.run_path(str(script), run_name="__main__")
    parser = caught.value.parser
    parser.allow_abbrev = False
    for action in [*parser._actions, *parser._mutually_exclusive_groups]:
        action.required = False
    return parser


# A value for each key whose default says nothing; a new such key needs one here.
_VALUES: dict[str, Any] = {
    "source": "a folder/with spaces & $signs", "revision": "v1", "train": 5, "validation": 4,
    "test": 3, "documents": 2, "base_url": "https://host/v1?version=1&x=(y)",
    "api_key_env": "MY_KEY", "spare": 6, "batch_api": True,
    "requests_per_minute": 60, "tokens_per_minute": 1000, "budget_usd": 1.5,
    "null_question": True, "mass_rows": "question", "test_examples": 7, "deepspeed": 2,
    "variant": "real", "trained_length": 512, "theta": 20000.0, "limit": 3,
    "data": "a folder/with spaces", "benchmarks": ["mmlu", "gsm8k"],
}  # fmt: skip


def _filled(section: type[BaseModel], leave_out: tuple[str, ...]) -> BaseModel:
    """A section where every key that becomes a flag has a value that does."""
    keys = set(section.model_fields) - set(leave_out)
    needed = {name for name, field in section.model_fields.items() if field.is_required()}
    filled = section.model_validate(
        {name: _VALUES[name] for name in _VALUES if name in keys | needed}
    )
    silent = [name for name, value in filled if name in keys and (value is None or value is False)]
    assert not silent, f"give {silent} a value in _VALUES"
    return filled


_OF_JOBS = ("threads", "memory_mb", "gpus", "sustained_tflops")
_OF_VIEWS = ("backend", "lengths", "closed_book")
_OF_TUNING = ("epochs", "batch", "learning_rate_multiplier", "poll")

# The scripts that rules give a section to, and the keys that they give in another way or not.
_TAKES: list[tuple[str, type[BaseModel], tuple[str, ...]]] = [
    ("prepare_model", sections.ModelSection, ("context", "hosted", "tokenizer")),
    ("prepare_model", ContextSection, ("method", "length")),
    ("tune_hosted", HostedSection, ("concurrency",)),
    ("predict_answers", HostedSection, _OF_TUNING),
    ("build_corpus", sections_of_tasks.TaskSection, ("trained_on",)),
    ("build_dataset", sections_of_tasks.TaskSection, ("spare", "test", "trained_on")),
    ("rewrite_facts", sections.GeneratorSection, ("documents", "document_tokens")),
    ("write_documents", sections.GeneratorSection, ("attempts",)),
    ("plan_generation", sections.GeneratorSection, ()),
    ("train_adapter", sections.TrainingSection, ()),
    ("train_adapter", sections.ComputeSection, _OF_JOBS),
    ("score_heads", sections.ComputeSection, _OF_JOBS),
    ("score_heads", sections.ProbeSection, ("top", "resamples")),
    ("mask_heads", sections.EvaluationSection, _OF_VIEWS),
    ("mask_heads", sections.ComputeSection, _OF_JOBS),
    ("mask_heads", sections.MaskingSection, ("variants",)),
    ("patch_heads", sections.EvaluationSection, _OF_VIEWS),
    ("patch_heads", sections.ComputeSection, _OF_JOBS),
    ("patch_heads", sections.PatchingSection, ("source", "targets")),
    ("compare_interventions", sections.StatisticsSection, ("alpha", "margin")),
    ("predict_answers", sections.EvaluationSection, _OF_VIEWS),
    ("predict_answers", sections.ComputeSection, _OF_JOBS),
    ("predict_views", sections.EvaluationSection, _OF_VIEWS),
    ("predict_views", sections.ComputeSection, _OF_JOBS),
    ("evaluate_general", sections.GeneralSection, ("variants",)),
    ("evaluate_general", sections.ComputeSection, _OF_JOBS),
    ("compute_statistics", sections.StatisticsSection, ("alpha", "margin")),
    ("compute_depths", sections.StatisticsSection, ("alpha", "margin")),
    ("compare_general", sections.StatisticsSection, ("alpha",)),
]


@pytest.mark.parametrize(("script", "section", "leave_out"), _TAKES)
def test_a_script_takes_every_flag_of_its_section(
    root: Path, script: str, section: type[BaseModel], leave_out: tuple[str, ...]
) -> None:
    filled = _filled(section, leave_out)
    parser = _parser_of(root / "scripts" / f"{script}.py")
    taken, unknown = parser.parse_known_args(shlex.split(flags(filled, *leave_out)))
    assert unknown == []
    for key, value in filled.model_dump(exclude=set(leave_out)).items():
        found = getattr(taken, key)
        assert (key, str(found) if isinstance(found, Path) else found) == (key, value)


def test_every_section_is_that_of_a_script() -> None:
    found = {name for name in vars(sections) if name.endswith("Section")}
    known = {section.__name__ for _, section, _ in _TAKES} - {"TaskSection"}
    known -= {"ContextSection", "HostedSection"}
    # A control is a variant with some keys changed: its flags are those of `training`.
    assert found - {"Section", "TasksSection", "ControlSection"} == known


def test_what_is_not_set_gives_no_flag() -> None:
    section = sections.GeneratorSection(model="m")
    assert "base-url" not in flags(section)
    assert "deepspeed" not in flags(sections.TrainingSection())
    assert flags(sections.EvaluationSection(), "batch", *_OF_VIEWS) == "--max-new-tokens 24"


def test_a_list_is_one_flag() -> None:
    section = sections.TrainingSection(target_modules=["q_proj", "v_proj"])
    assert " --target-modules q_proj v_proj --rank 8 " in flags(section)


def test_what_a_task_reads_is_what_its_source_has() -> None:
    sources = load_sources()
    for name, source in TASKS.items():
        for file in source.files.values():
            folder, _, path = file.partition("/")
            listed = [entry.path for entry in sources[folder].files]
            assert path in listed or not path, name  # a task may read the whole folder


def test_a_study_of_hosted_models_alone_is_refused() -> None:
    models = {"api": {"source": "gpt", "hosted": {}, "tokenizer": "tiny-random-llama"}}
    (problem,) = _problems({"models": models})
    assert problem.startswith("models: all are hosted, and no head of such a model can be seen")


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, None),
        ({"evaluation": {"backend": "vllm", "lengths": [1024]}}, "answers the plain test only"),
        ({"masking": {}}, "answers the plain test only"),
        ({"training": {"method": "full"}}, "serves no adapter of whole weights"),
    ],
)
def test_vllm_answers_what_it_can(changes: dict[str, Any], refused: str | None) -> None:
    changes = {"evaluation": {"backend": "vllm"}} | changes
    if refused is None:
        load_study(_CONFIG | changes)
    else:
        (problem,) = _problems(changes)
        assert refused in problem


def test_a_model_that_is_extended_reads_more_than_its_positions() -> None:
    longer = {"tiny": {"source": "tiny-random-llama", "context": {}}}
    assert load_study(_CONFIG | {"models": longer, "length": 8192}).length == 8192
    longer["tiny"]["context"] = {"length": 5000}
    (problem,) = _problems({"models": longer, "length": 8192})
    assert problem == "models.tiny.context.length: 5000 is below the study's length of 8192"


def test_a_file_that_a_source_has_is_downloaded() -> None:
    config = deepcopy(_CONFIG)
    passages = "data/musique/musique_ans_v1.0_train.jsonl"
    config["tasks"] = {"musique": {"train": 1, "validation": 1, "test": 1, "passages": passages}}
    load_study(config)
    config["tasks"]["musique"]["passages"] = "data/musique/other.jsonl"
    with pytest.raises(StudyError, match=r"tasks.musique.passages: there is no data/musique/other"):
        load_study(config)


def test_general_abilities_from_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (problem,) = _problems({"general": {"data": str(tmp_path / "none")}})
    assert problem.startswith("general.data: there is no folder")
    load_study(_CONFIG | {"general": {"data": str(tmp_path)}})
