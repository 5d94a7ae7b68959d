"""The keys of a study about its base models: where they are, how far they reach, who hosts them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from needlework.study.values import Count, Number, Section


class ContextSection(Section):
    """A base model made to read more tokens than it was trained on."""

    method: Literal["theta", "linear", "dynamic", "yarn"] = Field(
        "theta",
        description="theta: another RoPE base (Zhao et al., after Gradient 2024); linear, dynamic, "
        "yarn: the scalings of these names in transformers.",
    )
    trained_length: Count | None = Field(
        None,
        description="Tokens that the model was trained on; null: its positions. 8192 for "
        "Mistral-7B-v0.1, whose configuration says 32768: Zhao et al.'s theta follows from it.",
    )
    length: Count | None = Field(
        None, description="Tokens that it is made to read; null: the study's length."
    )
    theta: Annotated[Number, Field(gt=1)] | None = Field(
        None,
        description="RoPE base; null: theta ** (ln(length / 2 pi) / ln(trained_length / 2 pi)), "
        "which gives Zhao et al.'s 6315088 and 59300.",
    )
    window: Literal["scale", "keep"] | Count = Field(
        "scale",
        description="Sliding window of a model that has one: scale it as the length is (4096 to "
        "16384 from 8K to 32K: Zhao et al.), keep it, or a number of tokens.",
    )


Auto = Literal["auto"]


class HostedSection(Section):
    """A model that is tuned and asked through an API of OpenAI's form."""

    base_url: str = Field(
        "https://api.openai.com/v1",
        pattern=r"^https?://[^@\s]+$",  # keys and passwords have no place in a study
        description="Address of the server, ending in /v1.",
    )
    api_key_env: str | None = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="Name of the environment variable that holds the key, never the key itself.",
    )
    epochs: Auto | Count = Field(
        "auto", description="Passes over the data. Xiong et al. say 2 and 3; auto: the API's."
    )
    batch: Auto | Count = Field("auto", description="Examples of one step; auto: the API's.")
    learning_rate_multiplier: Auto | Annotated[Number, Field(gt=0)] = Field(
        "auto", description="Of the API's own learning rate; auto: the API's."
    )
    poll: Annotated[Number, Field(gt=0)] = Field(
        60.0, description="Seconds between two looks at a job. Ours."
    )
    concurrency: Count = Field(
        8, description="Questions asked at the same time, at most; fewer while refused. Ours."
    )


class ModelSection(Section):
    """One base model."""

    source: str = Field(
        description="A bundled name (smollm2-135m-instruct, tiny-random-llama, "
        "tiny-random-mistral), a folder, or a hub id (owner/name); the API's name of a hosted one."
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch of a hub model; null takes its default branch."
    )
    context: ContextSection | None = Field(
        None, description="How its context is extended; null: not at all. {} takes every default."
    )
    hosted: HostedSection | None = Field(
        None,
        description="A model behind an API: it is tuned and answers there; its heads are not seen.",
    )
    tokenizer: str | None = Field(
        None,
        description="Of a hosted model: a bundled name, folder or hub id whose tokenizer counts "
        "its tokens.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> ModelSection:
        if self.hosted is None and self.tokenizer is not None:
            raise ValueError("tokenizer is for a hosted model; any other brings its own")
        if self.hosted is not None and self.tokenizer is None:
            raise ValueError("a hosted model takes a tokenizer, which counts its tokens")
        if self.hosted is not None and (self.context or self.revision):
            raise ValueError("a hosted model takes neither context nor revision")
        return self
