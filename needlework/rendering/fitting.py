"""Which distractors of an example are shown, and how much of the last ones, to fit a length."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from needlework.examples import Document, Example, citation
from needlework.provenance import derived_seed
from needlework.rendering.styles import Style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Where a document may end, and what closes it there.
_ENDS = {
    # Chinese and Japanese have no spaces: there a character is a word.
    "word": (re.compile(r"(?<=[\w.,;:!?])(?=\s)|(?<=[\u3040-\u30ff\u4e00-\u9fff])(?=\w)"), ""),
    "sentence": (re.compile(r"(?<=[.!?])(?=\s)"), ""),
    "entry": (re.compile(r"(?=, (?:\d+|\([\d, ]+\)|'[^']*'): )"), "}"),
}
# So many ends of distractors are tried together, to come close to a length; then so many.
_ENDS_TO_TRY = (40, 200)
# Of the length, what may be left before more ends are tried.
_SLACK = 0.002


class _Piece(NamedTuple):
    """The beginning of a distractor: its text, and the tokens that its block then takes."""

    text: str
    size: int


_NOTHING = _Piece("", 0)


def without_distractors(example: Example) -> Example:
    """The example with its gold documents alone."""
    return _showing(example, {})


def with_documents(example: Example, documents: Sequence[Document]) -> Example:
    """The example with these documents, all gold ones too, and the answer that cites them."""
    update: dict[str, object] = {"documents": list(documents)}
    if example.cites:
        update["answers"] = [citation(documents, example.cites)]
    return example.model_copy(update=update)


class Fitting:
    """An example's distractors with their sizes, ready to be cut to any budget of tokens."""

    def __init__(
        self,
        example: Example,
        style: Style,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        order: int = 0,
    ) -> None:
        """`order` chooses one of the random orders in which distractors are left out."""
        self._slack = int(_SLACK * length)
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
        first = whole
        last: dict[str, str] = {}
        if whole < len(self._documents):
            first, last = self._last(whole, budget)
        texts = {document.id: document.text for document in self._documents[:first]} | last
        return _showing(self._example, texts)

    def _last(self, whole: int, budget: int) -> tuple[int, dict[str, str]]:
        """The texts of the last distractors shown, and from which one on they are given.

        The last is the first that does not fit whole.
        Where the beginning of that one leaves too much of the budget, those before it give way by
        a little: of all ends that each may have, those are taken that together come closest.
        """
        cut = self._pieces_of(whole)
        left = budget - self._ends[whole]
        best = max((p for p in cut if p.size <= left), key=lambda p: p.size, default=_NOTHING)
        if left - best.size <= self._slack:
            return whole, {self._documents[whole].id: best.text} if best.text else {}
        for ends in _ENDS_TO_TRY:
            start, end = self._window(whole, ends)
            left = budget - self._ends[start]
            taken, pieces = self._closest(start, end, left)
            if left - taken <= self._slack:
                break
        names = [document.id for document in self._documents[start:end]]
        texts = {n: piece.text for n, piece in zip(names, pieces, strict=True) if piece.text}
        return start, texts

    def _closest(self, start: int, end: int, left: int) -> tuple[int, tuple[_Piece, ...]]:
        """The most tokens, up to `left`, that the distractors [start, end) can take, and how."""
        gaps = self._style.cut == "any"
        # By tokens, and whether the documents have ended: without gaps none may follow then.
        reached: dict[tuple[int, bool], tuple[_Piece, ...]] = {(0, False): ()}
        for index in range(start, end):
            size = self._ends[index + 1] - self._ends[index]
            whole_piece = _Piece(self._documents[index].text, size)
            options = [whole_piece, *reversed(self._pieces_of(index)), _NOTHING]
            sums: dict[tuple[int, bool], tuple[_Piece, ...]] = {}
            for (total, ended), pieces in reached.items():
                for piece in options if not ended else [_NOTHING]:
                    if total + piece.size <= left:  # the longest beginning comes first
                        key = (total + piece.size, ended or (piece is _NOTHING and not gaps))
                        sums.setdefault(key, (*pieces, piece))
            reached = sums
        best = max(reached)
        return best[0], reached[best]

    def _window(self, whole: int, wanted: int) -> tuple[int, int]:
        """The distractors that may end early: so many that they have `wanted` ends, if they do."""
        start, end, ends = whole, whole + 1, len(self._pieces_of(whole))
        while ends < wanted and (start or end < len(self._documents)):
            if end < len(self._documents):
                ends += 1 + len(self._pieces_of(end))
                end += 1
            if start and ends < wanted:
                start -= 1
                ends += 1 + len(self._pieces_of(start))
        return start, end

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
    return with_documents(example, documents)
