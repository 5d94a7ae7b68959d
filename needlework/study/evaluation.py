"""The keys of a study about what models are asked, and with what statistics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from needlework.study.values import Count, Number, Section, TrainedVariant


class EvaluationSection(Section):
    """Greedy answers to the test examples."""

    backend: Literal["transformers", "vllm"] = Field(
        "transformers",
        description="What answers: transformers, the reference, or vLLM, faster on a GPU and "
        "slightly different; it has an environment of its own.",
    )
    max_new_tokens: Count = Field(24, description="Longest answer, in tokens. Ours.")
    batch: Count = Field(8, description="Examples answered together. Ours.")
    lengths: list[Annotated[int, Field(ge=64)]] = Field(
        [],
        description="Lengths at which the test examples are asked as well, cut to fewer documents; "
        "the study's own is asked anyway.",
    )
    closed_book: bool = Field(
        False,
        description="Ask the question alone as well: what a model knows without the documents.",
    )


Benchmark = Literal["mmlu", "hellaswag", "gsm8k", "triviaqa", "nq_open"]


class GeneralSection(Section):
    """General abilities before and after fine-tuning, by lm-eval (Xiong et al., Table 2)."""

    benchmarks: list[Benchmark] = Field(
        ["mmlu", "hellaswag", "gsm8k", "triviaqa", "nq_open"],
        min_length=1,
        description="What is asked: those of Xiong et al.",
    )
    variants: list[TrainedVariant] | None = Field(
        None, description="Runs that are asked, beside the untuned model; null: all."
    )
    data: str | None = Field(
        None, description="Folder of local files, where no hub is at hand; null: the hub's."
    )
    limit: Count | None = Field(
        None, description="Questions of a benchmark, or of a subject of MMLU; null: all."
    )
    batch: Count = Field(8, description="Questions asked together. Ours.")


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
    margin: Number = Field(
        0.02,
        gt=0,
        lt=1,
        description="Difference of a general ability that counts as none: two one-sided tests are "
        "made against it. Ours.",
    )
