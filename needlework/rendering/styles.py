"""The prompts that examples are shown in: read from styles.yaml, looked up by `Example.style`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from needlework.examples import Document, Example

_FILE = Path(__file__).with_name("styles.yaml")


class Style(BaseModel):
    """One prompt; styles.yaml says what each part is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    before: str
    document: str
    title: str
    after: str
    opening: str
    cut: Literal["any", "last"] = "any"
    whole: bool = False
    stop: Literal["line", "end"] = "line"
    alone: bool = False

    def block(self, document: Document, number: int) -> str:
        """A document as it is shown."""
        title = self.title.format(title=document.title) if document.title else ""
        return self.document.format(number=number, title=title, text=document.text)

    def text_start(self, document: Document, number: int) -> int:
        """Characters of the block before the document's own text."""
        return len(self.block(document.model_copy(update={"text": ""}), number)) - len(
            self.document.partition("{text}")[2]
        )

    def number_span(self, number: int) -> tuple[int, int] | None:
        """The characters [start, end) of a block that show the document's number, if any do."""
        head, found, _ = self.document.partition("{number}")
        return (len(head), len(head) + len(str(number))) if found else None


@cache
def styles() -> dict[str, Style]:
    """Every style by name."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Style]).validate_python(content)


def style_of(example: Example) -> Style:
    """The style that an example names.

    Raises:
        ValueError: there is no such style.
    """
    style = styles().get(example.style)
    if style is None:
        known = ", ".join(styles())
        raise ValueError(f"{example.id}: there is no style {example.style!r}; known: {known}")
    return style
