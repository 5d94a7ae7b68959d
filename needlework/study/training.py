"""The keys of a study about fine-tuning, and about runs that are trained otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from needlework.study.values import Count, Number, Section, VariantName


class TrainingSection(Section):
    """Fine-tuning; the loss is on answer tokens only (Xiong et al., arXiv 2406.19292)."""

    method: Literal["lora", "full"] = Field(
        "lora",
        description="lora: low-rank adapters (Zhao et al.); full: the weights of the modules "
        "themselves (Xiong et al., all attention layers).",
    )
    target_modules: list[str] | Literal["all-linear"] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj"],
        min_length=1,
        description="Modules that are tuned, or all-linear. Zhao et al. tune attention; which of "
        "its projections is not published, all four are ours.",
    )
    rank: Count = Field(8, description="LoRA rank. 8: Zhao et al., training setup.")
    alpha: Count = Field(8, description="LoRA alpha. 8: Zhao et al., training setup.")
    dropout: Number = Field(0.0, ge=0, lt=1, description="LoRA dropout. Not published; ours.")
    learning_rate: Number = Field(
        1e-4,
        gt=0,
        description="Peak learning rate of AdamW. Not published by Zhao et al.; ours for LoRA on "
        "8B models. Xiong et al.: 5e-6 with full.",
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="Learning-rate schedule. Not published; ours."
    )
    warmup: Number = Field(
        0.1, ge=0, lt=1, description="Share of the steps that warm up. Not published; ours."
    )
    weight_decay: Number = Field(0.0, ge=0, description="AdamW weight decay. Not published; ours.")
    max_grad_norm: Number = Field(
        1.0, gt=0, description="Gradients are clipped to this norm. Not published; TRL's."
    )
    epochs: Number = Field(
        1.0, gt=0, description="Passes over the data. Zhao et al.: not published; ours. "
        "Xiong et al.: 2."
    )  # fmt: skip
    batch: Count = Field(
        4, description="Examples of one optimizer step. 1 x 4 accumulated: Zhao et al.; 16: Xiong "
        "et al."
    )  # fmt: skip
    batch_per_device: Count = Field(
        1,
        description="Examples of one forward pass. 1: Zhao et al., and fastest on a CPU.",
    )
    validation_loss: bool = Field(
        True, description="Compute the loss on the variant's validation data after training."
    )
    activation_checkpointing: Literal["auto", "none", "selective", "full"] = Field(
        "auto",
        description="Compute activations again to save memory: none, all, or all but what "
        "attention gives (selective). auto: none below 4,096 tokens, else selective. Ours.",
    )
    deepspeed: Literal[1, 2, 3] | None = Field(
        None, description="ZeRO stage of DeepSpeed; null: without, where one GPU is enough."
    )
    stop_above: Annotated[Number, Field(gt=1)] = Field(
        3.0, description="A loss above this multiple of its start stops the job. Ours."
    )

    @model_validator(mode="after")
    def _full_has_names(self) -> TrainingSection:
        if self.method == "full" and self.target_modules == "all-linear":
            raise ValueError("method full takes a list of target_modules, not all-linear")
        return self


class ControlSection(Section):
    """A run that is trained otherwise than the variants, to compare with them."""

    variant: VariantName = Field(description="The variant whose data it is trained on.")
    length: Annotated[int, Field(ge=64)] | None = Field(
        None,
        description="Longest training example in tokens, to tune on a short context; null: the "
        "study's length.",
    )
    examples: Count | None = Field(
        None, description="Training examples, the same first ones for every seed; null: all."
    )
    training: dict[str, Any] = Field(
        {}, description="Keys of `training` that differ, such as target_modules: all-linear."
    )
