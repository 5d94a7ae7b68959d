"""The topics of Summary of a Haystack as they are published, and their articles whole or cut."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from needlework import given
from needlework.corpora.alignment import Window, align, sentences
from needlework.examples import Document
from needlework.provenance import file_hash
from needlework.rendering.room import Room


class Insight(NamedTuple):
    """One thing that articles may mention: a name of a few words, and a sentence."""

    id: str
    name: str
    text: str


class Subtopic(NamedTuple):
    """The insights that answer one query."""

    id: str
    name: str
    query: str
    insights: list[Insight]


@dataclass(frozen=True)
class Article:
    """An article, the ids of the insights it is listed for, and where it says each of the topic's.

    `windows` has the best window for every insight of the topic, however little it says it.
    """

    id: str
    text: str
    mentions: frozenset[str]
    windows: dict[str, Window]


class Topic(NamedTuple):
    """The queries and articles of one file."""

    id: str
    name: str
    file: str
    sha256: str
    subtopics: list[Subtopic]
    articles: list[Article]


class Piece(NamedTuple):
    """An article or an excerpt as a document: characters [start, end) of the article."""

    article: Article
    document: Document
    start: int
    end: int

    @property
    def whole(self) -> bool:
        """Whether nothing of the article is left out."""
        return self.end - self.start == len(self.article.text)

    def holds(self, window: Window) -> bool:
        """Whether a window of the article is in the piece as a whole."""
        return self.start <= window.start and window.end <= self.end


def read_topic(path: Path) -> Topic:
    """A topic in the published format; keys that are not needed are passed over.

    Raises:
        ValueError: the file is not JSON or lacks a key, an id stands twice, or an article is
            listed for an insight that is not there.
    """
    expected = (
        "expected a topic of SummHay: an object with topic_id, topic, subtopics (with insights) "
        "and documents"
    )
    try:
        raw = given.read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; {expected}") from error
    try:
        subtopics = [
            Subtopic(
                s["subtopic_id"],
                s["subtopic_name"],
                s["query"],
                [Insight(i["insight_id"], i["insight_name"], i["insight"]) for i in s["insights"]],
            )
            for s in raw["subtopics"]
        ]
        texts = [d["document_text"] for d in raw["documents"]]
        insights = [insight for subtopic in subtopics for insight in subtopic.insights]
        columns = zip(*align([insight.text for insight in insights], texts), strict=True)
        articles = [
            Article(
                f"{raw['topic_id']}/{d['document_id']}",
                d["document_text"],
                frozenset(d["insights_included"]),
                dict(zip((insight.id for insight in insights), windows, strict=True)),
            )
            for d, windows in zip(raw["documents"], columns, strict=True)
        ]
        topic = Topic(
            raw["topic_id"], raw["topic"], path.name, file_hash(path), subtopics, articles
        )
    except (AttributeError, KeyError, TypeError) as error:
        what = f"lacks the key {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(given.short(f"{path}: {what}; {expected}")) from error
    _check(path, topic, insights)
    return topic


def _check(path: Path, topic: Topic, insights: list[Insight]) -> None:
    known = {insight.id for insight in insights}
    if len(known) < len(insights) or len({a.id for a in topic.articles}) < len(topic.articles):
        raise ValueError(f"{path}: two insights or two documents have the same id")
    for article in topic.articles:
        if article.mentions - known:
            raise ValueError(
                f"{path}: the document {article.id!r} includes the insights "
                f"{sorted(article.mentions - known)}, which no subtopic has"
            )


class Cutter:
    """Articles as documents of at most `limit` tokens: whole, or an excerpt of whole sentences."""

    def __init__(self, room: Room, limit: int) -> None:
        self._room = room
        self._limit = limit

    def fits(self, article: Article) -> bool:
        """Whether the article is shown whole."""
        return self._room.size(_document(article, 0, len(article.text))) <= self._limit

    def pieces(self, article: Article) -> list[Piece]:
        """The article, or excerpts one after the other, each as long as the limit lets it be.

        A sentence that is longer than the limit is a piece of its own.
        """
        if self.fits(article):
            return [_piece(article, 0, len(article.text))]
        spans, sizes = self._sentences(article)
        groups: list[list[int]] = []
        for i, size in enumerate(sizes):
            if groups and sum(sizes[j] for j in groups[-1]) + size <= self._limit:
                groups[-1].append(i)
            else:
                groups.append([i])
        return [_piece(article, spans[g[0]][0], spans[g[-1]][1]) for g in groups]

    def around(self, article: Article, window: Window, rng: random.Random) -> Piece:
        """The article, or an excerpt with a window in it, at a place drawn at random.

        The sentences of the window are there even where they are longer than the limit.
        """
        if self.fits(article):
            return _piece(article, 0, len(article.text), gold=True)
        spans, sizes = self._sentences(article)
        inside = [i for i, (a, b) in enumerate(spans) if a < window.end and window.start < b]
        low, high = inside[0], inside[-1] + 1
        ends = [0, *accumulate(sizes)]
        while True:
            steps = [
                (a, b)
                for a, b in ((low - 1, high), (low, high + 1))
                if a >= 0 and b <= len(sizes) and ends[b] - ends[a] <= self._limit
            ]
            if not steps:
                return _piece(article, spans[low][0], spans[high - 1][1], gold=True)
            low, high = rng.choice(steps)

    def _sentences(self, article: Article) -> tuple[list[tuple[int, int]], list[int]]:
        spans = sentences(article.text)
        parts = [_document(article, *span) for span in spans]
        self._room.measure(parts)
        return spans, [self._room.size(part) for part in parts]


def _piece(article: Article, start: int, end: int, gold: bool = False) -> Piece:
    return Piece(article, _document(article, start, end, gold), start, end)


def _document(article: Article, start: int, end: int, gold: bool = False) -> Document:
    # The whole of a string is the same object, so that long contexts share their texts.
    return Document(id=article.id, title="", text=article.text[start:end], gold=gold)
