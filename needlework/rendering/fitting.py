"""Which distractors of an example are shown, and how much of the last ones, to fit a length."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from needlework.examples import Document, Example, citation
from needlework.provenance import derived_seed
from needlework.rendering.styles import Style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Where a document may end, and what closes it there.
_ENDS = {
    "word": (re.compile(r"(?<=\w)(?=\s)|(?<=[.,;:!?])(?=\s)"), ""),
    "sentence": (re.compile(r"(?<=[.!?])(?=\s)"), ""),
    "entry": (re.compile(r"(?=, )"), "}"),
}
# So many pairs of ends are looked at, to leave as little as can be.
_ENDS_COMPARED = 60


class _Piece(NamedTuple):
    """The beginning of a distractor: its text, and the tokens that its block then takes."""

    text: str
    size: int


def without_distractors(example: Example) -> Example:
    """The example with its gold documents alone."""
    return _showing(example, {})


class Fitting:
    """An example's distractors with their sizes, ready to be cut to any budget of tokens."""

    def __init__(
        self, example: Example, style: Style, tokenizer: PreTrainedTokenizerBase, order: int = 0
    ) -> None:
        """`order` chooses one of the random orders in which distractors are left out."""
        self._example = example
        self._style = style
        self._tokenizer = tokenizer
        numbered = enumerate(example.documents, start=1)
        others = [(number, document) for number, document in numbered if not document.gold]
        if style.cut == "any":
            random.Random(derived_seed("render", example.id, order)).shuffle(others)
        self._documents = [document for _, document in others]
        self._blocks = [style.block(document, number) for number, document in others]
        # A line end is read otherwise at the end of a text than before the next document.
        following = style.document.split()[0].strip("{}") or "The"
        beside = len(tokenizer(following, add_special_tokens=False)["input_ids"])
        shown = [block + following for block in self._blocks]
        encoded = tokenizer(shown, add_special_tokens=False)["input_ids"] if shown else []
        self._ends = [0]  # tokens of the first n distractors together
        for ids in encoded:
            self._ends.append(self._ends[-1] + len(ids) - beside)
        self._pieces: dict[int, list[_Piece]] = {}

    def all_fits(self, budget: int) -> bool:
        """Whether every distractor is shown whole within the budget."""
        return self._ends[-1] <= budget

    def cut(self, budget: int) -> Example:
        """The example with so many distractors that their blocks take about `budget` tokens."""
        whole = bisect_right(self._ends, budget) - 1
        texts = {document.id: document.text for document in self._documents[:whole]}
        if whole < len(self._documents):
            texts |= self._ends_of_two(whole, budget)
        return _showing(self._example, texts)

    def _ends_of_two(self, whole: int, budget: int) -> dict[str, str]:
        """The beginning of the first distractor that does not fit, and of the one before it.

        The second gives way by a little where this lets both together come closer to the budget.
        """
        left = budget - self._ends[whole]
        cut = [_Piece("", 0), *self._pieces_of(whole)]
        best = max((piece for piece in cut if piece.size <= left), key=lambda piece: piece.size)
        texts = {self._documents[whole].id: best.text} if best.text else {}
        if best.size == left or not whole:
            return texts
        before = self._documents[whole - 1]
        full = self._ends[whole] - self._ends[whole - 1]
        sizes = sorted(cut, key=lambda piece: piece.size)
        keys = [piece.size for piece in sizes]
        for shorter in reversed(self._pieces_of(whole - 1)[-_ENDS_COMPARED:]):
            room = left + full - shorter.size
            second = sizes[bisect_right(keys, room) - 1] if shorter.size < full else None
            if second and shorter.size + second.size > full + best.size:
                best = _Piece(second.text, second.size + shorter.size - full)
                texts = {before.id: shorter.text, self._documents[whole].id: second.text}
                texts = {key: text for key, text in texts.items() if text}
        return texts

    def _pieces_of(self, index: int) -> list[_Piece]:
        """The beginnings of a distractor, shortest first, without the whole of it."""
        if index not in self._pieces:
            document, block = self._documents[index], self._blocks[index]
            ends, close = _ENDS[document.unit]
            offsets = self._tokenizer(
                block, add_special_tokens=False, return_offsets_mapping=True
            )["offset_mapping"]  # fmt: skip
            starts = [start for start, _ in offsets]
            before = block.index(document.text)
            after = len(block) - before - len(document.text)
            tail = bisect_right(starts, len(block)) - bisect_right(starts, len(block) - after - 1)
            self._pieces[index] = [
                _Piece(
                    document.text[: match.start()] + close,
                    bisect_right(starts, before + match.start() - 1) + tail + len(close),
                )
                for match in ends.finditer(document.text)
                if match.start()
            ]
        return self._pieces[index]


def _showing(example: Example, texts: dict[str, str]) -> Example:
    """The example with its gold documents and those distractors that `texts` has a text for."""
    documents = [
        d if d.gold or texts[d.id] is d.text else d.model_copy(update={"text": texts[d.id]})
        for d in example.documents
        if d.gold or d.id in texts
    ]
    update: dict[str, object] = {"documents": documents}
    if example.cites:
        update["answers"] = [citation(documents, example.cites)]
    return example.model_copy(update=update)
