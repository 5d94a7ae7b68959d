"""The real tasks of a study: how much of each is used, and where its files are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from needlework.study.values import Count, Section, Share


class TaskSection(Section):
    """How much of a real task is used; every task has these keys."""

    train: int = Field(
        ge=1,
        description="Training examples of every variant. Zhao et al. use 360 to 1,260 "
        "(arXiv 2410.22316); the default study takes what a laptop trains in minutes.",
    )
    spare: int = Field(
        0,
        ge=0,
        description="Further training questions that stand in where a variant could not be made "
        "of one, so that every variant has the same size.",
    )
    validation: int = Field(
        ge=1,
        description="Held-out real examples for the probe and the validation loss. Zhao et al. "
        "find about 40 enough.",
    )
    test: Count = Field(
        description="Real test examples; never trained on, never used to choose anything."
    )
    trained_on: str | None = Field(
        None,
        description="Another task of the study, whose adapters answer this one: it is then only "
        "asked; null: it has its own.",
    )


class PositionsSection(Section):
    """The test examples with so many documents, the gold one at each of these places."""

    documents: Annotated[int, Field(ge=2)] = Field(
        20, description="Documents of a context. 20: Liu et al., Xiong et al."
    )
    gold: list[Count] = Field(
        [1, 5, 10, 15, 20],
        min_length=1,
        description="Places of the gold document, from 1, one condition each. Liu et al.",
    )


class DepthSection(TaskSection):
    """A task whose gold documents can be put where one wants them in the test."""

    test_depths: list[Share] = Field(
        [],
        description="Depths of the gold document in the test, from 0 (first) to 1 (last), which "
        "examples take in turns; none: uniform, as in training.",
    )


class FactbookLookupSection(DepthSection):
    """One-hop questions over sections of the CIA World Factbook; comes with the installation."""

    documents: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="Documents of a context, at most; null: as many as fill the length.",
    )
    distractor_share: Share | None = Field(
        None,
        description="Share of the distractors that are of the needle's own relation, as tokens; "
        "null: as many as there are.",
    )

    positions: PositionsSection | None = Field(
        None, description="Ask with the gold document at chosen places as well; null: no."
    )


class FactbookChainSection(DepthSection):
    """Two- and three-hop questions over sections of the CIA World Factbook."""

    hops: list[Literal[2, 3]] = Field([2, 3], min_length=1, description="Numbers of hops.")


class FactbookCitationSection(DepthSection):
    """Which sections of the CIA World Factbook state a fact: answered by their numbers."""


class MdqaSection(DepthSection):
    """Natural Questions over retrieved passages (Liu et al., Lost in the Middle)."""

    path: str | None = Field(
        None, description="nq-open-oracle.jsonl(.gz); null: the downloaded file."
    )
    passages: str | None = Field(
        None,
        description="JSONL(.gz) of passages with title and text, from which distractors come; "
        "null: those that Liu et al. retrieved for all questions, downloaded.",
    )
    retriever: Literal["bm25", "contriever"] = Field(
        "bm25", description="What ranks the passages. Zhao et al. use Contriever."
    )
    retriever_model: str | None = Field(
        None, description="Hub id or folder for contriever; null: facebook/contriever."
    )
    distractors: Literal["retrieved", "random"] = Field(
        "retrieved",
        description="Retrieved passages, or random ones (the easier setting of Xiong et al.).",
    )
    test_distractors: list[Literal["retrieved", "random"]] = Field(
        [], description="Other distractors with which the same questions are asked as well."
    )
    positions: PositionsSection | None = Field(
        None, description="Ask with the gold document at chosen places as well; null: no."
    )


class MusiqueSection(DepthSection):
    """Two- to four-hop questions (Trivedi et al., MuSiQue)."""

    path: str | None = Field(
        None, description="Official JSONL(.gz) to train on; null: the downloaded train file."
    )
    test_path: str | None = Field(
        None, description="Official JSONL(.gz) to test on; null: a part of `path`."
    )
    passages: str | None = Field(
        None,
        description="JSONL(.gz) of passages with title and text, or of questions with such, for "
        "padding; null: none.",
    )
    hops: list[Literal[2, 3, 4]] = Field([2, 3, 4], min_length=1, description="Numbers of hops.")
    linear_only: bool = Field(
        False, description="Leave out questions whose hops join two earlier answers."
    )


class SummhaySection(DepthSection):
    """Which articles mention an insight (Laban et al., Summary of a Haystack)."""

    path: str | None = Field(
        None, description="Folder of topic files (JSON); null: the downloaded ones."
    )
    documents: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Articles of a context, at most; null: as many as fill the length."
    )
    ask: Literal["insight", "query"] = Field(
        "insight", description="Whether the question quotes the insight or asks the topic's query."
    )


class FlenqaSection(TaskSection):
    """True or false by a few facts in a padded text (Levy et al.); for evaluation."""

    train: int = Field(0, ge=0, description="Training examples; the paper has none.")
    validation: int = Field(0, ge=0, description="Held-out examples; the paper has none.")
    path: str | None = Field(None, description="The published rows; null: the downloaded file.")
    cot: bool = Field(False, description="Ask for steps before the verdict.")
    base_only: bool = Field(
        True, description="Only rows of the paper's main figure: random dispersion, no identity."
    )


class JsonlSection(DepthSection):
    """Your own questions: documents, question, answers, one object a line."""

    path: str = Field(description="JSONL(.gz) of your examples; docs/formats.md has the keys.")
    fill: bool = Field(
        False, description="Whether every context must fill the length with its own documents."
    )


class TasksSection(Section):
    """The real tasks of a study; each has its own keys."""

    factbook_lookup: FactbookLookupSection | None = Field(None, description="One hop.")
    factbook_chain: FactbookChainSection | None = Field(None, description="Two or three hops.")
    factbook_citation: FactbookCitationSection | None = Field(None, description="Citation.")
    mdqa: MdqaSection | None = Field(None, description="One hop, Natural Questions.")
    musique: MusiqueSection | None = Field(None, description="Two to four hops.")
    summhay: SummhaySection | None = Field(None, description="Citation of insights.")
    flenqa: FlenqaSection | None = Field(None, description="Short reasoning, padded.")
    jsonl: JsonlSection | None = Field(None, description="Your own.")

    def chosen(self) -> dict[str, TaskSection]:
        """The sections of the study's tasks by name, in the order of the report."""
        return {name: section for name in TASKS if (section := getattr(self, name)) is not None}


TASKS: tuple[str, ...] = tuple(TasksSection.model_fields)
