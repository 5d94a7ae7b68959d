"""Which articles mention an insight: the task `summhay`, from Summary of a Haystack.

Laban et al. (2024, arXiv 2407.01370) wrote 100 articles for each topic and say which of them
mention which insight. Here a question shows some of a topic's articles and takes as its answer
the numbers of those that mention the insight, such as "[1][4]".
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from needlework.corpora.alignment import THRESHOLD
from needlework.corpora.corpus import Corpus, arranged, dealt
from needlework.corpora.summhay_topics import Article, Cutter, Insight, Piece, Topic, read_topic
from needlework.examples import Document, Example, Fact, Needle, citation
from needlework.provenance import derived_seed
from needlework.rendering.room import Room

TASK = "summhay"
MOST_GOLD = 4
"""An example shows at most so many of the articles that mention what it asks for."""

_PROMPT = 128  # tokens for the instruction, the question, the articles' heads and the answer
_FEWEST_ARTICLES = 4  # that the rest of a length has room for
_GOLD_SHARE = 0.5  # of the rest, at most, for the articles that mention what is asked for


class _Question(NamedTuple):
    topic: Topic
    id: str
    text: str
    relation: str
    insights: list[Insight]


class _Draw(NamedTuple):
    """A question over some of the articles that mention what it asks for, the `number`-th draw."""

    question: _Question
    number: int
    golds: list[Piece]
    distractors: list[Document]


def summhay(
    *,
    train: int,
    validation: int,
    test: int,
    seed: int,
    room: Room,
    path: Path,
    documents: int | None = None,
    ask: Literal["insight", "query"] = "insight",
    test_depths: Sequence[float] = (),
) -> Corpus:
    """Questions for the articles that mention an insight, or one of the insights of a query.

    A topic, with all its articles, belongs to one split. An example shows 1 to 4 articles that
    mention what it asks for, in at most half the length; the number is drawn by the seed. A
    question is asked again over other such articles, until each was shown once. The rest of an
    example are articles of the topic that neither are listed as mentioning it nor read as if they
    did, and, when the topic is used up, articles of the split's other topics. Questions take
    turns, so that a smaller split is the beginning of a larger one.

    At least four articles fit into every length: one that takes more than a fourth of it is shown
    as an excerpt, which is whole sentences in a row, around the insight where it mentions it,
    anywhere where it does not. The published articles take about 1,000 tokens, so they are whole
    from a length of 5,000 tokens up, and a sentence or two at 256.

    An insight is a needle where an article says it in almost its words (`alignment.THRESHOLD`).
    Where it does not, the article is gold without a needle; if it would have to be cut as well, it
    is not shown, because what mentions the insight might be cut off. `counts` has both.

    Args:
        train, validation, test: number of examples of each split.
        seed: decides the splits, the order of questions, the articles and their order.
        room: how much text fills the length.
        path: the folder of the topics' files, one *.json each.
        documents: articles of each example; None for as many as it takes to fill the length.
        ask: for one insight, or for what helps to answer the query of a subtopic. Then `facts`
            has one for every article cited, in their order: the insight that it says best.
        test_depths: where the gold articles of the test examples begin, in turns; empty for
            places drawn at random.

    Raises:
        ValueError: a file is not a topic, there are fewer than three topics, or a split holds
            fewer examples than wanted.
    """
    topics = _topics(path)
    split_of = dealt([topic.id for topic in topics], seed, TASK)
    cutter = Cutter(room, (room.length - _PROMPT) // (documents or _FEWEST_ARTICLES))
    examples: dict[str, list[Example]] = {}
    counts: dict[str, Any] = {}
    for split, wanted in (("train", train), ("validation", validation), ("test", test)):
        mine = [topic for topic in topics if split_of[topic.id] == split]
        questions = [question for topic in mine for question in _questions(topic, ask)]
        draws, count = _draws(questions, mine, cutter, room, documents, seed)
        if wanted > len(draws):
            raise ValueError(
                f"{TASK} holds {len(draws)} examples for the split {split!r} with the length "
                f"{room.length} and the seed {seed}, but {wanted} are wanted ({len(mine)} of "
                f"{len(topics)} topics, {len(questions)} questions; skipped: {count['skipped']}); "
                "ask for fewer or for a shorter length, or add topics"
            )
        turns = test_depths if split == "test" else ()
        depths: Sequence[float | None] = turns or [None]
        made = [
            _example(draw, f"{TASK}-{split}-{i:04d}", split, seed, depths[i % len(depths)])
            for i, draw in enumerate(draws[:wanted])
        ]
        examples[split] = made
        counts[split] = count | {
            "made": wanted,
            "not wanted": len(draws) - wanted,
            "needles": sum(len(example.needles) for example in made),
            "gold articles without a needle": sum(map(_without_needle, made)),
        }
    return Corpus(**examples, counts=counts)


def _topics(path: Path) -> list[Topic]:
    topics = [read_topic(file) for file in sorted(path.glob("*.json"))]
    number = Counter(topic.id for topic in topics)
    twice = [topic.file for topic in topics if number[topic.id] > 1]
    if twice:
        raise ValueError(f"{path}: the same topic is in {', '.join(twice)}; keep one of them")
    if len(topics) < 3:
        raise ValueError(
            f"{path} has {len(topics)} topic files (*.json), but {TASK} is split by topic and "
            "takes a folder with at least 3"
        )
    return topics


def _questions(topic: Topic, ask: str) -> list[_Question]:
    if ask == "query":
        text = 'Which of the articles help to answer this question: "{}"?'
        return [
            _Question(topic, s.id, text.format(s.query), s.name, s.insights)
            for s in topic.subtopics
        ]
    text = 'Which of the articles mention this insight: "{}"?'
    return [
        _Question(topic, insight.id, text.format(insight.text), s.name, [insight])
        for s in topic.subtopics
        for insight in s.insights
    ]


def _without_needle(example: Example) -> int:
    with_needle = {needle.document for needle in example.needles}
    return sum(document.gold and document.id not in with_needle for document in example.documents)


# --- Which articles are shown ------------------------------------------------------------------


def _draws(
    questions: list[_Question],
    topics: list[Topic],
    cutter: Cutter,
    room: Room,
    documents: int | None,
    seed: int,
) -> tuple[list[_Draw], dict[str, Any]]:
    """All that a split could show, in turns over its questions, and what it could not, and why."""
    room.measure(
        Document(id="", title="", text=article.text, gold=False)
        for topic in topics
        for article in topic.articles
    )
    pool = {
        article.id: [piece.document for piece in cutter.pieces(article)]
        for topic in topics
        for article in topic.articles
    }
    room.measure(document for pieces in pool.values() for document in pieces)
    random.Random(derived_seed(seed, TASK, "questions")).shuffle(questions)
    most = MOST_GOLD if documents is None else min(MOST_GOLD, max(documents // 2, 1))
    mentions: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    by_question: list[list[_Draw]] = []
    for question in questions:
        groups = _groups(question, cutter, room, most, seed, mentions)
        skipped["no article that mentions it can be shown"] += not groups
        draws = []
        for number, golds in enumerate(groups):
            rng = random.Random(derived_seed(seed, TASK, question.id, number))
            distractors = _distractors(question, golds, topics, pool, room, documents, rng)
            if distractors is None:
                skipped["too few distractors to fill the length"] += 1
            else:
                draws.append(_Draw(question, number, golds, distractors))
        by_question.append(draws)
    found = [draw for turn in zip_longest(*by_question) for draw in turn if draw is not None]
    return found, {
        "topics": len(topics),
        "questions": len(questions),
        "mentions": dict((+mentions).most_common()),
        "considered": len(found) + sum(skipped.values()),
        "skipped": dict((+skipped).most_common()),
    }


def _groups(
    question: _Question,
    cutter: Cutter,
    room: Room,
    most: int,
    seed: int,
    mentions: Counter[str],
) -> list[list[Piece]]:
    """The articles that mention what is asked for, each in one group of 1 to `most`."""
    rng = random.Random(derived_seed(seed, TASK, question.id, "gold"))
    half = _GOLD_SHARE * (room.length - _PROMPT)
    groups: list[list[Piece]] = []
    number, size = 0, 0
    for article in rng.sample(question.topic.articles, len(question.topic.articles)):
        piece = _gold(question, article, cutter, rng, mentions)
        if piece is None:
            continue
        new = room.size(piece.document)
        if new > half:
            mentions["left out: longer than half the length"] += 1
        elif groups and len(groups[-1]) < number and size + new <= half:
            groups[-1].append(piece)
            size += new
        else:
            groups.append([piece])
            number, size = rng.randint(1, most), new
    return groups


def _gold(
    question: _Question,
    article: Article,
    cutter: Cutter,
    rng: random.Random,
    mentions: Counter[str],
) -> Piece | None:
    """The article as it is shown, if it is listed as mentioning what is asked for."""
    listed = [insight for insight in question.insights if insight.id in article.mentions]
    if not listed:
        mentions["not listed, but reads like one: no distractor"] += _reads_like(article, question)
        return None
    best = max((article.windows[insight.id] for insight in listed), key=lambda w: w.score)
    said = best.score >= THRESHOLD
    mentions["listed"] += 1
    mentions["listed, in almost the insight's words"] += said
    if not said and not cutter.fits(article):
        mentions["left out: in other words, and to be cut"] += 1
        return None
    return cutter.around(article, best, rng)


def _reads_like(article: Article, question: _Question) -> bool:
    return any(article.windows[insight.id].score >= THRESHOLD for insight in question.insights)


def _distractors(
    question: _Question,
    golds: list[Piece],
    topics: list[Topic],
    pool: dict[str, list[Document]],
    room: Room,
    documents: int | None,
    rng: random.Random,
) -> list[Document] | None:
    """Articles that do not mention it, in random order; None if there are too few."""
    asked = {insight.id for insight in question.insights}
    own = [
        article
        for article in question.topic.articles
        if asked.isdisjoint(article.mentions) and not _reads_like(article, question)
    ]
    other = [a for topic in topics if topic is not question.topic for a in topic.articles]
    order = rng.sample(own, len(own)) + rng.sample(other, len(other))
    candidates = (rng.choice(pool[article.id]) for article in order)
    shown = [piece.document for piece in golds]
    if documents is None:
        shown = room.fill(shown, candidates)
        enough = room.is_full(shown)
    else:
        shown += islice(candidates, documents - len(shown))
        enough = len(shown) == documents
    return rng.sample(shown[len(golds) :], len(shown) - len(golds)) if enough else None


# --- The record --------------------------------------------------------------------------------


def _example(draw: _Draw, name: str, split: str, seed: int, depth: float | None) -> Example:
    question, golds = draw.question, draw.golds
    rng = random.Random(derived_seed(seed, TASK, question.id, draw.number, "places"))
    shown = arranged([piece.document for piece in golds], draw.distractors, rng, depth)
    cites = [document.id for document in shown if document.gold]
    said = {piece.document.id: _says_best(piece, question) for piece in golds}
    return Example(
        id=name,
        task=TASK,
        variant="real",
        question=question.text,
        answers=[citation(shown, cites)],
        documents=shown,
        needles=[
            needle
            for piece in golds
            for insight in question.insights
            if (needle := _needle(piece, insight, question.relation)) is not None
        ],
        cluster=question.topic.id,
        source={
            "corpus": "SummHay",
            "file": question.topic.file,
            "sha256": question.topic.sha256,
            "topic": question.topic.name,
            "question": question.id,
            "draw": draw.number,
            "excerpts": sum(not piece.whole for piece in golds),
            "split": split,
            "seed": seed,
        },
        facts=[
            Fact(
                hop=1,
                relation="insight",
                subject=insight.name,
                answer=insight.text,
                question="Which articles mention {subject}?",
                statement="{answer}",
            )
            for insight in (
                [said[name] for name in cites] if len(question.insights) > 1 else question.insights
            )
        ],
        cites=cites,
        style="articles",
    )


def _mentions(piece: Piece, insight: Insight) -> bool:
    """Whether the insight is listed for the article, and not cut off."""
    listed = insight.id in piece.article.mentions
    return listed and (piece.whole or piece.holds(piece.article.windows[insight.id]))


def _says_best(piece: Piece, question: _Question) -> Insight:
    shown = [insight for insight in question.insights if _mentions(piece, insight)]
    return max(shown, key=lambda insight: piece.article.windows[insight.id].score)


def _needle(piece: Piece, insight: Insight, relation: str) -> Needle | None:
    window = piece.article.windows[insight.id]
    if window.score < THRESHOLD or not _mentions(piece, insight):
        return None
    return Needle(
        document=piece.article.id,
        start=window.start - piece.start,
        end=window.end - piece.start,
        role="insight",
        relation=relation,
    )
