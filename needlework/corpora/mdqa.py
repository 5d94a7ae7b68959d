"""Multi-document question answering over Natural Questions: the task `mdqa`.

Each question of Liu et al. (TACL 2024, "Lost in the Middle") has one gold passage. Its context is
filled to any length with passages of a pool, retrieved for the question or drawn at random, that
hold no accepted answer and repeat no gold passage of any question.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from needlework.corpora.corpus import Corpus, arranged, shuffled
from needlework.corpora.natural_questions import Question, read_questions
from needlework.corpora.passages import Passages, ngrams, read_passages
from needlework.corpora.retrieval import Rank, Retriever, ranker
from needlework.examples import Document, Example, Fact, Needle
from needlework.provenance import derived_seed, file_hash
from needlework.relations.templates import RelationList, load_relations
from needlework.rendering.prompt import Unrenderable
from needlework.text import normalise_answer, padded

if TYPE_CHECKING:
    from needlework.rendering.room import Room

TASK = "mdqa"
LONGEST_GOLD = 0.6
"""The share of the length that a gold passage may take; the rest is for distractors."""

# Documents whose tokens are counted at once: the tokenizer holds all of them in memory.
_MEASURED = 4096


Distractors = Literal["retrieved", "random"]


@dataclass(frozen=True)
class _Pool:
    """Where distractors come from; `rank` is None where they are drawn at random."""

    passages: Passages
    rank: Rank | None
    name: str
    golds: set[str]
    seed: int
    repeats: dict[int, bool]


def mdqa(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    path: Path,
    passages: Path,
    retriever: Retriever = "bm25",
    retriever_model: str | None = None,
    test_depths: Sequence[float] = (),
    threads: int = 1,
    distractors: Distractors = "retrieved",
    test_distractors: Sequence[Distractors] = (),
) -> Corpus:
    """Questions with one gold passage each, among passages that fill `room`.

    Questions whose gold passages have one title, or share eight words in a row, are in one split
    and one cluster. The test is drawn from the front of a shuffled list, training from its back,
    validation from what they leave: a smaller split is the beginning of a larger one, and the
    size of the training split changes no other example of the test. `counts` has the questions of
    the file, those that no split needed, and per split those considered and made, those made
    whose answer stands several times in its passage, those that a template states, and those
    skipped by reason.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the splits, random distractors, and the place of the gold passage.
        room: what the documents have to fill.
        path: nq-open-oracle.jsonl(.gz), or a file of upstream with 10, 20 or 30 documents, whose
            own distractors then come first.
        passages: the pool, as `read_passages` takes it.
        retriever, retriever_model: how passages are ranked for a question; where they run out,
            the rest of the pool follows at random.
        test_depths: where the gold passage of the i-th test example stands, in turns: 0 is before
            all distractors, 1 after all; uniformly at random where empty, as in the other splits.
        threads: of the CPU.
        distractors: "random" draws them from the pool with no regard to the question.
        test_distractors: others with which the test questions are shown as well, the gold passage
            at the same depth: the sets "test-<distractors>" in `Corpus.further`. A question that
            one of the contexts cannot be made for is in none of the sets.

    Raises:
        ValueError: a split holds fewer examples than wanted, a file is not as expected, or
            `test_distractors` names those that all examples have.
    """
    if distractors in test_distractors:
        raise ValueError(
            f"{TASK}: test_distractors names {distractors!r}, which all examples have already; "
            "leave it out"
        )
    questions = read_questions(path)
    golds = set().union(*(ngrams(question.gold.text) for question in questions))
    found = read_passages(passages)
    pools = {}
    repeats: dict[int, bool] = {}
    for kind in dict.fromkeys((distractors, *test_distractors)):
        rank, name = None, "random"
        if kind == "retrieved":
            rank = ranker(retriever, found, model=retriever_model, threads=threads)
            name = retriever_model or retriever
        pools[kind] = _Pool(found, rank, name, golds, seed, repeats)
    source = {
        "corpus": TASK,
        "file": path.name,
        "sha256": file_hash(path),
        "passages": {"file": passages.name, "sha256": file_hash(passages)},
        "relations": load_relations("nq").version,
        "seed": seed,
    }
    taken: set[str] = set()
    examples: dict[str, list[Example]] = {}
    counts: dict[str, Any] = {"questions": len(questions)}
    for split, wanted in (("test", test), ("train", train), ("validation", validation)):
        order = [q for q in _order(questions, seed, split) if q.cluster not in taken]
        sets = {split: pools[distractors]}
        if split == "test":
            sets |= {f"{split}-{kind}": pools[kind] for kind in test_distractors}
        depths = test_depths if split == "test" else ()
        made, counts[split] = _draw(sets, order, wanted, room, source, depths)
        examples |= made
        taken |= {question.cluster for question in order[: counts[split]["considered"]]}
    splits = {split: examples.pop(split) for split in ("train", "validation", "test")}
    counts["not wanted"] = len(questions) - sum(counts[split]["considered"] for split in splits)
    counts |= {name: {"made": len(further)} for name, further in examples.items()}
    return Corpus(**splits, counts=counts, further=list(chain.from_iterable(examples.values())))


def _order(questions: Sequence[Question], seed: int, split: str) -> list[Question]:
    """The questions in the order in which a split draws them; those of a cluster are together."""
    clusters = sorted({question.cluster for question in questions})
    stream = "validation" if split == "validation" else "test"
    random.Random(derived_seed(seed, TASK, stream)).shuffle(clusters)
    if split == "train":
        clusters.reverse()
    place = {cluster: i for i, cluster in enumerate(clusters)}
    return sorted(questions, key=lambda question: place[question.cluster])


def _draw(
    sets: Mapping[str, _Pool],
    order: Sequence[Question],
    wanted: int,
    room: Room,
    source: dict[str, Any],
    depths: Sequence[float],
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """The examples of a split, the first of the sets, and of its questions in the other sets."""
    split = next(iter(sets))
    made: list[tuple[Question, list[Example]]] = []
    skipped: Counter[str] = Counter()
    considered = 0
    while len(made) < wanted and considered < len(order):
        batch = order[considered : considered + wanted - len(made)]
        considered += len(batch)
        filled = [_filled(batch, pool, room) for pool in sets.values()]
        for question, *contexts in zip(batch, *filled, strict=True):
            name = f"{TASK}-{split}-{len(made):04d}"
            depth = depths[len(made) % len(depths)] if depths else None
            try:
                shown = _shown(name, question, contexts, sets, source, depth)
                if split == "test":
                    for example in shown:
                        room.check_positions(example)
            except Unrenderable as error:
                skipped[error.reason] += 1
            else:
                made.append((question, shown))
    if len(made) < wanted:
        raise ValueError(
            f"{TASK}: {len(made)} examples of {room.length} tokens can be made for the split "
            f"{split!r} from the {len(order)} questions that other splits leave, but {wanted} are "
            f"wanted (skipped: {dict(skipped)}); ask for fewer, for another length, or give more "
            "passages"
        )
    examples = {name: [shown[i] for _, shown in made] for i, name in enumerate(sets)}
    return examples, {
        "considered": considered,
        "made": len(made),
        "answer several times": sum(q.span is not None and q.span.number > 1 for q, _ in made),
        "stated by a template": sum(e.facts[0].statement is not None for e in examples[split]),
        "skipped": dict(skipped.most_common()),
    }


def _shown(
    name: str,
    question: Question,
    contexts: Sequence[list[Document] | str],
    sets: Mapping[str, _Pool],
    source: dict[str, Any],
    depth: float | None,
) -> list[Example]:
    """The question in the context of each set; the gold document, the first, takes its place.

    Raises:
        Unrenderable: one of the contexts is no context, but the reason why there is none.
    """
    examples = []
    for (split, pool), documents in zip(sets.items(), contexts, strict=True):
        if isinstance(documents, str):
            raise Unrenderable(f"{split}, line {question.row}: {documents}", documents)
        gold, *others = documents
        rng = random.Random(derived_seed(source["seed"], TASK, "place", question.text))
        placed = arranged([gold], others, rng, depth)
        if depth is None:  # drawn in the first set, and the same in the others
            depth = placed.index(gold) / len(others)
        named = {"split": split, "row": question.row, "distractors": pool.name, **source}
        examples.append(_example(name, question, placed, named))
    return examples


def _filled(batch: Sequence[Question], pool: _Pool, room: Room) -> list[list[Document] | str]:
    """For each question its gold passage and the distractors that fill the room, or why not."""
    reasons = {question.row: _reason(question, room) for question in batch}
    usable = [question for question in batch if reasons[question.row] is None]
    orders = _orders(usable, pool, room)
    results: list[list[Document] | str] = []
    for question in batch:
        reason = reasons[question.row]
        if reason is None:
            others = _distractors(question, pool, orders[question.row])
            documents = room.fill([question.gold], others)
            full = room.is_full(documents)
            results.append(documents if full else "too few distractors to fill the length")
        else:
            results.append(reason)
    return results


def _orders(questions: Sequence[Question], pool: _Pool, room: Room) -> dict[int, list[int]]:
    """The first ranks of every question, deep enough for most; their tokens are counted too."""
    sizes = [room.size(pool.passages.document(i)) for i in range(0, len(pool.passages), 199)]
    # Half as many again, because those that hold an answer are passed over.
    depth = 50 + int(1.5 * room.length * len(sizes) / sum(sizes))
    ranked = pool.rank([question.text for question in questions], depth) if pool.rank else []
    orders = {q.row: ranked[i] if ranked else [] for i, q in enumerate(questions)}
    likely = {i for q in questions for i in islice(_indices(q, pool, orders[q.row]), depth)}
    documents = [pool.passages.document(i) for i in sorted(likely)]
    for start in range(0, len(documents), _MEASURED):
        room.measure(documents[start : start + _MEASURED])
    return orders


def _reason(question: Question, room: Room) -> str | None:
    if question.span is None:
        return "no answer in the gold passage"
    if room.size(question.gold) > LONGEST_GOLD * room.length:
        return f"gold passage longer than {LONGEST_GOLD:.0%} of the length"
    return None


def _distractors(question: Question, pool: _Pool, ranked: list[int]) -> Iterator[Document]:
    answers = [padded(answer) for answer in question.answers if normalise_answer(answer)]
    seen = set()
    for document in question.own if pool.rank else ():
        words = padded(f"{document.title}\n{document.text}")
        seen.add(words)
        if not any(answer in words for answer in answers) and pool.golds.isdisjoint(ngrams(words)):
            yield document
    for index in _indices(question, pool, ranked):
        words = pool.passages.words(index)
        if index not in pool.repeats:
            pool.repeats[index] = not pool.golds.isdisjoint(ngrams(words))
        if not (pool.repeats[index] or words in seen or any(a in words for a in answers)):
            yield pool.passages.document(index)


def _indices(question: Question, pool: _Pool, ranked: list[int]) -> Iterator[int]:
    """Every passage of the pool: by rank, where they are ranked, and the others at random."""
    yield from ranked
    done = set(ranked)
    if pool.rank:
        (further,) = pool.rank([question.text], len(pool.passages))
        yield from further[len(ranked) :]
        done = set(further)
    rng = random.Random(derived_seed(pool.seed, TASK, "distractors", question.text))
    yield from (index for index in shuffled(range(len(pool.passages)), rng) if index not in done)


def _example(
    name: str,
    question: Question,
    documents: list[Document],
    source: dict[str, Any],
) -> Example:
    assert question.span is not None
    fact = _fact(question, load_relations("nq"))
    needle = Needle(
        document=question.gold.id,
        start=question.span.start,
        end=question.span.end,
        role="answer",
        relation=fact.relation,
    )
    return Example(
        id=name,
        task=TASK,
        variant="real",
        question=question.text,
        answers=question.answers,
        documents=documents,
        needles=[needle],
        style="mdqa",
        cluster=question.cluster,
        source=source,
        facts=[fact],
    )


def _fact(question: Question, relations: RelationList) -> Fact:
    found = relations.match(question.text)
    if found is None:
        return Fact(
            hop=1,
            relation="unknown",
            subject=question.gold.title,
            answer=question.answers[0],
            question=question.text.replace("{", "{{").replace("}", "}}"),
            statement=None,
        )
    relation, groups = found
    return Fact(
        hop=1,
        relation=relation.name,
        subject=groups["subject"],
        answer=question.answers[0],
        question=relation.question,
        statement=relation.statement,
        other=groups.get("other"),
    )
