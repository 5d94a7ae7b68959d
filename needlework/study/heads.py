"""The keys of a study about attention heads: how they are scored, masked and patched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from needlework.study.values import Count, Draws, Section, TrainedVariant


class ProbeSection(Section):
    """Scores of all heads on the validation examples; docs/heads.md has the formulas."""

    kind: Literal["copy", "copy_repeats", "argmax", "mass", "topk"] = Field(
        "copy",
        description="The score that counts in comparisons; all are computed and written. copy: Wu "
        "et al., as the paper defines it; copy_repeats: as their code does; argmax: Zhao et al.'s "
        "wording; mass: attention on the needle; topk: HeadKV.",
    )
    role: Literal["answer", "bridge", "insight"] = Field(
        "answer",
        description="The needles that count in comparisons; all that a task has are scored. "
        "answer: retrieval heads; bridge: those of the hops before; insight: insight heads.",
    )
    answers: Literal["own", "gold"] = Field(
        "own",
        description="Whether the model answers greedily (Wu et al.) or is given the gold answer, "
        "token by token, which takes one pass.",
    )
    instances: Literal["all", "correct"] = Field(
        "all",
        description="Whether all examples count or those answered right. all: Wu et al., the "
        "paper; their code takes correct ones.",
    )
    mass_rows: Literal["answer", "question"] = Field(
        "answer",
        description="Rows of which mass is the mean: those that produce the answer, ours, or those "
        "of the question and what follows it, QRHead.",
    )
    mass_span: Literal["needle", "document"] = Field(
        "needle", description="Whether mass counts the needle, ours, or its document, QRHead."
    )
    null_question: bool = Field(
        False,
        description="Whether mass is less that of the null question N/A, QRHead; a second pass, "
        "and takes mass_rows: question.",
    )
    max_new_tokens: Count = Field(24, description="Longest answer while heads are scored. Ours.")
    batch: Count = Field(1, description="Examples answered together; 8 is faster below 1K tokens.")
    top: Count = Field(
        20,
        description="Size of the top-k head sets, beside the sets of all positive heads. Ours: "
        "7 % of the heads of the bundled model; Wu et al. find 3 to 6 % above 0.1.",
    )
    resamples: Annotated[int, Field(ge=100)] = Field(
        1000, description="Bootstrap resamples of the probe for comparisons of heads. Ours."
    )

    @model_validator(mode="after")
    def _null_has_rows(self) -> ProbeSection:
        if self.null_question and self.mass_rows != "question":
            raise ValueError("null_question takes mass_rows: question; an answer's rows have none")
        return self


class MaskingSection(Section):
    """Masks of the highest-scoring heads of a run, and controls."""

    variants: list[TrainedVariant] | None = Field(
        None, description="Runs whose heads are masked; null: all, the untuned model too."
    )
    test_examples: Count | None = Field(
        None, description="Test examples that are answered under every mask; null: all."
    )
    top: list[Count] = Field(
        [1, 2, 5, 10, 20, 50, 100],
        min_length=1,
        description="How many heads to mask, one condition each. Zhao et al. mask 10; Wu et al. 2 "
        "to 100.",
    )
    kinds: list[Literal["zero", "uniform", "mean"]] = Field(
        ["zero"],
        min_length=1,
        description="What takes the place of a head's output: nothing; that of uniform attention "
        "(Wu et al.); its mean over the probe. Zhao et al. do not say; zero is ours.",
    )
    during: list[Literal["decoding", "prefill", "both"]] = Field(
        ["decoding"],
        min_length=1,
        description="Rows that are masked: those that produce the answer (Wu et al.), all before, "
        "or both.",
    )
    controls: list[Literal["random", "lowest"]] = Field(
        ["random", "lowest"],
        description="Masks of as many heads that are none of the top: drawn outside of all scored "
        "heads, or the lowest-scoring ones.",
    )
    draws: Draws = Field(10, description="Random sets for every size. Ours.")
    layer_matched: bool = Field(
        True, description="Random sets have as many heads in each layer as the top ones. Ours."
    )


class PatchingSection(Section):
    """Outputs of heads of one run put into another: does it then answer as well?"""

    source: TrainedVariant | None = Field(
        None, description="Run that gives outputs; null: real, or else the first variant."
    )
    targets: list[TrainedVariant] | None = Field(
        None, description="Runs that are patched; null: all variants but the source."
    )
    test_examples: Count | None = Field(
        None, description="Test examples that are answered under every patch; null: all."
    )
    heads: Literal["positive", "above", "top"] = Field(
        "positive",
        description="Which heads count as a run's: all with a positive score (Zhao et al.), those "
        "above 0.1 (Wu et al.), or the probe's top.",
    )
    sets: list[Literal["intersection", "complement", "random"]] = Field(
        ["intersection", "complement", "random"],
        min_length=1,
        description="Heads to patch: those of both runs, those that only the source has, or as "
        "many at random that neither has.",
    )
    positions: list[Literal["last", "all"]] = Field(
        ["last"],
        min_length=1,
        description="Where: at the last position of each step, or at every position. Zhao et al. "
        "follow Prakash et al. (2024), who choose positions; last is ours.",
    )
    draws: Draws = Field(10, description="Random sets. Ours.")
    layer_matched: bool = Field(
        True, description="Random sets have as many heads in each layer as the intersection. Ours."
    )
    equal_sizes: bool = Field(
        True,
        description="Cut intersection and complement to the smaller of the two, so that a "
        "difference is not one of size. Ours.",
    )
