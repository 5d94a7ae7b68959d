"""A dataset made example by example: every one checked as a model will read it, every loss counted.

Examples are made in parallel and come out in order, so the number of processes changes no byte.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from needlework.examples import Example
from needlework.layout import REAL, mixture_of
from needlework.provenance import derived_seed, value_hash
from needlework.rendering.prompt import CLOSE, Rendered, render
from needlework.synthesis.leaks import EvaluationData
from needlework.synthesis.variants import MAKERS, Materials
from needlework.text import contains_answer, normalise_answer, padded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Examples under way for each process: so many contexts are in memory.
_WINDOW = 4


class Checked(NamedTuple):
    """An example that passed every gate, and what each model will see of it.

    `tokens` and `depths` are by model: prompt and answer together, and each needle's role and
    place in the prompt, from 0 (its beginning) to 1. `known` says whether its answer is one of the
    evaluation's, which no synthetic example may have.
    """

    example: Example
    tokens: dict[str, int]
    depths: list[tuple[str, float]]
    documents: int
    known: bool


class Refused(NamedTuple):
    """The id of a real example that gave none, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Builder:
    """Makes and checks one example at a time.

    Attributes:
        materials: what examples are made from.
        tokenizers: of every model that will read the dataset, by its name.
        length: tokens of prompt and answer.
        evaluation: what no synthetic example may overlap with.
        fills: whether a context must take at least 99 % of the length.
    """

    materials: Materials
    tokenizers: Mapping[str, PreTrainedTokenizerBase]
    length: int
    evaluation: EvaluationData
    fills: bool = True

    def build(self, variant: str, example: Example) -> Checked | Refused:
        """An example of `variant` made from a real one, or why there is none."""
        made = MAKERS[variant](example, self.materials)
        if isinstance(made, str):
            return Refused(example.id, made)
        if variant not in REAL:
            reason = self.evaluation.overlap(made, answers=True) or answer_elsewhere(made)
            if reason is not None:
                return Refused(example.id, reason)
        return self._read(made)

    def _read(self, made: Example) -> Checked | Refused:
        tokens: dict[str, int] = {}
        depths: list[tuple[str, float]] = []
        documents = 0
        for name, tokenizer in self.tokenizers.items():
            try:
                shown = render(made, tokenizer, self.length)
            except ValueError as error:
                return Refused(made.id, f"cannot be shown in {self.length} tokens ({_kind(error)})")
            if self.fills and shown.length < CLOSE * self.length:
                return Refused(made.id, "shorter than 99 % of the length")
            if not needles_are_exact(shown, tokenizer):
                return Refused(made.id, "a needle's tokens do not show its text")
            tokens[name] = shown.length
            if not depths:
                size = len(shown.prompt)
                depths = [(span.needle.role, span.start / size) for span in shown.needles]
                documents = len(shown.example.documents)
        return Checked(made, tokens, depths, documents, self.evaluation.knows_answer(made))


def _kind(error: ValueError) -> str:
    return "its gold documents take more" if "gold documents" in str(error) else str(error)


def answer_elsewhere(example: Example) -> str | None:
    """Why the answer of an extractive example is not in its needle alone; None if it is.

    An answer that cites documents stands in none. Gold documents are searched outside the needle,
    titles and the question too.
    """
    target = example.answers[0]
    needles = [n for n in example.needles if n.role == "answer"]
    if example.cites or not needles or not normalise_answer(target):
        return None
    words = padded(target)
    if words in padded(example.question):
        return "the question holds the answer"
    spans = {n.document: n for n in needles}
    for document in example.documents:
        if not document.gold:
            continue  # a distractor with an answer is no example at all
        needle = spans.get(document.id)
        rest = (
            f"{document.text[: needle.start]}\n|\n{document.text[needle.end :]}"
            if needle is not None and contains_answer(example.needle_text(needle), target)
            else document.text
        )
        if words in padded(document.title) or any(words in padded(r) for r in rest.split("\n|\n")):
            return "the answer stands outside its needle too"
    return None


