"""What a configuration may say, and the line that each mistake in it gets."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from needlework.layout import Run, mixture_of
from needlework.study.parsing import StudyError, parse_study
from needlework.study.runs import runs
from needlework.study.sections import Study
from needlework.study.tasks import TASKS
from needlework.study.values import UNTUNED, VARIANTS

_SECRET = "sk-proj-4fA9x"
_CONFIG: dict[str, Any] = {
    "name": "small",
    "models": {"tiny": {"source": "tiny-random-llama"}},
    "tasks": {"factbook_lookup": {"train": 8, "validation": 3, "test": 8, "documents": 3}},
    "variants": ["real", "symbolic"],
    "length": 2048,
}


def _with(key: str, value: Any) -> dict[str, Any]:
    """The configuration with the value at a dotted key."""
    config = deepcopy(_CONFIG)
    section = config
    *path, last = key.split(".")
    for part in path:
        section = section.setdefault(part, {})
    section[last] = value
    return config


def _problems(config: dict[str, Any]) -> list[str]:
    with pytest.raises(StudyError) as caught:
        parse_study(config)
    first, *lines = str(caught.value).split("\n")
    assert first == "the study cannot be run:"
    assert all(line.startswith("  - ") for line in lines)
    return [line[4:] for line in lines]


def test_what_is_not_said_has_its_default() -> None:
    study = parse_study(_CONFIG)
    assert (study.training.rank, study.training_seeds, study.statistics.level) == (8, [0], 0.95)
    assert study.generator.base_url is None
    assert study.tasks.chosen()["factbook_lookup"].spare == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("2e-4", 2e-4), ("1E3", 1000.0), ("+5.e-1", 0.5), (".5e0", 0.5), (3, 3.0), (0.25, 0.25)],
)
def test_a_number_as_yaml_may_give_it_is_a_number(text: Any, number: float) -> None:
    assert parse_study(_with("training.learning_rate", text)).training.learning_rate == number


@pytest.mark.parametrize(
    "given", ["abc", "8", "1.5", "2e-4 ", "e4", "1e", "0x1e3", True, None, [1e-4]]
)
def test_other_text_is_no_number(given: Any) -> None:
    (problem,) = _problems(_with("training.learning_rate", given))
    kind = type(given).__name__
    assert problem == f"training.learning_rate: got {given!r} ({kind}), takes a valid number"


@pytest.mark.parametrize("given", [float("inf"), float("nan"), "1e999"])
def test_a_number_is_finite(given: Any) -> None:
    (problem,) = _problems(_with("training.epochs", given))
    assert problem.startswith("training.epochs: got ")


@pytest.mark.parametrize(
    ("key", "given", "problem"),
    [
        ("traning", {}, "traning: there is no such key; did you mean 'training'?"),
        ("training.rnak", 8, "training.rnak: there is no such key; did you mean 'rank'?"),
        (
            "training.gradient_checkpointing", True,
            "training.gradient_checkpointing: there is no such key; did you mean"
            " 'activation_checkpointing'?",
        ),
        (
            "models.tiny.sorce", "x",
            "models.tiny.sorce: there is no such key; did you mean 'source'?",
        ),
        (
            "tasks.factbook_lookup.tset", 8,
            "tasks.factbook_lookup.tset: there is no such key; did you mean 'test'?",
        ),
        (
            "evaluation.zzzzzz", 1,
            "evaluation.zzzzzz: there is no such key; known here: backend, max_new_tokens, batch",
        ),
        (
            "masking", {"knds": ["zero"]},
            "masking.knds: there is no such key; did you mean 'kinds'?",
        ),
        (
            "masking", {"kinds": ["zeros"]},
            "masking.kinds.0: got 'zeros', takes one of zero, uniform, mean; did you mean 'zero'?",
        ),
        (
            "masking", {"variants": ["reel"]},
            "masking.variants: reel is no variant or control here; did you mean 'real'?",
        ),
        (
            "masking", {"variants": ["kv_simple"]},
            "masking.variants: kv_simple is no variant or control here; known here: untuned, ",
        ),
        (
            "patching", {"source": "kv_simple"},
            "patching.source: kv_simple is no variant or control here; known here: untuned, ",
        ),
        (
            "patching", {"targets": ["real"]},
            "patching.targets: real is the source; leave it out",
        ),
        (
            "probe", {"null_question": True},
            "probe: null_question takes mass_rows: question; an answer's rows have none",
        ),
        (
            "variants", ["real", "symbollic"],
            "variants.1: got 'symbollic', takes one of real, real_limited, high_high, ",
        ),
        (
            "compute.dtype", "bf16",
            "compute.dtype: got 'bf16', takes one of auto, float32, bfloat16, float16; did you mean"
            " 'bfloat16'?",
        ),
        (
            "training.schedule", "zzz",
            "training.schedule: got 'zzz', takes one of constant, linear, cosine; known here:"
            " constant, linear, cosine",
        ),
        ("training.rank", True, "training.rank: got True (bool), takes a valid integer"),
        ("training.rank", "8", "training.rank: got '8' (str), takes a valid integer"),
        ("training.rank", 8.0, "training.rank: got 8.0 (float), takes a valid integer"),
        ("training.rank", 0, "training.rank: got 0 (int), takes greater than or equal to 1"),
        (
            "training.validation_loss", 1,
            "training.validation_loss: got 1 (int), takes a valid boolean",
        ),
        ("statistics.level", 1, "statistics.level: got 1 (int), takes less than 1"),
        ("variants", "real", "variants: got 'real' (str), takes a valid list"),
        (
            "training.target_modules", ["q_proj", 3],
            "training.target_modules.1: got 3 (int), takes a valid string",
        ),
        (
            "training.target_modules", "all",
            "training.target_modules: got 'all' (str), takes a valid list or one of all-linear",
        ),
        (
            "training", {"method": "full", "target_modules": "all-linear"},
            "training: method full takes a list of target_modules, not all-linear",
        ),
        (
            "models.tiny.context", {"window": "big"},
            "models.tiny.context.window: got 'big', takes one of scale, keep or a valid integer",
        ),
        (
            "models.tiny.context", {"theta": 1},
            "models.tiny.context.theta: got 1 (int), takes greater than 1",
        ),
        ("models.tiny.hosted", {}, "models.tiny: a hosted model takes a tokenizer"),
        ("models.tiny.tokenizer", "x", "models.tiny: tokenizer is for a hosted model"),
        (
            "models.tiny", {"source": "m", "hosted": {}, "tokenizer": "t", "context": {}},
            "models.tiny: a hosted model takes neither context nor revision",
        ),
        (
            "models.tiny.hosted", {"epochs": "many"},
            "models.tiny.hosted.epochs: got 'many', takes one of auto or a valid integer",
        ),
        ("controls", {"real": {"variant": "real"}}, "controls.real: a variant has this name"),
        ("controls", {"untuned": {"variant": "real"}}, "controls.untuned: a variant has this name"),
        (
            "controls", {"a": {"variant": "low_low"}},
            "controls.a.variant: low_low is not in variants; known here: real, symbolic",
        ),
        (
            "controls", {"a": {"variant": "real", "length": 4096}},
            "controls.a.length: above the study's length of 2048",
        ),
        (
            "controls", {"a": {"variant": "real", "training": {"rnak": 8}}},
            "controls.a.training.rnak: there is no such key; did you mean 'rank'?",
        ),
        (
            "controls", {"a": {"variant": "real", "training": {"batch_per_device": 3}}},
            "controls.a.training.batch: no multiple of batch_per_device",
        ),
        ("evaluation.lengths", [4096], "evaluation.lengths: 4096 is above the study's length"),
        ("general", {"variants": ["zz"]}, "general.variants: zz is no variant or control here"),
        (
            "general", {"benchmarks": ["mmul"]},
            "general.benchmarks.0: got 'mmul', takes one of mmlu, hellaswag, ",
        ),
        (
            "tasks.factbook_lookup.trained_on", "mdqa",
            "tasks.factbook_lookup.trained_on: mdqa is no task of the study that has its own",
        ),
        (
            "tasks.factbook_lookup.positions", {"documents": 3, "gold": [4]},
            "tasks.factbook_lookup.positions.gold: 4 is above 3 documents",
        ),
        ("name", "../up", "name: got '../up', takes a name of at most 64 letters A to Z"),
        ("models", {"a/b": {"source": "x"}}, "models.a/b: got 'a/b', takes a name of at most 64 "),
        ("models", {}, "models: got {} (dict), dictionary should have at least 1 item"),
        ("compute.device", "gpu", "compute.device: got 'gpu' (str), should match pattern"),
        ("generator.base_url", "host:80", "generator.base_url: got 'host:80' (str), should match"),
        ("length", 63, "length: got 63 (int), takes greater than or equal to 64"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_value(key: str, given: Any, problem: str) -> None:
    (found,) = _problems(_with(key, given))
    assert found.startswith(problem)


def test_an_unknown_task_names_the_nearest() -> None:
    tasks = {"factbok_lookup": _CONFIG["tasks"]["factbook_lookup"]}
    assert _problems({**_CONFIG, "tasks": tasks}) == [
        "tasks.factbok_lookup: there is no such key; did you mean 'factbook_lookup'?"
    ]


@pytest.mark.parametrize("key", ["name", "models", "tasks", "variants", "length"])
def test_a_missing_key_is_named_with_what_it_means(key: str) -> None:
    config = {name: value for name, value in _CONFIG.items() if name != key}
    (problem,) = _problems(config)
    assert problem == f"{key}: missing; it is needed. {Study.model_fields[key].description}"


def test_a_missing_key_of_a_section_is_named() -> None:
    (problem,) = _problems(_with("models.second", {"revision": "main"}))
    assert problem.startswith("models.second.source: missing; it is needed. A bundled name")


def test_every_mistake_is_named_at_once() -> None:
    config = _with("training.rnak", 8) | {"length": "long", "variants": ["rael"]}
    assert sorted(problem.split(":")[0] for problem in _problems(config)) == [
        "length", "training.rnak", "variants.0",
    ]  # fmt: skip


@pytest.mark.parametrize("given", [_SECRET, [_SECRET], {_SECRET: 1}, _SECRET + "\n"])
def test_a_key_in_the_place_of_its_variable_is_not_repeated(given: Any) -> None:
    problems = _problems(_with("generator.api_key_env", given))
    advice = "takes the name of an environment variable, such as OPENAI_API_KEY"
    assert problems == [f"generator.api_key_env: {advice}"]


def test_a_key_under_an_unknown_name_is_not_repeated() -> None:
    (problem,) = _problems(_with("generator.api_key", _SECRET))
    assert problem == "generator.api_key: there is no such key; did you mean 'api_key_env'?"


def test_the_cause_of_an_error_is_not_shown_with_the_values_it_holds() -> None:
    with pytest.raises(StudyError) as caught:
        parse_study(_with("generator.api_key_env", _SECRET))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("symbollic", "variants.0: got 'symbollic', takes one of "),
        ("real:0.5+symbollic:0.5", "variants.0: got 'real:0.5+symbollic:0.5', takes one of "),
        ("real:0.5+symbolic:0.6", "variants.0: real:0.5+symbolic:0.6: a mixture has two or more"),
        ("real:0.5+real:0.5", "variants.0: real:0.5+real:0.5: a mixture has two or more"),
        ("real:1", "variants.0: real:1: '1' is no share of 'real'"),
        ("real+symbolic", "variants.0: real+symbolic: '' is no share of 'real'"),
        (3, "variants.0: takes the name of a variant, not 3"),
    ],
)
def test_a_variant_or_mixture_that_is_none(given: Any, problem: str) -> None:
    (found,) = _problems(_CONFIG | {"variants": [given]})
    assert found.startswith(problem)


def test_a_mixture_has_the_shares_it_says() -> None:
    assert mixture_of("real") == {"real": 1.0}
    study = parse_study(_CONFIG | {"variants": ["real:0.2+symbolic:0.8"]})
    assert mixture_of(study.variants[0]) == {"real": 0.2, "symbolic": 0.8}


def test_a_study_without_a_task_names_the_tasks() -> None:
    (found,) = _problems(_CONFIG | {"tasks": {}})
    assert found == f"tasks: names none; known here: {', '.join(TASKS)}"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"variants": ["real", "symbolic", "real"]},
            "variants: real stands there more than once; name each once",
        ),
        (
            {"training_seeds": [1, 2, 1, 2]},
            "training_seeds: 1, 2 stands there more than once; name each once",
        ),
        (
            {"training": {"batch": 4, "batch_per_device": 3}},
            "training.batch: 4 is no multiple of training.batch_per_device (3)",
        ),
        (
            {"compute": {"device": "cpu", "gpus": 2}},
            "compute.gpus: 2 with compute.device cpu; take 0, or device cuda",
        ),
    ],
)
def test_a_contradiction_names_both_sides(changes: dict[str, Any], problem: str) -> None:
    assert _problems(_CONFIG | changes) == [problem]


def test_contradictions_are_named_together() -> None:
    config = _CONFIG | {"training_seeds": [0, 0], "compute": {"gpus": 1}}
    assert [p.split(":")[0] for p in _problems(config)] == ["training_seeds", "compute.gpus"]


def test_every_run_stands_once_and_the_untuned_model_once_per_model_and_task() -> None:
    config = _with("models.second", {"source": "owner/name"}) | {"training_seeds": [3, 5]}
    found = runs(parse_study(config))
    assert len(found) == len(set(found)) == 2 * (1 + 2 * 2)
    assert [run for run in found if run.model == "tiny"] == [
        Run("tiny", "factbook_lookup", UNTUNED, 0),
        Run("tiny", "factbook_lookup", "real", 3),
        Run("tiny", "factbook_lookup", "real", 5),
        Run("tiny", "factbook_lookup", "symbolic", 3),
        Run("tiny", "factbook_lookup", "symbolic", 5),
    ]


def test_no_variant_is_called_as_the_untuned_model() -> None:
    assert UNTUNED not in VARIANTS
    assert len(TASKS) == len(set(TASKS))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
_KEYS = st.sampled_from(
    [
        *Study.model_fields, "models.tiny", "models.tiny.source", "tasks.factbook_lookup.train",
        "generator.model", "training.epochs", "training.target_modules", "compute.gpus",
    ]
)  # fmt: skip


@settings(deadline=None)
@given(_KEYS, _JSON)
@example("models", {"\n": None})
def test_any_value_gives_a_study_or_a_line_about_its_key(key: str, value: Any) -> None:
    config = _with(key, value)
    try:
        study = parse_study(config)
    except StudyError:
        assert all(problem.startswith(key.split(".")[0]) for problem in _problems(config))
    else:  # the report is given the study as JSON
        assert Study.model_validate_json(study.model_dump_json()) == study
