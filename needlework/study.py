"""The configuration of a study: every key, its type, its default, and where the default is from.

Strict: an unknown key, a wrong type or an impossible value is an error that names the key, what it
got, what it takes, and the nearest valid name. The JSON schema for editors is generated from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from needlework.layout import Run

Variant = Literal["real", "high_low", "low_low", "symbolic"]
Task = Literal["factbook_lookup"]
VARIANTS: tuple[str, ...] = get_args(Variant)
TASKS: tuple[str, ...] = get_args(Task)
UNTUNED = "untuned"


class StudyError(ValueError):
    """A study that cannot be run; the message has one line for each reason."""


def _number(value: Any) -> Any:
    """YAML 1.1 reads 2e-4 as text; a person means a number."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", value):
        return float(value)
    return value


Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSection(_Section):
    """One base model."""

    source: str = Field(
        description="A bundled name (smollm2-135m-instruct, tiny-random-llama), a folder, or a "
        "hub id (owner/name)."
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch of a hub model; null takes its default branch."
    )


class TaskSection(_Section):
    """How much of a real task is used."""

    train: Count = Field(
        description="Training examples of every variant. Zhao et al. use 360 to 1,260 "
        "(arXiv 2410.22316); the default study takes what a laptop trains in minutes."
    )
    spare: int = Field(
        0,
        ge=0,
        description="Further training questions that stand in where a rewrite failed, so that "
        "every variant has the same size.",
    )
    validation: Count = Field(
        description="Held-out real examples for the probe and the validation loss. Zhao et al. "
        "find about 40 enough."
    )
    test: Count = Field(
        description="Real test examples; never trained on, never used to choose anything."
    )
    documents: Annotated[int, Field(ge=2)] = Field(
        description="Documents of a context, one of them gold; those that do not fit the length "
        "are left out at random."
    )


class GeneratorSection(_Section):
    """The language model that rewrites facts, behind any OpenAI-compatible server."""

    base_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address of the server, ending in /v1; null starts one on this machine's "
        "loopback address with the bundled model.",
    )
    model: str = Field("smollm2-135m-instruct", description="The model's name on the server.")
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="Name of the environment variable that holds the key, never the key itself.",
    )
    temperature: Number = Field(
        0.7, ge=0, le=2, description="Sampling temperature. Ours: at 0 every retry is the same."
    )
    max_tokens: Count = Field(64, description="Longest reply, in tokens. Ours: one sentence.")
    attempts: Count = Field(
        6,
        description="How often a rewrite is asked for before the fact counts as failed. Ours.",
    )
    concurrency: Count = Field(4, description="Requests at the same time. Ours.")


class ComputeSection(_Section):
    """Where models run."""

    device: str = Field("cpu", pattern=r"^(cpu|cuda)$", description="cpu or cuda.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="Precision of weights and activations. float32 is right on a CPU, where "
        "bfloat16 is up to 200 times slower without its instructions; bfloat16 on a GPU.",
    )
    threads: Count = Field(
        8,
        description="Threads of a job that runs a model; Snakemake cuts it to --cores. Two jobs of "
        "two threads on two cores are four times slower than one after the other.",
    )
    memory_mb: Count = Field(4000, description="Memory of a job that runs a model, in MB.")
    gpus: int = Field(0, ge=0, description="GPUs of a job that runs a model; 1 for cuda.")


class TrainingSection(_Section):
    """Fine-tuning with LoRA; the loss is on answer tokens only (Xiong et al., arXiv 2406.19292)."""

    rank: Count = Field(8, description="LoRA rank. 8: Zhao et al., training setup.")
    alpha: Count = Field(8, description="LoRA alpha. 8: Zhao et al., training setup.")
    dropout: Number = Field(0.0, ge=0, lt=1, description="LoRA dropout. Not published; ours.")
    target_modules: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj"],
        min_length=1,
        description="Modules that get an adapter. Zhao et al. tune attention; which of its "
        "projections is not published, all four are ours.",
    )
    learning_rate: Number = Field(
        1e-4, gt=0, description="Peak learning rate of AdamW. Not published; ours for 8B models."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="Learning-rate schedule. Not published; ours."
    )
    warmup: Number = Field(
        0.1, ge=0, lt=1, description="Share of the steps that warm up. Not published; ours."
    )
    weight_decay: Number = Field(0.0, ge=0, description="AdamW weight decay. Not published; ours.")
    epochs: Number = Field(1.0, gt=0, description="Passes over the data. Not published; ours.")
    batch: Count = Field(
        4, description="Examples of one optimizer step. 1 x 4 accumulated: Zhao et al."
    )
    batch_per_device: Count = Field(
        1,
        description="Examples of one forward pass. 1: Zhao et al., and fastest on a CPU.",
    )
    validation_loss: bool = Field(
        True, description="Compute the loss on the variant's validation data after training."
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations to save memory; needed from about 8K tokens."
    )


class ProbeSection(_Section):
    """Retrieval-head scores on the validation examples."""

    max_new_tokens: Count = Field(24, description="Longest answer while heads are scored. Ours.")
    top: Count = Field(
        20,
        description="Size of the top-k head sets, beside the sets of all positive heads. Ours: "
        "7 % of the heads of the bundled model; Wu et al. find 3 to 6 % above 0.1.",
    )


class EvaluationSection(_Section):
    """Greedy answers to the test examples."""

    max_new_tokens: Count = Field(24, description="Longest answer, in tokens. Ours.")
    batch: Count = Field(8, description="Examples answered together. Ours.")


