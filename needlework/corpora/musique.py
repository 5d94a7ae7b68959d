"""Multi-hop questions of MuSiQue: the task `musique`.

The gold paragraphs of a question (Trivedi et al., TACL 2022) are shown among its own distractor
paragraphs and passages of a pool that hold neither an answer nor an intermediate answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from needlework.corpora.corpus import Corpus, arranged, dealt, shuffled
from needlework.corpora.musique_facts import facts_of
from needlework.corpora.musique_rows import Located, Paragraph, Row, components, locate, read_rows
from needlework.corpora.passages import Passages, ngrams, read_passages
from needlework.examples import Document, Example, Needle
from needlework.provenance import derived_seed, file_hash
from needlework.relations.templates import load_relations
from needlework.text import contains_answer, normalise_answer, padded

if TYPE_CHECKING:
    from needlework.rendering.room import Room

TASK = "musique"
LONGEST_GOLDS = 0.6
"""The share of the length that the gold paragraphs may take; the rest is for distractors."""

LARGEST_COMPONENT = 0.25
"""The share of the rows above which the largest component is for training, not left to chance."""


class _Part(NamedTuple):
    row: Row
    component: str


@dataclass(frozen=True)
class _Pool:
    """Where distractors come from, and what they fill."""

    passages: Passages
    room: Room
    seed: int
    documents: dict[int, Document] = field(default_factory=dict)

    def document(self, index: int) -> Document:
        """A passage as a distractor, under an id that no paragraph of a row has."""
        if index not in self.documents:
            passage = self.passages.document(index)
            self.documents[index] = passage.model_copy(update={"id": f"pool-{passage.id}"})
        return self.documents[index]


@dataclass(frozen=True)
class _Question:
    """A row whose hops are all located, with its gold documents, by idx."""

    row: Row
    component: str
    golds: dict[int, Document]
    spans: list[Located]
    answers: list[str]


@dataclass(frozen=True)
class _Filled:
    question: _Question
    distractors: list[Document]
    leaks: int


def musique(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    path: Path,
    test_path: Path | None = None,
    passages: Path | None = None,
    hops: Sequence[int] = (2, 3, 4),
    linear_only: bool = False,
    test_depths: Sequence[float] = (),
) -> Corpus:
    """Questions of two to four hops over paragraphs that fill `room`.

    Rows that share single-hop questions are one component, and one cluster. A component is in one
    split, whatever the other options; none of train and validation has rows in `test_path`, nor
    rows that others evaluate on (`component_has_official`, `component_has_reserved`). A smaller
    split is the beginning of a larger one. `counts` has the rows of the files and why some are in
    no split; per split its components and rows, how many rows were considered, made (in all and
    by number of hops), not wanted and skipped, by reason, the facts made and those that a
    template states, the examples whose facts are all such, and the row's own distractors left
    out because they hold an answer.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the splits, the order of the questions, and the documents of each.
        room: what the documents have to fill.
        path: rows as published, .jsonl or .jsonl.gz; unanswerable ones are left out.
        test_path: rows for the test; None takes them from `path`.
        passages: a pool, as `read_passages` takes it; it follows a row's own distractors.
        hops: numbers of hops wanted.
        linear_only: leaves out questions that need two answers at once (3hop2, 4hop2, 4hop3).
        test_depths: where the gold paragraphs of the i-th test example begin, in turns: 0 is
            before all distractors, 1 after all; at random places where empty.

    Raises:
        ValueError: a split holds fewer examples than wanted, or a file is not as expected.
    """
    rows = read_rows(path)
    tests = read_rows(test_path) if test_path else []
    splits, counts = _splits(rows, tests, seed)
    pool = _Pool(read_passages(passages) if passages else Passages([]), room, seed)
    examples: dict[str, list[Example]] = {}
    for split, wanted in (("train", train), ("validation", validation), ("test", test)):
        file = test_path if split == "test" and test_path else path
        made, counts[split] = _drawn(splits[split], wanted, hops, linear_only, pool)
        if len(made) < wanted:
            raise ValueError(
                f"{TASK}: {len(made)} examples of {room.length} tokens can be made for the split "
                f"{split!r} from its {len(splits[split])} rows of {file}, but {wanted} are wanted "
                f"(skipped: {counts[split]['skipped']}); ask for fewer, for other numbers of hops, "
                "or give more passages"
            )
        source = {
            "corpus": TASK,
            "file": file.name,
            "sha256": file_hash(file),
            "passages": passages and {"file": passages.name, "sha256": file_hash(passages)},
            "relations": load_relations("musique").version,
            "split": split,
            "seed": seed,
        }
        depths = test_depths if split == "test" else ()
        examples[split] = [
            _example(i, filled, depths[i % len(depths)] if depths else None, source)
            for i, filled in enumerate(made)
        ]
        stated = [[f.statement is not None for f in e.facts] for e in examples[split]]
        counts[split]["facts"] = sum(map(len, stated))
        counts[split]["facts stated by a template"] = sum(map(sum, stated))
        counts[split]["made, every fact stated by a template"] = sum(map(all, stated))
    return Corpus(**examples, counts=counts)


def _splits(
    rows: Sequence[Row], tests: Sequence[Row], seed: int
) -> tuple[dict[str, list[_Part]], dict[str, Any]]:
    """The answerable rows of each split, in the order they are drawn in; the others, counted."""
    parts = [
        _Part(*part) for part in zip([*rows, *tests], components([*rows, *tests]), strict=True)
    ]
    in_test = {part.component for part in parts[len(rows) :]}
    marked = {
        part.component
        for part in parts[: len(rows)]
        if part.row.component_has_official or part.row.component_has_reserved
    }
    sizes = Counter(part.component for part in parts[: len(rows)])
    name, size = sizes.most_common(1)[0]
    large = {name} if size > LARGEST_COMPONENT * len(rows) else set()
    home = dealt(set(sizes) - in_test - marked - large, seed, TASK)
    if in_test or marked:  # the test has rows without a share of these
        home = {name: "train" if split == "test" else split for name, split in home.items()}
    home |= dict.fromkeys(large, "train") | dict.fromkeys(marked, "test")
    splits: dict[str, list[_Part]] = {"train": [], "validation": [], "test": []}
    reasons: Counter[str] = Counter()
    for i, part in enumerate(parts):
        if not part.row.answerable:
            reasons["unanswerable"] += 1
        elif i >= len(rows):
            splits["test"].append(part)
        elif part.component in in_test:
            reasons["component has rows in the test file"] += 1
        elif tests and part.component in marked:
            reasons["component has rows that others evaluate on"] += 1
        else:
            splits[home[part.component]].append(part)
    for of_split in splits.values():
        of_split.sort(key=lambda part: derived_seed(seed, TASK, "order", part.row.id))
    return splits, {"rows": len(rows), "test rows": len(tests), "in no split": dict(reasons)}


def _drawn(
    parts: Sequence[_Part], wanted: int, hops: Sequence[int], linear_only: bool, pool: _Pool
) -> tuple[list[_Filled], dict[str, Any]]:
    """The first questions of a split that can be asked, filled, and the counts of the split."""
    skipped: Counter[str] = Counter()
    made: list[_Filled] = []
    considered = 0
    while len(made) < wanted and considered < len(parts):
        question = _question(parts[considered], hops, linear_only, pool.room)
        filled = question if isinstance(question, str) else _filled(question, pool)
        considered += 1
        if isinstance(filled, str):
            skipped[filled] += 1
        else:
            made.append(filled)
    return made, {
        "components": len({part.component for part in parts}),
        "considered": considered,
        "made": len(made),
        "made by hops": dict(sorted(Counter(f.question.row.hops for f in made).items())),
        "not wanted": len(parts) - considered,
        "skipped": dict(skipped.most_common()),
        "distractors left out": sum(filled.leaks for filled in made),
    }


def _question(part: _Part, hops: Sequence[int], linear_only: bool, room: Room) -> _Question | str:
    """What a row asks, or why it is not asked."""
    row = part.row
    if row.hops not in hops:
        return f"{row.hops} hops"
    if linear_only and not row.linear:
        return "hops in no line"
    golds: dict[int, Document] = {}
    spans: list[Located] = []
    for hop in row.question_decomposition:
        gold = row.gold(hop)
        span = locate(gold.paragraph_text, hop.answer, hop.question)
        if span is None:
            return "hop answer not found in its paragraph"
        spans.append(span)
        golds.setdefault(gold.idx, _document(gold, gold=True))
    answers = list(dict.fromkeys([row.answer, *row.answer_aliases]))
    found = gold.paragraph_text[slice(*spans[-1])]
    if not any(contains_answer(found, answer) for answer in answers):
        return "the answer of the last hop is none of the question's"
    if sum(map(room.size, golds.values())) > LONGEST_GOLDS * room.length:
        return f"gold paragraphs longer than {LONGEST_GOLDS:.0%} of the length"
    return _Question(row, part.component, golds, spans, answers)


def _filled(question: _Question, pool: _Pool) -> _Filled | str:
    """A question with the distractors that fill the room, or why there are not enough."""
    texts = [*question.answers, *(hop.answer for hop in question.row.question_decomposition)]
    leaks = [padded(text) for text in texts if normalise_answer(text)]
    own = [
        _document(paragraph, gold=False)
        for paragraph in question.row.paragraphs
        if paragraph.idx not in question.golds
    ]
    words = [padded(f"{document.title}\n{document.text}") for document in own]
    clean = [
        document
        for document, shown in zip(own, words, strict=True)
        if not any(leak in shown for leak in leaks)
    ]
    golds = list(question.golds.values())
    drawn = _from_pool(question, pool, leaks, set(words))
    documents = pool.room.fill(golds, chain(clean, drawn))
    if not pool.room.is_full(documents):
        return "too few distractors to fill the length"
    return _Filled(question, documents[len(golds) :], len(own) - len(clean))


def _from_pool(
    question: _Question, pool: _Pool, leaks: Sequence[str], own: set[str]
) -> Iterator[Document]:
    """Passages at random that hold no answer, are no copy of a gold one, and are not there yet."""
    rng = random.Random(derived_seed(pool.seed, TASK, "distractors", question.row.id))
    golds = set().union(*(ngrams(document.text) for document in question.golds.values()))
    order = shuffled(range(len(pool.passages)), rng)
    # About as many as it takes, so that their tokens are counted together.
    while indices := list(islice(order, 8 + pool.room.length // 100)):
        pool.room.measure(pool.document(index) for index in indices)
        for index in indices:
            words = pool.passages.words(index)
            if words in own or any(leak in words for leak in leaks):
                continue
            if golds.isdisjoint(ngrams(words)):
                yield pool.document(index)


def _document(paragraph: Paragraph, *, gold: bool) -> Document:
    return Document(
        id=f"p{paragraph.idx}", title=paragraph.title, text=paragraph.paragraph_text, gold=gold
    )


def _example(i: int, filled: _Filled, depth: float | None, source: dict[str, Any]) -> Example:
    question, row = filled.question, filled.question.row
    facts = facts_of(row)
    rng = random.Random(derived_seed(source["seed"], TASK, "places", row.id))
    needles = [
        Needle(
            document=question.golds[row.gold(hop).idx].id,
            start=span.start,
            end=span.end,
            role="answer" if fact.hop == row.hops else "bridge",
            hop=fact.hop,
            relation=fact.relation,
        )
        for hop, span, fact in zip(row.question_decomposition, question.spans, facts, strict=True)
    ]
    return Example(
        id=f"{TASK}-{source['split']}-{i:04d}",
        task=TASK,
        variant="real",
        question=row.question,
        answers=question.answers,
        documents=arranged(list(question.golds.values()), filled.distractors, rng, depth),
        needles=needles,
        cluster=question.component,
        source={**source, "row": row.id, "kind": row.kind, "hops": row.hops, "linear": row.linear},
        facts=facts,
    )
