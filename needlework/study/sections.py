"""Every key of a study, its type, its default, and where the default is from.

Strict: an unknown key, a wrong type or an impossible value is an error that names the key, what it
got, what it takes, and the nearest valid name. The JSON schema for editors is generated from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from needlework.layout import Run
from needlework.study.heads import MaskingSection, PatchingSection, ProbeSection
from needlework.study.tasks import TasksSection
from needlework.study.values import UNTUNED, Count, Name, Number, Section, VariantName


class ModelSection(Section):
    """One base model."""

    source: str = Field(
        description="A bundled name (smollm2-135m-instruct, tiny-random-llama), a folder, or a "
        "hub id (owner/name)."
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch of a hub model; null takes its default branch."
    )


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


class TrainingSection(Section):
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


class EvaluationSection(Section):
    """Greedy answers to the test examples."""

    max_new_tokens: Count = Field(24, description="Longest answer, in tokens. Ours.")
    batch: Count = Field(8, description="Examples answered together. Ours.")


class StatisticsSection(Section):
    """Paired bootstrap over clusters of examples."""

    resamples: Annotated[int, Field(ge=1000)] = Field(
        10_000,
        description="Bootstrap resamples, shared by all variants. Ours; Koehn (2004): 1,000.",
    )
    level: Number = Field(0.95, gt=0.5, lt=1, description="Level of every interval.")
    alpha: Number = Field(
        0.05, gt=0, lt=0.5, description="Level of significance. 0.05: Zhao et al."
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
    statistics: StatisticsSection = StatisticsSection()


def trained_variants(study: Study) -> list[str]:
    """The untuned model and every variant of the study, in the order of the report."""
    return [UNTUNED, *study.variants]


def runs(study: Study, variants: Sequence[str] | None = None) -> list[Run]:
    """Every run of a study: the untuned model once, every variant with every training seed.

    Args:
        study: the study.
        variants: only runs of these; None: of all.
    """
    return [
        Run(model, task, variant, seed)
        for model in study.models
        for task in study.tasks.chosen()
        for variant in trained_variants(study)
        if variants is None or variant in variants
        for seed in ([0] if variant == UNTUNED else study.training_seeds)
    ]


def reference(study: Study) -> str:
    """The variant that the others are measured against: real data where a study has it."""
    return "real" if "real" in study.variants else study.variants[0]


def masked_runs(study: Study) -> list[Run]:
    """The runs whose heads are masked."""
    return runs(study, study.masking.variants) if study.masking else []


def patch_source(study: Study) -> str:
    """The variant whose heads are put into other runs."""
    given = study.patching.source if study.patching else None
    return given or reference(study)


def patched_runs(study: Study) -> list[Run]:
    """The runs that are patched."""
    if study.patching is None:
        return []
    others = [v for v in study.variants if v != patch_source(study)]
    return runs(study, others if study.patching.targets is None else study.patching.targets)
