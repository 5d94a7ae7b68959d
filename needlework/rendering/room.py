"""How much text fills a length: documents are taken until every tokenizer of a study is served."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from needlework.examples import Document, Example
from needlework.rendering.placing import Positions, placed
from needlework.rendering.prompt import render_whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Texts of pools come again and again, dictionaries never: so many sizes are kept at most.
_REMEMBERED = 300_000
# A context takes the same tokens wherever its gold document is, but for a few where blocks meet.
_BETWEEN_PLACES = 32


class Room:
    """The tokens that the documents of an example may take, by the tokenizers of a study.

    Examples are made with a little more text than the longest prompt holds, under each tokenizer;
    `fit` cuts them to a model's own tokens. So one file of examples serves every model.
    """

    def __init__(
        self,
        tokenizers: Sequence[PreTrainedTokenizerBase],
        length: int,
        positions: Positions | None = None,
    ) -> None:
        """`length` is that of prompt and answer together, in tokens.

        `positions`: how the test examples have to be shown as well.
        """
        self.length = length
        self._positions = positions
        self._tokenizers = list(tokenizers)
        self._sizes: dict[tuple[str, str], int] = {}

    def measure(self, documents: Iterable[Document]) -> None:
        """Count the tokens of many documents at once, which is faster than one by one."""
        if len(self._sizes) > _REMEMBERED:
            self._sizes.clear()
        new = {(d.title, d.text): None for d in documents if (d.title, d.text) not in self._sizes}
        shown = [f"{title} {text}\n" for title, text in new]
        counts = [
            [len(ids) for ids in tokenizer(shown, add_special_tokens=False)["input_ids"]]
            for tokenizer in self._tokenizers
            if shown
        ]
        self._sizes.update(zip(new, map(min, zip(*counts, strict=True)), strict=True))

    def size(self, document: Document) -> int:
        """Tokens that a document takes under the tokenizer that needs the fewest for it."""
        key = (document.title, document.text)
        if key not in self._sizes:
            self.measure([document])
        return self._sizes[key]

    def is_full(self, documents: Iterable[Document]) -> bool:
        """Whether the documents alone take the whole length, under each tokenizer."""
        return sum(map(self.size, documents)) >= self.length

    def check_positions(self, example: Example) -> None:
        """Nothing, where an example can be shown in the positions, under each tokenizer.

        Raises:
            Unrenderable: it cannot.
        """
        if self._positions is not None:
            number, places = self._positions
            for tokenizer in self._tokenizers:
                for place in places:
                    shown = render_whole(placed(example, number, place), tokenizer, self.length)
                    if shown.length <= self.length - _BETWEEN_PLACES:
                        break

    def fill(self, documents: Sequence[Document], more: Iterable[Document]) -> list[Document]:
        """`documents` and as many of `more`, in their order, as it takes to be full.

        The result may fall short of full where `more` ends early: ask `is_full`.
        """
        taken = list(documents)
        size = sum(map(self.size, taken))
        remaining = iter(more)
        while size < self.length and (document := next(remaining, None)) is not None:
            taken.append(document)
            size += self.size(document)
        return taken
