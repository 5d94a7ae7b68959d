"""What the Factbook tasks have in common: questions of a split become examples that fill a room."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from needlework.corpora.corpus import Corpus, arranged, shuffled
from needlework.corpora.factbook_pool import Pool
from needlework.corpora.factbook_relations import load_relations
from needlework.corpora.factbook_sections import PACKAGE, Section, splits, version
from needlework.examples import Document, Example, Fact, Needle, citation
from needlework.provenance import derived_seed

if TYPE_CHECKING:
    from needlework.rendering.room import Room

GOLD_SHARE = 0.60
"""Of the length, what the gold documents may take."""


@dataclass(frozen=True)
class Question:
    """A question of a split; at each level of `kind`, the kinds take turns.

    `answers` is empty where the answer is the citation of the gold documents. Distractors contain
    none of `forbidden` (normal forms between spaces), and `barred` are the pool's indices of
    further sections that are no distractors.
    """

    id: str
    kind: tuple[str, ...]
    text: str
    answers: list[str]
    golds: list[Section]
    needles: list[Needle]
    facts: list[Fact]
    cluster: str
    source: dict[str, Any]
    forbidden: tuple[str, ...]
    barred: frozenset[int] = frozenset()


Ask = Callable[[Pool], tuple[list[Question], Counter[str]]]
"""The questions of a pool's countries, and how many there are not, by reason."""


@dataclass(frozen=True)
class Context:
    """How the documents of an example are chosen.

    Attributes:
        room: what the documents fill.
        share: of the distractors' tokens, what sections like the gold ones may take; the last of
            them may reach beyond it.
        documents: the most that are shown, or None for as many as it takes.
    """

    room: Room
    share: float = 1.0
    documents: int | None = None

    def __post_init__(self) -> None:
        if self.documents is not None and self.documents < 1:
            raise ValueError(
                f"documents is {self.documents}; an example takes at least its gold document"
            )
        if not 0 <= self.share <= 1:
            raise ValueError(f"distractor_share is {self.share}; expected a share from 0 to 1")

    def problem(self, question: Question, pool: Pool) -> str | None:
        """Why a question has no context in this room; None where it has one."""
        need = self._need(question)
        if self.room.length - need > GOLD_SHARE * self.room.length:
            return f"gold documents take more than {GOLD_SHARE:.0%} of the length"
        same, barred = _alike(question, pool)
        if self.share and not same:  # "Washington" is in every country's section on its capital
            return "no distractor of the same section"
        barred |= same
        others = len(pool.sections) - len(barred)
        if self.documents is not None and others >= self.documents - len(question.golds):
            return None
        if pool.has(need, barred):  # mostly: there is more of the others than of the same
            return None
        if pool.has(need - min(pool.size(same), self.share * need), barred):
            return None
        return "too few distractors to fill the length"

    def show(
        self, question: Question, pool: Pool, rng: random.Random, depth: float | None
    ) -> list[Document]:
        """The gold documents of a question among the distractors drawn for it."""
        golds = [section.document(gold=True) for section in question.golds]
        more = self._distractors(question, pool, rng)
        if self.documents is not None:
            more = islice(more, max(0, self.documents - len(golds)))
        distractors = self.room.fill(golds, more)[len(golds) :]
        return arranged(golds, distractors, rng, depth)

    def _distractors(
        self, question: Question, pool: Pool, rng: random.Random
    ) -> Iterator[Document]:
        """Sections like the gold ones, up to their share, then any others."""
        same, barred = _alike(question, pool)
        left = self.share * self._need(question)
        for index in shuffled(sorted(same), rng):  # the order of a set is no part of the seed
            if left <= 0:
                break
            left -= self.room.size(pool.document(index))
            yield pool.document(index)
        barred |= same
        for index in shuffled(range(len(pool.sections)), rng):
            if index not in barred:
                yield pool.document(index)

    def _need(self, question: Question) -> int:
        golds = (section.document(gold=True) for section in question.golds)
        return self.room.length - sum(map(self.room.size, golds))


def _alike(question: Question, pool: Pool) -> tuple[set[int], set[int]]:
    """The distractors that are sections like the gold ones, and all that are no distractors."""
    barred = set(question.barred).union(*map(pool.containing, question.forbidden))
    return pool.of_sections({gold.key for gold in question.golds}) - barred, barred


