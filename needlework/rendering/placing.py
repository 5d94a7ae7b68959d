"""An example in another context: its gold document at a chosen place, or no documents at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from needlework.examples import Example
from needlework.rendering.fitting import with_documents
from needlework.rendering.prompt import Unrenderable
from needlework.rendering.styles import style_of


class Positions(NamedTuple):
    """So many documents, and the places of the gold one among them, from 1."""

    documents: int
    gold: Sequence[int]


def placed(example: Example, documents: int, place: int) -> Example:
    """The gold document at `place`, from 1, among the first distractors, `documents` in all.

    Distractors keep the order in which the corpus drew them, best first where they were retrieved:
    those of a smaller context are among those of a larger one, and the same at every place.

    Raises:
        Unrenderable: the example has several gold documents, or none, or too few distractors.
        ValueError: there is no such place.
    """
    if not 1 <= place <= documents:
        raise ValueError(f"the place {place} is not among {documents} documents, counted from 1")
    golds = [document for document in example.documents if document.gold]
    others = [document for document in example.documents if not document.gold]
    if len(golds) != 1:
        raise Unrenderable(
            f"{example.id}: {len(golds)} documents are gold; only one can be put at a place, so "
            "leave the positions off for this task",
            "not one gold document",
        )
    if len(others) < documents - 1:
        raise Unrenderable(
            f"{example.id}: {len(others) + 1} documents, fewer than the {documents} of the "
            "positions; take fewer there, or raise `length`",
            "too few documents for the positions",
        )
    return with_documents(
        example, [*others[: place - 1], *golds, *others[place - 1 : documents - 1]]
    )


def without_documents(example: Example) -> Example:
    """The question alone, without documents and needles.

    Raises:
        ValueError: the style says that the question makes no sense without them, because it is
            about them or its answer names them.
    """
    if not style_of(example).alone:
        raise ValueError(
            f"{example.id}: a question of the style {example.style!r} cannot be asked without its "
            "documents; leave closed_book off for this task"
        )
    return example.model_copy(update={"documents": [], "needles": [], "style": "closed_book"})
