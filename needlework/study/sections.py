"""Every key of a study, its type, its default, and where the default is from.

Strict: an unknown key, a wrong type or an impossible value is an error that names the key, what it
got, what it takes, and the nearest valid name. The JSON schema for editors is generated from here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from needlework.study.evaluation import EvaluationSection, GeneralSection, StatisticsSection
from needlework.study.heads import MaskingSection, PatchingSection, ProbeSection
from needlework.study.models import ModelSection
from needlework.study.tasks import TasksSection
from needlework.study.training import ControlSection, TrainingSection
from needlework.study.values import Count, Name, Number, Section, VariantName


class GeneratorSection(Section):
    """The language model that rewrites facts, behind any OpenAI-compatible server."""

    base_url: str | None = Field(
        None,
        pattern=r"^https?://[^@\s]+$",  # keys and passwords have no place in a study
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
    concurrency: Count = Field(
        4, description="Requests at the same time, at most; fewer while the server refuses. Ours."
    )
    timeout: Annotated[Number, Field(gt=0)] = Field(
        600.0,
        description="Seconds for one try of a request: a server that stalls is asked again then. "
        "Ours: long enough for a server that computes other requests first.",
    )
    documents: Count | None = Field(
        None,
        description="Distractors that are written for contexts of the level high, at most, for "
        "each task; null: one on the topic of every real distractor.",
    )
    document_tokens: Count = Field(160, description="Longest written document, in tokens. Ours.")
    batch_api: bool = Field(
        False, description="Ask through the server's Batch API: half the price, within a day."
    )
    requests_per_minute: Count | None = Field(
        None, description="Requests a minute, at most; null: as the server lets."
    )
    tokens_per_minute: Count | None = Field(
        None, description="Tokens a minute, at most; null: as the server lets."
    )
    budget_usd: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="Stop before more than this is spent on one task; null: no limit."
    )


class ComputeSection(Section):
    """Where models run."""

    device: str = Field("cpu", pattern=r"^(cpu|cuda)$", description="cpu or cuda.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of weights and activations. auto: bfloat16 on a GPU and on a CPU "
        "with its instructions, without which it is up to 200 times slower; else float32.",
    )
    attention: Literal["auto", "flash_attention_3", "flash_attention_2", "sdpa", "eager"] = Field(
        "auto",
        description="What computes attention. auto: FlashAttention 3 or 2, by what is installed "
        "and the GPU can do, else sdpa; the log says which.",
    )
    threads: Count = Field(
        8,
        description="Threads of a job that runs a model; Snakemake cuts it to --cores. Two jobs of "
        "two threads on two cores are four times slower than one after the other.",
    )
    memory_mb: Count = Field(4000, description="Memory of a job that runs a model, in MB.")
    gpus: int = Field(
        0,
        ge=0,
        description="GPUs of a training job; 1 for cuda. Several take DeepSpeed, or else each a "
        "whole model. Any other job that runs a model takes one at most.",
    )
    sustained_tflops: Annotated[Number, Field(gt=0)] = Field(
        500.0,
        description="TFLOP/s that a GPU is taken to do in the estimate before a run: half of an "
        "H100's dense bfloat16 peak.",
    )


class Study(Section):
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
    tasks: TasksSection = Field(description="The real tasks, at least one.")
    variants: list[VariantName] = Field(
        min_length=1,
        description="The training data to compare, in the order of the report; docs/data.md says "
        "what each is. A mixture is written with its shares: real:0.2+symbolic:0.8.",
    )
    controls: dict[Name, ControlSection] = Field(
        {},
        description="Runs that are trained otherwise, by the names they have in the results: fewer "
        "examples, a shorter context, other modules.",
    )
    length: Annotated[int, Field(ge=64)] = Field(
        description="Prompt and answer in tokens of the model: no example is longer, and training "
        "examples are at most 1 % shorter. Made for 256 to 131,072."
    )
    generator: GeneratorSection = GeneratorSection()
    compute: ComputeSection = ComputeSection()
    training: TrainingSection = TrainingSection()
    probe: ProbeSection = ProbeSection()
    masking: MaskingSection | None = Field(
        None, description="Masks of heads; null: none. {} takes every default."
    )
    patching: PatchingSection | None = Field(
        None, description="Patches of heads; null: none. {} takes every default."
    )
    evaluation: EvaluationSection = EvaluationSection()
    general: GeneralSection | None = Field(
        None, description="General abilities; null: not asked. {} takes every default."
    )
    statistics: StatisticsSection = StatisticsSection()