class StatisticsSection(_Section):
    """Paired bootstrap over clusters of examples."""

    resamples: Annotated[int, Field(ge=1000)] = Field(
        10_000,
        description="Bootstrap resamples, shared by all variants. Ours; Koehn (2004): 1,000.",
    )
    level: Number = Field(0.95, gt=0.5, lt=1, description="Level of every interval.")
    alpha: Number = Field(
        0.05, gt=0, lt=0.5, description="Level of significance. 0.05: Zhao et al."
    )


class Study(_Section):
    """A whole study: one file, validated before the first job."""

    name: Name = Field(description="Folder of the results: results/<name>.")
    seed: int = Field(
        0,
        ge=0,
        description="Seed of all data: splits, contexts, invented names, rewrites, resamples.",
    )
    training_seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [0],
        min_length=1,
        description="One adapter is trained per seed. Ours: 1 to look, 3 to publish.",
    )
    models: dict[Name, ModelSection] = Field(
        min_length=1, description="The base models, by the names they have in the results."
    )
    tasks: dict[Task, TaskSection] = Field(min_length=1, description="The real tasks.")
    variants: list[Variant] = Field(
        min_length=1, description="The training data to compare, in the order of the report."
    )
    length: Annotated[int, Field(ge=64)] = Field(
        description="Longest prompt and answer, in tokens of the model."
    )
    generator: GeneratorSection = GeneratorSection()
    compute: ComputeSection = ComputeSection()
    training: TrainingSection = TrainingSection()
    probe: ProbeSection = ProbeSection()
    evaluation: EvaluationSection = EvaluationSection()
    statistics: StatisticsSection = StatisticsSection()


def parse_study(config: Mapping[str, Any]) -> Study:
    """The study that a mapping (a YAML file, Snakemake's config) describes.

    Raises:
        StudyError: a key is unknown, missing, of the wrong type or impossible, or two keys
            contradict each other.
    """
    try:
        study = Study.model_validate(dict(config))
    except ValidationError as error:
        raise StudyError(problem_list(explain(e) for e in error.errors())) from None
    problems = list(_contradictions(study))
    if problems:
        raise StudyError(problem_list(problems))
    return study


def problem_list(problems: Iterable[str]) -> str:
    """The text of a `StudyError` with one line per problem."""
    return "the study cannot be run:\n" + "\n".join(f"  - {problem}" for problem in problems)


def _contradictions(study: Study) -> Iterable[str]:
    lists: dict[str, Sequence[Any]] = {
        "variants": study.variants,
        "training_seeds": study.training_seeds,
    }
    for key, values in lists.items():
        repeated = sorted({str(v) for v in values if values.count(v) > 1})
        if repeated:
            yield f"{key}: {', '.join(repeated)} stands there more than once; name each once"
    if study.training.batch % study.training.batch_per_device:
        yield (
            f"training.batch: {study.training.batch} is no multiple of training.batch_per_device "
            f"({study.training.batch_per_device})"
        )
    if study.compute.device == "cpu" and study.compute.gpus:
        yield f"compute.gpus: {study.compute.gpus} with compute.device cpu; take 0, or device cuda"


def explain(error: Mapping[str, Any]) -> str:
    """One pydantic error as a line that names the key, what it got and what it takes."""
    path = [str(part) for part in error["loc"] if part != "[key]"]
    # A name with a line end in it is shown escaped: each problem is one line.
    key = ".".join(part if part.isprintable() else repr(part) for part in path)
    kind, given = error["type"], error["input"]
    if path[-1] == "api_key_env":  # someone may have put the key itself there: it is not repeated
        return f"{key}: takes the name of an environment variable, such as OPENAI_API_KEY"
    if kind == "extra_forbidden":
        return f"{key}: there is no such key{_nearest(path[-1], _keys(path[:-1]))}"
    if kind == "missing":
        return f"{key}: missing; it is needed. {_description(path)}"
    if kind == "literal_error":
        known = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{key}: got {given!r}, takes one of {', '.join(known)}{_nearest(str(given), known)}"
    return f"{key}: got {given!r} ({type(given).__name__}), {_takes(str(error['msg']))}"


def _takes(message: str) -> str:
    message = message.replace("Input should be", "takes").replace("String should", "should")
    return message[0].lower() + message[1:]


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(known)}" if known else ""


def _section(path: Iterable[str]) -> type[BaseModel] | None:
    """The model that the keys at `path` belong to."""
    section: type[BaseModel] | None = Study
    for part in path:
        field = section.model_fields.get(part) if section else None
        if field is None:  # a name inside a mapping: models.<name>, tasks.<name>
            continue
        section = next((t for t in _types(field.annotation) if issubclass(t, BaseModel)), None)
    return section


def _types(annotation: Any) -> Iterable[type]:
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


def _keys(path: list[str]) -> list[str]:
    section = _section(path)
    return list(section.model_fields) if section else []


def _description(path: list[str]) -> str:
    section = _section(path[:-1])
    field = section.model_fields.get(path[-1]) if section else None
    return (field.description if field else None) or ""


def trained_variants(study: Study) -> list[str]:
    """The untuned model and every variant of the study, in the order of the report."""
    return [UNTUNED, *study.variants]


def runs(study: Study) -> list[Run]:
    """Every run of a study: the untuned model once, every variant with every training seed."""
    return [
        Run(model, task, variant, seed)
        for model in study.models
        for task in study.tasks
        for variant in trained_variants(study)
        for seed in ([0] if variant == UNTUNED else study.training_seeds)
    ]
