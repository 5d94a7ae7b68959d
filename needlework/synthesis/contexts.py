"""Contexts of low diversity: repeated filler, document for document as long as the real ones."""

from __future__ import annotations

import random
from itertools import cycle

from needlework.examples import Document, Example, Needle
from needlework.synthesis.gates import answer_start

# The repeated sentences of the literature (Mohtashami and Jaggi, arXiv 2305.16300, section 4.2;
# Zhao et al., arXiv 2410.22316, poster).
FILLER = (
    "The grass is green.",
    "The sky is blue.",
    "The sun is yellow.",
    "Here we go.",
    "There and back again.",
)


def filler_sentences(characters: int) -> list[str]:
    """Whole filler sentences, repeated, of about `characters` characters; at least one."""
    sentences: list[str] = []
    size = 0
    for sentence in cycle(FILLER):
        size += len(sentence) + 1
        if sentences and size > characters:
            return sentences
        sentences.append(sentence)
    raise AssertionError("cycle of a non-empty tuple does not end")


def in_filler(
    example: Example, sentences: list[str], answers: list[str], rng: random.Random
) -> tuple[list[Document], list[Needle]]:
    """The documents of `example` replaced by filler, its needles by `sentences`.

    The gold document of each hop keeps its place and about its length, and holds the hop's
    sentence among filler sentences. Titles are dropped: they would give the gold away.

    Args:
        example: the real example that gives number, order and length of the documents.
        sentences: what states each hop's fact, in hop order.
        answers: the answer of each hop, which its sentence contains.
        rng: decides where in its document a sentence stands.

    Returns:
        The documents, and one needle per hop, on the answer in its sentence; the last hop's
        has the role "answer", those before it "bridge".

    Raises:
        ValueError: a sentence does not contain its answer as whole words.
    """
    hops = {needle.document: needle.hop for needle in example.needles}
    documents, needles = [], []
    for document in example.documents:
        hop = hops.get(document.id)
        if hop is None:
            text = " ".join(filler_sentences(len(document.text)))
        else:
            sentence, answer = sentences[hop - 1], answers[hop - 1]
            lines = filler_sentences(max(0, len(document.text) - len(sentence)))
            place = rng.randint(0, len(lines))
            text = " ".join([*lines[:place], sentence, *lines[place:]])
            inside = answer_start(sentence, answer)
            if inside is None:
                raise ValueError(f"{example.id}: {sentence!r} does not contain {answer!r}")
            start = text.index(sentence) + inside
            (real,) = (n for n in example.needles if n.document == document.id)
            needles.append(real.model_copy(update={"start": start, "end": start + len(answer)}))
        documents.append(Document(id=document.id, title="", text=text, gold=document.gold))
    return documents, needles
