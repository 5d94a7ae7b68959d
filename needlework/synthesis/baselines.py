"""Long-context training sets of other shapes, to compare with: needle in a haystack, MultidocQA.

The shapes are those of the baselines of Xiong et al. (arXiv 2406.19292, section 3.4), which were
not released; the wording is ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from needlework.examples import Document, Example, Needle
from needlework.text import contains_answer

if TYPE_CHECKING:
    from needlework.rendering.room import Room

_NUMBERS = range(1_000_000, 10_000_000)
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+")


def needle_in_haystack(
    name: str,
    room: Room,
    rng: random.Random,
    *,
    town: str,
    haystack: Sequence[str],
    depth: float | None = None,
) -> Example:
    """One sentence with an invented number, between the sentences of a long text.

    Args:
        name: the example's id.
        room: the length to fill.
        rng: draws the number, where the text begins, and the needle's place.
        town: the name that the number is asked for by; one that is not in the haystack.
        haystack: paragraphs of whole sentences, taken in this order from a random one on, and from
            the first again after the last. They are shared, not copied, by all examples. The one
            with the needle is never cut: paragraphs are to be short beside the length.
        depth: of the needle's paragraph: 0 first, 1 last, None uniform.

    Raises:
        ValueError: the haystack is empty, or one of its paragraphs is.
    """
    if not haystack or not all(map(str.strip, haystack)):
        raise ValueError(
            f"haystack has {len(haystack)} paragraphs; expected some, none of them empty"
        )
    room.measure(_paragraph(0, text) for text in haystack)
    first = rng.randrange(len(haystack))
    endless = (_paragraph(i, haystack[(first + i) % len(haystack)]) for i in count())
    documents = room.fill([], endless)
    # One more than fills the room, so that there is something to cut off.
    documents.append(_paragraph(len(documents), haystack[(first + len(documents)) % len(haystack)]))
    place = rng.randrange(len(documents)) if depth is None else round(depth * (len(documents) - 1))

    number = str(rng.choice(_NUMBERS))
    while any(contains_answer(document.text, number) for document in documents):
        number = str(rng.choice(_NUMBERS))
    sentence = f"The secret number of the town of {town} is {number}."
    text, start = _with_sentence(documents[place].text, sentence, rng)
    documents[place] = documents[place].model_copy(update={"text": text, "gold": True})
    end = start + len(sentence) - len(".")
    needle = Needle(
        document=documents[place].id, start=end - len(number), end=end, role="answer",
        relation="secret number",
    )  # fmt: skip
    return Example(
        id=name,
        task="needle_in_haystack",
        variant="needle_in_haystack",
        question=f"What is the secret number of the town of {town}?",
        answers=[number],
        documents=documents,
        needles=[needle],
        cluster=name,
        source={"first_paragraph": first},
        style="haystack",
    )


def _paragraph(index: int, text: str) -> Document:
    return Document(id=f"paragraph-{index}", title="", text=text, gold=False, unit="sentence")


def _with_sentence(paragraph: str, sentence: str, rng: random.Random) -> tuple[str, int]:
    """The paragraph with a sentence among its own, and where that begins."""
    sentences = _BETWEEN_SENTENCES.split(paragraph.strip())
    place = rng.randint(0, len(sentences))
    before = " ".join([*sentences[:place], ""])
    return " ".join([*sentences[:place], sentence, *sentences[place:]]), len(before)


def multidoc_qa(example: Example) -> Example:
    """A real example whose answer first names, by their titles, the documents it is from.

    Documents, needles and accepted answers stay; the longer answer is the first of them.

    Raises:
        ValueError: the answer cites documents already, there is no needle, or a gold document has
            no title.
    """
    if example.cites or not example.needles:
        raise ValueError(
            f"{example.id}: expected a short answer with needles in its documents, found "
            f"{len(example.needles)} needles and the citations {example.cites}"
        )
    titles = {document.id: document.title for document in example.documents}
    hops = sorted(example.needles, key=lambda needle: needle.hop)
    named = dict.fromkeys(titles[needle.document] for needle in hops)
    if not all(named):
        raise ValueError(f"{example.id}: a gold document has no title, so no answer can name it")
    listed = " and ".join(f'"{title}"' for title in named)
    answer = f"According to {listed}, {example.answers[0].rstrip('.')}."
    return Example(
        **{
            **dict(example),
            "variant": "multidoc_qa",
            "question": f"{example.question} First name the documents that say so by their titles.",
            "answers": [answer, *example.answers],
            "source": {**example.source, "from": example.id},
        }
    )