def needles_are_exact(shown: Rendered, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokens of every needle show its text, and no more than the tokens' own edges."""
    texts = {document.id: document.text for document in shown.example.documents}
    for span in shown.needles:
        if span.needle.relation == "number":
            continue
        text = texts[span.needle.document][span.needle.start : span.needle.end]
        tokens = tokenizer.decode(shown.prompt[span.start : span.end])
        inner = tokenizer.decode(shown.prompt[span.start + 1 : span.end - 1])
        if text not in tokens and text.strip() not in tokens:
            return False
        if text in inner:
            return False
    return True


def build_all(
    builder: Builder, variant: str, examples: Iterable[Example], wanted: int, workers: int
) -> Iterator[Checked | Refused]:
    """The first `wanted` examples that can be made, and the refused ones, in order.

    Every variant has the same size, so that no variant wins by having more data: `examples` hold
    some spare ones to stand in for those refused. Of a mixture each part has its share of the
    examples; a spare one takes the part of the refused one.
    """
    source = iter(examples)
    parts = _parts(variant, wanted, builder.materials.seed)
    seen: set[str] = set()
    with _pool(builder, workers) as submit:
        while parts:
            pairs = zip(parts, source, strict=False)  # asks `parts` first, so that none is lost
            missing: list[str] = []
            taken = 0
            for part, result in _in_order(submit, pairs, _WINDOW * workers):
                taken += 1
                if isinstance(result, Checked):
                    made = result.example
                    key = value_hash([made.question, made.answers, made.cites])
                    if key in seen and part not in REAL:
                        result = Refused(made.id, "the same question and answer again")
                    seen.add(key)
                if isinstance(result, Refused):
                    missing.append(part)
                yield result
            if taken < len(parts):  # the real examples are used up
                return
            parts = missing


def _parts(variant: str, wanted: int, seed: int) -> list[str]:
    """The variant of each of the wanted examples; of a mixture in a random order, shares exact."""
    shares = mixture_of(variant)
    parts: list[str] = []
    total = 0.0
    for name, share in shares.items():
        total += share
        parts += [name] * (round(total * wanted) - len(parts))
    if len(shares) > 1:
        random.Random(derived_seed(seed, "mixture", variant)).shuffle(parts)
    return parts


_Submit = Callable[[str, Example], "Future[Checked | Refused]"]
_builder: Builder | None = None  # of a worker process


def _start(builder: Builder) -> None:
    global _builder
    _builder = builder


def _build(variant: str, example: Example) -> Checked | Refused:
    assert _builder is not None
    return _builder.build(variant, example)


@contextmanager
def _pool(builder: Builder, workers: int) -> Iterator[_Submit]:
    if workers == 1:

        def now(variant: str, example: Example) -> Future[Checked | Refused]:
            done: Future[Checked | Refused] = Future()
            done.set_result(builder.build(variant, example))
            return done

        yield now
        return
    executor: Executor
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(builder,)) as executor:
        yield lambda variant, example: executor.submit(_build, variant, example)


def _in_order(
    submit: _Submit, pairs: Iterable[tuple[str, Example]], window: int
) -> Iterator[tuple[str, Checked | Refused]]:
    """The results in the order of `pairs`, of which no more than `window` are under way."""
    waiting: deque[tuple[str, Future[Checked | Refused]]] = deque()
    remaining = iter(pairs)
    while True:
        for variant, example in islice(remaining, window - len(waiting)):
            waiting.append((variant, submit(variant, example)))
        if not waiting:
            return
        variant, future = waiting.popleft()
        yield variant, future.result()


def histogram(values: Sequence[int]) -> dict[str, list[int]]:
    """Counts of values in at most ten bins of equal width; `edges` has the lower ends."""
    low, high = min(values), max(values)
    width = max(1, -(-(high - low + 1) // 10))
    edges = list(range(low, high + 1, width))
    counts = [0] * len(edges)
    for value in values:
        counts[(value - low) // width] += 1
    return {"edges": edges, "counts": counts}