def draw(
    task: str,
    ask: Ask,
    wanted: dict[str, int],
    seed: int,
    context: Context,
    test_depths: Sequence[float] = (),
) -> Corpus:
    """The wanted number of examples of each split.

    A country belongs to one split, for gold documents and distractors alike, and the same seed
    gives every task the same splits. No question is asked twice, and a smaller split is the
    beginning of a larger one.

    Args:
        task: name of the task.
        ask: gives the questions of a split.
        wanted: number of examples by split.
        seed: decides the splits, the order of the questions, the distractors and their order.
        context: how documents are chosen.
        test_depths: where the gold documents of the test examples begin, in turns; empty for
            anywhere.

    Raises:
        ValueError: a split holds fewer questions than wanted.
    """
    examples: dict[str, list[Example]] = {}
    counts: dict[str, Any] = {}
    for split, countries in splits(seed).items():
        pool = _pool(tuple(countries), seed, context.room)
        questions, skipped = _answerable(ask, pool, context)
        number = wanted[split]
        if number > len(questions):
            raise ValueError(
                f"{task} holds {len(questions)} questions for the split {split!r} with the length "
                f"{context.room.length} and the seed {seed}, but {number} are wanted; ask for at "
                f"most {len(questions)}, or for another length"
            )
        chosen = in_turns(questions, derived_seed(seed, task, split))[:number]
        depths = test_depths if split == "test" and test_depths else [None]
        examples[split] = [
            _example(task, question, pool, context, (split, i, seed), depths[i % len(depths)])
            for i, question in enumerate(chosen)
        ]
        counts[split] = {
            "countries": len(countries),
            "considered": len(questions) + skipped.total(),
            "made": number,
            "not wanted": len(questions) - number,
            "skipped": dict(skipped.most_common()),
        }
    return Corpus(**examples, counts=counts)


def capacities(ask: Ask, seed: int, context: Context) -> dict[str, int]:
    """How many examples each split can hold, by split name."""
    return {
        split: len(_answerable(ask, _pool(tuple(countries), seed, context.room), context)[0])
        for split, countries in splits(seed).items()
    }


def in_turns(questions: Sequence[Question], seed: int) -> list[Question]:
    """The questions in random order, but so that the kinds of each level take turns."""

    def ordered(group: list[Question], level: int) -> list[Question]:
        random.Random(derived_seed(seed, *group[0].kind[:level])).shuffle(group)
        if level == len(group[0].kind):
            return group
        kinds: dict[str, list[Question]] = {}
        for question in group:
            kinds.setdefault(question.kind[level], []).append(question)
        turns = zip_longest(*(ordered(members, level + 1) for members in kinds.values()))
        return [question for turn in turns for question in turn if question is not None]

    return ordered(list(questions), 0) if questions else []


@lru_cache(maxsize=3)  # the splits: what is counted is mostly drawn next
def _pool(countries: tuple[str, ...], seed: int, room: Room) -> Pool:
    return Pool(countries, seed, room)


def _answerable(ask: Ask, pool: Pool, context: Context) -> tuple[list[Question], Counter[str]]:
    """The questions that have a context; the others by reason."""
    asked, skipped = ask(pool)
    golds = {gold.id: gold for question in asked for gold in question.golds}
    context.room.measure(gold.document(gold=True) for gold in golds.values())
    questions = []
    for question in asked:
        problem = context.problem(question, pool)
        if problem is None:
            questions.append(question)
        else:
            skipped[problem] += 1
    return questions, skipped


def _example(
    task: str,
    question: Question,
    pool: Pool,
    context: Context,
    place: tuple[str, int, int],
    depth: float | None,
) -> Example:
    split, i, seed = place
    rng = random.Random(derived_seed(seed, task, question.id))
    documents = context.show(question, pool, rng, depth)
    facts, needles, cites = question.facts, question.needles, []
    if not question.answers:  # a citation: everything is in the order shown
        order = {document.id: number for number, document in enumerate(documents)}
        cites = sorted((needle.document for needle in needles), key=order.__getitem__)
        pairs = sorted(zip(needles, facts, strict=True), key=lambda pair: order[pair[0].document])
        needles, facts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Example(
        id=f"{task}-{split}-{i:04d}",
        task=task,
        variant="real",
        question=question.text,
        answers=question.answers or [citation(documents, cites)],
        documents=documents,
        needles=needles,
        cluster=question.cluster,
        source={
            "corpus": PACKAGE,
            "version": version(),
            "relations": load_relations().version,
            "split": split,
            "seed": seed,
            **question.source,
        },
        facts=facts,
        cites=cites,
        style="citation" if cites else "documents",
    )
